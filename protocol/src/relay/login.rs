//! The login of `rp/1`: how a client proves that it holds its machine key, and to whom.
//!
//! # What is signed
//! With the machine's Ed25519 key (RFC 8032, no context, no prehash), over these bytes:
//!
//! | transport | bytes |
//! |---|---|
//! | QUIC | `rp/1 login quic` and a zero byte, 32 bytes of exporter material, the payload of the hello |
//! | WebSocket | `rp/1 login websocket` and a zero byte, the 32 bytes of the challenge, the payload of the hello |
//!
//! The exporter material is that of the connection's TLS (RFC 8446, section 7.5; RFC 5705) for the
//! label [`EXPORTER_LABEL`] and an empty context. The payload of the hello is written with all
//! numbers in their fewest bytes, and holds the offered versions, the key, and the relay's name as
//! the client has it in its settings.
//!
//! # Why a signature fits nowhere else
//! - Another relay that a client logs in to cannot pass the signature on: on QUIC its TLS connection
//!   has other exporter material; on a WebSocket the signed name is not the other relay's, which
//!   must know its own names and never takes them from the request.
//! - A recorded login fits no other connection: exporter material and challenge are new each time. A
//!   relay must not accept early data (0-RTT).
//! - The transports cannot be mixed up, nor can the formats: what is signed begins with different
//!   texts, and is longer than the 32 bytes that the old wire has the same key sign.
//! - The offered versions are signed, so nobody between can strike some of them.
//!
//! # The steps
//! ```text
//! QUIC                              WebSocket
//! client → hello, login             client → hello
//!        ← welcome or close                ← challenge or close
//!                                   client → login
//!                                          ← welcome or close
//! ```
//! The relay ends a connection that is not logged in after [`LOGIN_DEADLINE_MS`]. The client sends
//! nothing more before the welcome.

use super::VERSION;
use super::frame::{Close, CloseCode, Frame, Hello, Instance, Welcome};
use super::name::RelayName;
use crate::key::{PublicKey, SecretKey, Signature};

/// The label of the TLS exporter that a QUIC login signs 32 bytes of.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-rp/1-login";
/// How long a login may take, from the first byte of the connection, in milliseconds.
pub const LOGIN_DEADLINE_MS: u64 = 5_000;

const QUIC_DOMAIN: &[u8] = b"rp/1 login quic\0";
const WEBSOCKET_DOMAIN: &[u8] = b"rp/1 login websocket\0";

/// What the connection runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// QUIC, with the exporter material of its TLS connection.
    Quic {
        /// 32 bytes for [`EXPORTER_LABEL`] and an empty context.
        exporter: [u8; 32],
    },
    /// A WebSocket, encrypted or not.
    WebSocket,
}

fn signed_bytes(domain: &[u8], fresh: &[u8; 32], hello: &Hello) -> Vec<u8> {
    let mut bytes = [domain, fresh].concat();
    hello.write(&mut bytes);
    bytes
}

/// The client's side of a login.
#[derive(Debug)]
pub enum ClientLogin {
    /// The hello is sent on a WebSocket.
    AwaitsChallenge(Hello),
    /// The login is sent.
    AwaitsWelcome,
}

/// What the client does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientStep {
    /// Send these bytes: one frame.
    Send(Vec<u8>),
    /// The login is done.
    LoggedIn(Welcome),
}

/// Why a client is not logged in. The connection is to be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The relay ended it.
    #[error("the relay refused the login ({code:?}): {note:?}")]
    Closed {
        /// Why.
        code: CloseCode,
        /// How long to wait at least before the next attempt, in milliseconds.
        retry_after_ms: u64,
        /// More about it, for a person; written by the relay.
        note: String,
    },
    /// The relay sent what does not belong here, or chose a version that was not offered.
    #[error("the relay does not keep to the steps of a login")]
    OutOfStep,
}

impl ClientLogin {
    /// Begins a login, and gives the frames to send. `relay` is from the client's own settings.
    #[must_use]
    pub fn start(
        transport: Transport,
        key: &SecretKey,
        instance: Instance,
        relay: RelayName,
        software: &str,
    ) -> (Self, Vec<u8>) {
        let software = software.to_owned();
        let hello = Hello { versions: vec![VERSION], key: key.public(), instance, relay, software };
        let mut out = Frame::Hello(hello.clone()).to_bytes();
        match transport {
            Transport::WebSocket => (ClientLogin::AwaitsChallenge(hello), out),
            Transport::Quic { exporter } => {
                let signature = key.sign(&signed_bytes(QUIC_DOMAIN, &exporter, &hello));
                Frame::Login { signature }.encode(&mut out);
                (ClientLogin::AwaitsWelcome, out)
            }
        }
    }

    /// Takes the relay's next frame.
    ///
    /// # Errors
    /// When the relay refuses, or does not keep to the steps.
    pub fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        key: &SecretKey,
    ) -> Result<ClientStep, LoginError> {
        match (&*self, frame) {
            (_, Frame::Close(Close { code, retry_after_ms, note })) => Err(LoginError::Closed {
                code: *code,
                retry_after_ms: *retry_after_ms,
                note: (*note).to_owned(),
            }),
            (ClientLogin::AwaitsChallenge(hello), Frame::Challenge { nonce }) => {
                let signature = key.sign(&signed_bytes(WEBSOCKET_DOMAIN, nonce, hello));
                *self = ClientLogin::AwaitsWelcome;
                Ok(ClientStep::Send(Frame::Login { signature }.to_bytes()))
            }
            (ClientLogin::AwaitsWelcome, Frame::Welcome(welcome)) if welcome.version == VERSION => {
                Ok(ClientStep::LoggedIn(*welcome))
            }
            _ => Err(LoginError::OutOfStep),
        }
    }
}

/// The relay's side of a login.
#[derive(Debug)]
pub struct RelayLogin {
    transport: Transport,
    nonce: [u8; 32],
    state: RelayState,
}

#[derive(Debug)]
enum RelayState {
    AwaitsHello,
    AwaitsLogin(Hello),
    Over,
}

/// What the relay does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayStep {
    /// Wait for the next frame.
    Wait,
    /// Send these bytes, then wait for the next frame.
    Send(Vec<u8>),
    /// The client is who it says. Send a welcome with [`VERSION`].
    LoggedIn(Client),
}

/// Who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its machine key, proven.
    pub key: PublicKey,
    /// This run of it, as it says.
    pub instance: Instance,
    /// Name and version of its program, as it says.
    pub software: String,
}

/// Why a relay refuses a login. It sends [`LoginRefusal::close`] and ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// Another frame than the next one of a login.
    #[error("the client does not keep to the steps of a login")]
    OutOfStep,
    /// No offered version is spoken here.
    #[error("this relay speaks version {VERSION} only")]
    Version,
    /// A WebSocket login for a name this relay does not have.
    #[error("this relay does not have the name that the client knows it by")]
    OtherRelay,
    /// The signature was not made by the key, or not for this connection.
    #[error("the signature does not fit")]
    Signature,
}

impl LoginRefusal {
    /// What the client is told.
    #[must_use]
    pub fn close(self) -> Frame<'static> {
        let (code, note) = match self {
            LoginRefusal::OutOfStep => (CloseCode::ProtocolError, "not the next frame of a login"),
            LoginRefusal::Version => (CloseCode::UnsupportedVersion, "no version in common"),
            LoginRefusal::OtherRelay => {
                (CloseCode::OtherRelay, "this relay is not set up for the name you know it by")
            }
            LoginRefusal::Signature => (CloseCode::LoginRefused, "the signature does not fit"),
        };
        Frame::Close(Close { code, retry_after_ms: 0, note })
    }
}

impl RelayLogin {
    /// Awaits the login of a connection. `nonce` is 32 random bytes that were never used before; on
    /// QUIC it is not needed.
    #[must_use]
    pub fn new(transport: Transport, nonce: [u8; 32]) -> Self {
        RelayLogin { transport, nonce, state: RelayState::AwaitsHello }
    }

    /// Takes the client's next frame. `names` are all the names clients may know this relay by, from
    /// its operator's settings and its certificate.
    ///
    /// # Errors
    /// When the login is refused; then always.
    pub fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        names: &[RelayName],
    ) -> Result<RelayStep, LoginRefusal> {
        match (std::mem::replace(&mut self.state, RelayState::Over), frame) {
            (RelayState::AwaitsHello, Frame::Hello(hello)) => self.on_hello(hello.clone(), names),
            (RelayState::AwaitsLogin(hello), Frame::Login { signature }) => {
                self.on_login(hello, signature)
            }
            _ => Err(LoginRefusal::OutOfStep),
        }
    }

    fn on_hello(&mut self, hello: Hello, names: &[RelayName]) -> Result<RelayStep, LoginRefusal> {
        if !hello.versions.contains(&VERSION) {
            return Err(LoginRefusal::Version);
        }
        let step = match self.transport {
            Transport::Quic { .. } => RelayStep::Wait,
            Transport::WebSocket if !names.contains(&hello.relay) => {
                return Err(LoginRefusal::OtherRelay);
            }
            Transport::WebSocket => {
                RelayStep::Send(Frame::Challenge { nonce: self.nonce }.to_bytes())
            }
        };
        self.state = RelayState::AwaitsLogin(hello);
        Ok(step)
    }

    fn on_login(&self, hello: Hello, signature: &Signature) -> Result<RelayStep, LoginRefusal> {
        let bytes = match &self.transport {
            Transport::Quic { exporter } => signed_bytes(QUIC_DOMAIN, exporter, &hello),
            Transport::WebSocket => signed_bytes(WEBSOCKET_DOMAIN, &self.nonce, &hello),
        };
        hello.key.verify(&bytes, signature).map_err(|_| LoginRefusal::Signature)?;
        let Hello { key, instance, software, .. } = hello;
        Ok(RelayStep::LoggedIn(Client { key, instance, software }))
    }
}

//! A connection of the Remote Pi wire, from its upgrade to its end.

mod answers;
mod session;

use std::sync::Arc;
use std::time::Duration;

use rp_protocol::relay::legacy::{Auth, Challenge, Hello, NONCE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::hub::Hub;
use crate::legacy::session::Session;
use crate::limits::Place;
use crate::websocket::{Close, Decoder, Ended, Message, Outbox, Socket};

/// How long a client has for its hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// How long a client has for answering the challenge.
const AUTH_DEADLINE: Duration = Duration::from_secs(10);

/// The longest message of a login.
const MAX_LOGIN_MESSAGE: usize = 64 << 10;

/// Serves a connection that has become a WebSocket, until it ends. `received` is what came after
/// the request already.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    hub: Arc<Hub>,
    stream: S,
    received: &[u8],
    places: Vec<Arc<Place>>,
) {
    let outbox = Outbox::new(hub.limits.queue_bytes(), Arc::clone(&hub.budget));
    let socket = Socket::new(stream, received, Decoder::new(MAX_LOGIN_MESSAGE), outbox);
    // In a box of its own, so that what a login needs is not kept as long as the connection.
    let (socket, hello) = match Box::pin(login(&hub, socket)).await {
        Ok(proven) => proven,
        Err((socket, how)) => {
            hub.metrics.logins_failed.add(1);
            return Box::pin(socket.finish(how)).await;
        }
    };
    match Session::open(&hub, socket, hello) {
        Ok(session) => Box::pin(session.run()).await,
        Err((socket, how)) => Box::pin(socket.finish(how)).await,
    }
    drop(places);
}

/// Has the client prove its key. A client that fails is told nothing: the connection ends, with
/// an empty close frame if it got as far as a signature.
async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    hub: &Hub,
    mut socket: Socket<S>,
) -> Result<(Socket<S>, Hello), (Socket<S>, Close)> {
    let outcome = tokio::select! {
        outcome = prove(&mut socket) => outcome,
        () = hub.ending.cancelled() => Err(Close::Code(1001)),
    };
    match outcome {
        Ok(hello) => Ok((socket, hello)),
        Err(how) => Err((socket, how)),
    }
}

async fn prove<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> Result<Hello, Close> {
    let hello =
        Hello::parse(&receive_text(socket, HELLO_DEADLINE).await?).map_err(|_| Close::Abort)?;
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| Close::Abort)?;
    let challenge = Challenge(nonce);
    socket.outbox().send(crate::websocket::Opcode::Text, challenge.to_json().as_bytes());
    let auth =
        Auth::parse(&receive_text(socket, AUTH_DEADLINE).await?).map_err(|_| Close::NoCode)?;
    match auth.proves(&hello.key, &challenge) {
        true => Ok(hello),
        false => Err(Close::NoCode),
    }
}

/// The next message, which has to be text and there in time.
async fn receive_text<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    patience: Duration,
) -> Result<String, Close> {
    let deadline = Instant::now() + patience;
    loop {
        let message = socket.receive(|message| match message {
            Message::Text(text) => Ok(Some(text.to_owned())),
            Message::Piece => Ok(None),
            _ => Err(Close::Abort),
        });
        match timeout_at(deadline, message).await {
            Ok(Ok(Ok(Some(text)))) => return Ok(text),
            Ok(Ok(Ok(None))) => {}
            Ok(Ok(Err(how)) | Err(Ended::Asked(how))) => return Err(how),
            Ok(Err(_)) | Err(_) => return Err(Close::Abort),
        }
    }
}

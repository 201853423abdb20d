//! What passes between two hosts, unreadable to the relay and to whoever else carries it.
//!
//! A host has a machine key (Ed25519), which says who it is, and a sealing key (X25519), for which the
//! machine key gives a [`Certificate`]. Two hosts shake hands once ([`handshake`]) and then seal in a
//! session ([`session`]) that both may keep over restarts. [`Channel`] is one host's side of all of it.
//!
//! What is sealed goes as [`Content::Sealed`](crate::relay::Content::Sealed). The relay sees from whom
//! to whom it goes, when, the length of its bucket, and the number of the session and the message.
//!
//! # What whoever carries it cannot do
//! - Read it, or make another host's: each message is authenticated for its sender, its recipient, its
//!   session and its counter.
//! - Have it accepted twice, also over restarts: counters received are remembered.
//! - Take a message away unnoticed: the next one says how many are missing ([`Opened::skipped`]).
//!   What the last ones became, only the recipient's confirmation tells: that is sealed as well, and a
//!   sender keeps a message that must not be lost until then.
//! - Gain from keys it gets later: each session has fresh ones, and within a session each epoch forgets
//!   the key of the one before.
//!
//! What it can do is deliver nothing.

pub mod handshake;
pub mod padding;
pub mod session;

mod certificate;
mod channel;
mod window;

pub use certificate::{
    CERTIFICATE_BYTES, CERTIFICATE_LIFETIME_MS, CLOCK_TOLERANCE_MS, Certificate, CertificateError,
    SealingKey,
};
pub use channel::{Channel, HANDSHAKE_TIMEOUT_MS, Received};
pub use session::{
    MAX_CONTENT_BYTES, OpenError, Opened, SealError, Session, SessionId, session_of,
};
pub use window::WINDOW;

//! The host's connection to a relay.
//!
//! A [`Link`] connects to the first relay of its list that can be reached, over QUIC or over a
//! WebSocket, and connects again for ever. A relay that knows only the old wire is talked to on that.
//! What the host wants to be known - its rooms, whom it watches - is said again on each connection. A
//! link keeps no messages: whoever must not lose one sends it again when the answer is not good.

mod address;
mod backoff;
mod connect;
mod earlier;
mod http;
mod legacy;
mod link;
mod message;
mod network;
mod pulse;
mod quic;
mod runner;
mod session;
mod trust;
mod websocket;
mod wire;

pub use address::{DEFAULT_RELAY, NotARelayUrl, RelayUrl, Source, choose};
pub use http::{HttpError, get, post};
pub use link::{Config, Ended, Link, Relay, State, Transport, Wires};
pub use message::{Answers, CloneSeen, Delivery, Message, Peer, Room};
pub use trust::{Fingerprint, Trust};

//! WebSocket (RFC 6455) from the server's side.
//!
//! Frames are read and written here and not by a library, because of what ten thousand idle
//! connections cost: a library keeps a buffer for each of them and copies a message several times
//! on its way to another connection. Here an idle connection has no buffer at all ([`Socket`]
//! reads into one that its thread owns), and a forwarded message is copied once, from the bytes
//! that were received into those that wait to be sent.

mod frame;
mod handshake;
mod outbox;
mod socket;

#[cfg(test)]
mod tests;

pub use frame::{Close, Decoder, Message, Opcode, Step, Violation, write_frame, write_header};
pub use handshake::{Upgrade, accept_key, requested_upgrade};
pub use outbox::{Held, MemoryBudget, Outbox};
pub use socket::{Ended, Socket};

//! What an owner's tools write and exchange: the words an owner key is recovered from, and the
//! conversation by which a machine joins with a short code.
//!
//! ```text
//! joiner                                inviter
//!   | 1 hello: half of the key exchange ->|
//!   |<- 2 answer: the other half          |
//!   | 3 request: machine key, name ------>|   sealed from here on
//!   |<- 4 offer: owner key                |
//!   |   both people compare the words     |
//!   | 5 consent ------------------------->|   the inviter publishes the membership
//!   |<- 6 welcome: its version            |
//! ```
//!
//! The messages pass through a relay, between the inviter's rendezvous key, which both sides make
//! from the first half of the code, and a key that the joiner uses for nothing else. The second
//! half of the code goes into SPAKE2, so that the relay learns neither it nor anything sealed, and
//! can only guess: once at the inviter and once at the joiner, for neither starts over. Either
//! guess is one in four million, and would have to survive the comparison of the words.

mod channel;
mod code;
mod consent;
mod inviter;
mod joiner;
mod words;

pub use channel::{CheckWords, Failure, MAX_INVITATION_BYTES, MAX_MACHINE_NAME_BYTES, Step};
pub use code::{Code, CodeError};
pub use consent::Consent;
pub use inviter::{INVITATION_LIFETIME_MS, Inviter, InviterEvent};
pub use joiner::{Joiner, JoinerEvent};
pub use words::{WordsError, owner_from_words, words_of_owner};

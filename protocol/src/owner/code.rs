//! The short code that a person carries from the inviter to the joiner: four words.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::words::{MAX_WORD, find_word, word};
use crate::key::SecretKey;

/// The name of this use, in front of what is hashed.
const RENDEZVOUS: &[u8] = b"rp-host invitation rendezvous 1\n";

/// A code for one invitation: `garden-ocean-tiger-lamp`. The first two words say where the two
/// sides meet, which the relay sees; the last two are the secret, 22 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    place: [u16; 2],
    secret: [u16; 2],
}

/// Why a text is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It has another number of words.
    #[error("a code has four words, and this has {0}")]
    Count(usize),
    /// A word is not on the list.
    #[error("word {0} of the code is not one that a code can have")]
    Unknown(usize),
}

impl Code {
    /// The code made of these random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = random;
        let number = |high, low| u16::from_be_bytes([high, low]) & MAX_WORD;
        Code { place: [number(a, b), number(c, d)], secret: [number(e, f), number(g, h)] }
    }

    /// The key that the inviter logs in to the relay with while it waits, and whose public half the
    /// joiner writes to. Whoever guesses the first two words can make it: it keeps nothing secret.
    #[must_use]
    pub fn rendezvous(&self) -> SecretKey {
        let [first, second] = self.place.map(u16::to_be_bytes);
        let mut hash = Sha256::new();
        hash.update(RENDEZVOUS);
        hash.update(first);
        hash.update(second);
        SecretKey::from_seed(&hash.finalize().into())
    }

    /// What only the two sides know.
    pub(super) fn secret(&self) -> [u8; 4] {
        let [first, second] = self.secret.map(u16::to_be_bytes);
        let ([a, b], [c, d]) = (first, second);
        [a, b, c, d]
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.place.map(word);
        let [c, d] = self.secret.map(word);
        write!(formatter, "{a}-{b}-{c}-{d}")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Reads words with hyphens or white space between them, in any case, each whole or by its
    /// first four letters.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let separates = |character: char| character == '-' || character.is_whitespace();
        let words = text.split(separates).filter(|word| !word.is_empty());
        let mut numbers = [0; 4];
        let mut count = 0;
        for typed in words {
            if let Some(number) = numbers.get_mut(count) {
                *number = find_word(typed).ok_or(CodeError::Unknown(count + 1))?.0;
            }
            count += 1;
        }
        if count != numbers.len() {
            return Err(CodeError::Count(count));
        }
        let [a, b, c, d] = numbers;
        Ok(Code { place: [a, b], secret: [c, d] })
    }
}

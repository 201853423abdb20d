//! Which counters of one direction were received: what comes again is refused, what is missing is
//! known.

use crate::relay::FrameError;
use crate::relay::fields::Fields;

/// How far behind the newest a message may arrive, in messages.
pub const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// The counters received so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The lowest counter above all received ones.
    next: u64,
    /// Whether each of the [`WINDOW`] counters below `next` was received, at its place modulo the
    /// length.
    received: [u64; WORDS],
    missing: u64,
}

/// Why a counter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was received before.
    Already,
    /// It is too far behind to tell.
    TooOld,
}

impl Window {
    /// Nothing was received.
    #[must_use]
    pub fn new() -> Self {
        Window { next: 0, received: [0; WORDS], missing: 0 }
    }

    /// Whether this counter may be received.
    ///
    /// # Errors
    /// When it was, or may have been.
    pub fn check(&self, counter: u64) -> Result<(), Seen> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > WINDOW {
            return Err(Seen::TooOld);
        }
        if self.is_marked(counter) { Err(Seen::Already) } else { Ok(()) }
    }

    /// Receives a counter that [`Window::check`] allows. How many counters it skipped, if it is the
    /// newest.
    pub fn receive(&mut self, counter: u64) -> u64 {
        if counter < self.next {
            self.mark(counter, true);
            self.missing = self.missing.saturating_sub(1);
            return 0;
        }
        let skipped = counter - self.next;
        for passed in (0..=skipped.min(WINDOW)).map(|back| counter - back) {
            self.mark(passed, false);
        }
        self.mark(counter, true);
        self.next = counter + 1;
        self.missing = self.missing.saturating_add(skipped);
        skipped
    }

    /// How many counters were skipped and have not arrived since.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&self.missing.to_be_bytes());
        self.received.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let next = u64::from_be_bytes(fields.array("window")?);
        let missing = u64::from_be_bytes(fields.array("window")?);
        let mut received = [0; WORDS];
        for word in &mut received {
            *word = u64::from_be_bytes(fields.array("window")?);
        }
        Ok(Window { next, received, missing })
    }

    fn place(counter: u64) -> (usize, u64) {
        let place = counter % WINDOW;
        // Below 16: the window's length is 16 words of 64 bits.
        (usize::try_from(place / 64).unwrap_or_default(), 1 << (place % 64))
    }

    fn is_marked(&self, counter: u64) -> bool {
        let (word, bit) = Window::place(counter);
        self.received.get(word).is_some_and(|word| word & bit != 0)
    }

    fn mark(&mut self, counter: u64, received: bool) {
        let (word, bit) = Window::place(counter);
        if let Some(word) = self.received.get_mut(word) {
            *word = if received { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_counter_is_received_twice_and_none_in_the_window_is_refused(
            steps in prop::collection::vec(prop_oneof![0..3000_u64, 0..40_u64], 1..300),
        ) {
            let mut window = Window::new();
            let mut received = BTreeSet::new();
            for counter in steps {
                let newest = received.last().copied();
                let expected = if received.contains(&counter) {
                    // Behind the window both refusals are right.
                    window.check(counter).err()
                } else if newest.is_some_and(|newest| newest + 1 - counter.min(newest + 1) > WINDOW) {
                    Some(Seen::TooOld)
                } else {
                    None
                };
                prop_assert_eq!(window.check(counter).err(), expected);
                if received.contains(&counter) {
                    prop_assert!(expected.is_some());
                } else if expected.is_none() {
                    window.receive(counter);
                    received.insert(counter);
                }
                let newest = *received.last().unwrap();
                prop_assert_eq!(window.missing(), newest + 1 - received.len() as u64);
            }
        }
    }
}

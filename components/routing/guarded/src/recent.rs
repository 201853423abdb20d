//! Keys of what was delivered lately, and for how long they count.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A key of fixed size for some texts, so that what is remembered has a known size too.
pub(crate) fn key(texts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    hasher.finish()
}

/// What was delivered, oldest first: at most `most`, and nothing older than a span of time.
#[derive(Debug)]
pub(crate) struct Recent {
    entries: VecDeque<(u64, u64)>,
    span_ms: u64,
    most: usize,
}

impl Recent {
    pub(crate) fn new(span_ms: u64, most: usize) -> Self {
        Recent { entries: VecDeque::new(), span_ms, most }
    }

    /// Remembers a key. When there is no room, the oldest has to be taken out first.
    pub(crate) fn push(&mut self, now_ms: u64, key: u64) {
        self.entries.push_back((now_ms, key));
    }

    /// Takes out the oldest key if it is too old, or if it keeps a new one from having room.
    pub(crate) fn pop_outdated(&mut self, now_ms: u64) -> Option<u64> {
        let (at_ms, key) = *self.entries.front()?;
        let is_outdated =
            now_ms.saturating_sub(at_ms) >= self.span_ms || self.entries.len() >= self.most;
        if is_outdated {
            self.entries.pop_front();
        }
        is_outdated.then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_too_much_is_taken_out_oldest_first() {
        let mut recent = Recent::new(1000, 3);
        recent.push(0, 1);
        recent.push(500, 2);
        assert_eq!(recent.pop_outdated(999), None);
        assert_eq!(recent.pop_outdated(1000), Some(1));
        assert_eq!(recent.pop_outdated(1000), None);
        recent.push(1000, 3);
        recent.push(1000, 4);
        assert_eq!(recent.pop_outdated(1000), Some(2), "there is no room for a fourth");
        assert_eq!(recent.pop_outdated(1000), None);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_outdated() {
        let mut recent = Recent::new(1000, 3);
        recent.push(5000, 1);
        assert_eq!(recent.pop_outdated(100), None);
    }

    #[test]
    fn texts_that_are_cut_elsewhere_have_another_key() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
    }
}

//! How long to wait before connecting again.

use std::time::Duration;

/// The longest wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait after many.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that grow and are spread out: each is drawn between nothing and a bound that doubles, so
/// that hosts a relay has lost together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `random` is a random number.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// A connection was good for a while.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number from the operating system; the middle one if it has none to give.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_spread_below_it() {
        let mut backoff = Backoff::default();
        let bounds: Vec<Duration> = (0..9).map(|_| backoff.next(u32::MAX)).collect();
        assert_eq!(bounds.first(), Some(&FIRST));
        assert_eq!(bounds.get(3), Some(&Duration::from_secs(4)));
        assert_eq!(bounds.last(), Some(&LONGEST));
        assert_eq!(backoff.next(0), Duration::ZERO);
        backoff.reset();
        assert!(backoff.next(u32::MAX / 2) < FIRST);
    }
}

//! How long to wait before connecting again.

use std::time::Duration;

use tokio::time::Instant;

/// The longest wait right after a loss.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest wait long after it.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that grow and are spread out: each is drawn between nothing and half the time since the
/// relay was lost. So hosts that a relay has lost together do not come back together, and after a
/// short absence they are back soon, however often they have tried meanwhile.
#[derive(Debug)]
pub(crate) struct Backoff {
    lost: Instant,
}

impl Backoff {
    /// There has been no relay since now.
    pub(crate) fn new(now: Instant) -> Self {
        Backoff { lost: now }
    }

    /// The next wait; `random` is a random number.
    pub(crate) fn next(&self, random: u32, now: Instant) -> Duration {
        let bound = (now.saturating_duration_since(self.lost) / 2).clamp(SHORTEST, LONGEST);
        bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
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
    fn waits_grow_with_the_time_since_the_loss_and_are_spread_below_it() {
        let lost = Instant::now();
        let backoff = Backoff::new(lost);
        let longest_after = |seconds| backoff.next(u32::MAX, lost + Duration::from_secs(seconds));
        assert_eq!(longest_after(0), SHORTEST);
        assert_eq!(longest_after(8), Duration::from_secs(4));
        assert_eq!(longest_after(600), LONGEST);
        assert_eq!(backoff.next(0, lost + Duration::from_secs(8)), Duration::ZERO);
        assert!(backoff.next(u32::MAX / 2, lost) < SHORTEST);
    }
}

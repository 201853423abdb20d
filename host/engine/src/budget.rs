//! How often a component may crash before it is left alone.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Crashes within [`WINDOW`] that mark a component as failed.
const CRASHES: usize = 3;

/// How long a crash counts.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts the crashes of one component. Three within a minute mark it as failed, until
/// somebody restarts it.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    crashes: VecDeque<Instant>,
    failed: bool,
}

/// What to do after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A fresh instance may take over.
    Restart,
    /// It stays off until it is restarted by hand.
    Failed,
}

impl Budget {
    /// A budget nothing was taken from.
    pub fn new() -> Self {
        Budget::default()
    }

    /// Takes note of a crash at `now`. Times must not go backwards.
    pub fn crashed(&mut self, now: Instant) -> Verdict {
        while self.crashes.front().is_some_and(|&crash| now.duration_since(crash) >= WINDOW) {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        if self.crashes.len() >= CRASHES {
            self.failed = true;
            self.crashes.clear();
        }
        if self.failed { Verdict::Failed } else { Verdict::Restart }
    }

    /// It crashed too often.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Forgets every crash: somebody restarted the component.
    pub fn restart(&mut self) {
        *self = Budget::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_third_crash_within_a_minute_is_the_last() {
        let start = Instant::now();
        let mut budget = Budget::new();
        assert_eq!(budget.crashed(start), Verdict::Restart);
        assert_eq!(budget.crashed(start + seconds(30)), Verdict::Restart);
        assert_eq!(budget.crashed(start + seconds(59)), Verdict::Failed);
        assert!(budget.is_failed());
        assert_eq!(budget.crashed(start + seconds(3600)), Verdict::Failed, "time does not heal it");
    }

    #[test]
    fn crashes_far_apart_do_not_add_up() {
        let start = Instant::now();
        let mut budget = Budget::new();
        for number in 0..10 {
            assert_eq!(budget.crashed(start + seconds(30 * number)), Verdict::Restart);
        }
    }

    #[test]
    fn a_restart_by_hand_forgets_them() {
        let start = Instant::now();
        let mut budget = Budget::new();
        for _ in 0..3 {
            budget.crashed(start);
        }
        budget.restart();
        assert!(!budget.is_failed());
        assert_eq!(budget.crashed(start), Verdict::Restart);
    }
}

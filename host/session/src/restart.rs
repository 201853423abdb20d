//! When an ended process is started again, and when that is given up. Times are passed in.

use std::time::Duration;

/// How restarts are spaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The waits before the first, second, ... restart. After the last, it is given up.
    pub delays: Vec<Duration>,
    /// A process that ran this long gives all restarts back.
    pub healthy_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delays: [1, 5, 30, 300].map(Duration::from_secs).to_vec(),
            healthy_after: Duration::from_secs(60),
        }
    }
}

/// How a process ended, as far as restarts care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked for it.
    Asked,
    /// By itself with exit code 0.
    Finished,
    /// Any other way, or it did not start.
    Crashed,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until it is started.
    Stop,
    /// A restart.
    Restart {
        /// Which one since the restarts were last given back; from 1.
        attempt: u32,
        /// How long to wait first.
        after: Duration,
    },
    /// Nothing, because it has failed too often.
    GiveUp,
}

/// The restarts one agent has left.
#[derive(Debug, Clone)]
pub struct Restarts {
    policy: RestartPolicy,
    used: usize,
    running_since: Option<Duration>,
}

impl Restarts {
    /// All restarts are left.
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, used: 0, running_since: None }
    }

    /// Gives all restarts back, because a person asked for a start.
    pub fn reset(&mut self) {
        self.used = 0;
    }

    /// A process runs since `now`, a time on any clock that only goes forward.
    pub fn started(&mut self, now: Duration) {
        self.running_since = Some(now);
    }

    /// The process ended, or did not start. `keep_running` asks for a restart even after
    /// it finished by itself.
    pub fn ended(&mut self, how: Ended, keep_running: bool, now: Duration) -> Next {
        let ran = self.running_since.take().map(|since| now.saturating_sub(since));
        if ran.is_some_and(|ran| ran >= self.policy.healthy_after) {
            self.used = 0;
        }
        match how {
            Ended::Asked => Next::Stop,
            Ended::Finished if !keep_running => Next::Stop,
            Ended::Finished | Ended::Crashed => match self.policy.delays.get(self.used) {
                Some(after) => {
                    self.used += 1;
                    Next::Restart { attempt: self.used as u32, after: *after }
                }
                None => Next::GiveUp,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn restart(attempt: u32, after: u64) -> Next {
        Next::Restart { attempt, after: secs(after) }
    }

    #[test]
    fn crashes_wait_longer_each_time_and_then_it_is_given_up() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let expected = [
            restart(1, 1),
            restart(2, 5),
            restart(3, 30),
            restart(4, 300),
            Next::GiveUp,
            Next::GiveUp,
        ];
        for next in expected {
            restarts.started(secs(10));
            assert_eq!(restarts.ended(Ended::Crashed, true, secs(11)), next);
        }
        restarts.reset();
        assert_eq!(restarts.ended(Ended::Crashed, true, secs(12)), restart(1, 1));
    }

    #[test]
    fn sixty_healthy_seconds_give_the_restarts_back() {
        for (ran, next) in [(59, restart(2, 5)), (60, restart(1, 1)), (9_999, restart(1, 1))] {
            let mut restarts = Restarts::new(RestartPolicy::default());
            restarts.started(secs(0));
            restarts.ended(Ended::Crashed, false, secs(1));
            restarts.started(secs(100));
            assert_eq!(restarts.ended(Ended::Crashed, false, secs(100 + ran)), next, "{ran}");
        }
    }

    #[test]
    fn what_ended_on_purpose_stays_ended_unless_it_is_to_be_kept() {
        let table = [
            (Ended::Asked, false, Next::Stop),
            (Ended::Asked, true, Next::Stop),
            (Ended::Finished, false, Next::Stop),
            (Ended::Finished, true, restart(1, 1)),
            (Ended::Crashed, false, restart(1, 1)),
        ];
        for (how, keep_running, next) in table {
            let mut restarts = Restarts::new(RestartPolicy::default());
            restarts.started(secs(0));
            assert_eq!(restarts.ended(how, keep_running, secs(1)), next, "{how:?} {keep_running}");
        }
    }

    #[test]
    fn a_start_that_failed_is_not_a_healthy_run() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        restarts.started(secs(0));
        restarts.ended(Ended::Crashed, false, secs(1));
        assert_eq!(restarts.ended(Ended::Crashed, false, secs(500)), restart(2, 5));
    }

    proptest! {
        #[test]
        fn never_more_restarts_than_delays_without_a_healthy_run(
            runs in prop::collection::vec((0u64..59, any::<bool>(), any::<bool>()), 1..50),
        ) {
            let mut restarts = Restarts::new(RestartPolicy::default());
            let mut now = secs(0);
            let mut granted = 0;
            for (ran, crashed, keep) in runs {
                restarts.started(now);
                now += secs(ran);
                let how = if crashed { Ended::Crashed } else { Ended::Finished };
                if let Next::Restart { attempt, after } = restarts.ended(how, keep, now) {
                    granted += 1;
                    prop_assert_eq!(attempt, granted);
                    now += after;
                }
            }
            prop_assert!(granted <= 4);
        }
    }
}

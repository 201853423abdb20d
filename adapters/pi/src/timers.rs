//! Several waits on the one alarm clock the host gives an adapter.
//!
//! An adapter has no clock: it can only count what it asked for. A new wait sets the alarm
//! anew, and the time that had already passed is unknown, so it counts for nothing. A wait
//! may therefore end late, never early.

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing follows the end of a run, so the turn is over.
    TurnEnd,
    /// A prompt that was accepted starts no run.
    Start,
    /// Prompts that were held back can go out.
    Release,
    /// The question with this id answers itself.
    Question(String),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// What is waited for and the milliseconds still missing.
    waits: Vec<(Wait, u64)>,
    /// What the host was asked for.
    alarm: Option<u64>,
}

impl Timers {
    /// Waits anew; an earlier wait for the same thing is forgotten. Gives the alarm to ask
    /// the host for.
    pub(crate) fn start(&mut self, wait: Wait, ms: u64) -> Option<u32> {
        self.cancel(&wait);
        self.waits.push((wait, ms));
        self.rearm()
    }

    /// The alarm stays: an idle one does no harm.
    pub(crate) fn cancel(&mut self, wait: &Wait) {
        self.waits.retain(|(other, _)| other != wait);
    }

    /// The alarm rang: gives what is over and the next alarm.
    pub(crate) fn ring(&mut self) -> (Vec<Wait>, Option<u32>) {
        let passed = self.alarm.take().unwrap_or(0);
        let mut over = Vec::new();
        for (wait, left) in std::mem::take(&mut self.waits) {
            match left.saturating_sub(passed) {
                0 => over.push(wait),
                left => self.waits.push((wait, left)),
            }
        }
        (over, self.rearm())
    }

    fn rearm(&mut self) -> Option<u32> {
        let next = self.waits.iter().map(|(_, left)| *left).min()?;
        self.alarm = Some(next);
        Some(u32::try_from(next).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_sets_the_alarm() {
        let mut timers = Timers::default();
        assert_eq!(timers.start(Wait::Question("q".to_owned()), 300), Some(300));
        assert_eq!(timers.start(Wait::TurnEnd, 50), Some(50));
        assert_eq!(timers.ring(), (vec![Wait::TurnEnd], Some(250)));
        assert_eq!(timers.ring(), (vec![Wait::Question("q".to_owned())], None));
    }

    #[test]
    fn a_wait_that_was_called_off_is_not_over() {
        let mut timers = Timers::default();
        timers.start(Wait::TurnEnd, 50);
        timers.cancel(&Wait::TurnEnd);
        assert_eq!(timers.ring(), (vec![], None));
    }

    #[test]
    fn waiting_anew_starts_from_the_beginning() {
        let mut timers = Timers::default();
        timers.start(Wait::TurnEnd, 50);
        assert_eq!(timers.start(Wait::TurnEnd, 50), Some(50));
    }

    #[test]
    fn a_longer_wait_does_not_postpone_a_shorter_one() {
        let mut timers = Timers::default();
        timers.start(Wait::TurnEnd, 50);
        assert_eq!(timers.start(Wait::Question("q".to_owned()), 300), Some(50));
        assert_eq!(timers.ring(), (vec![Wait::TurnEnd], Some(250)));
    }
}

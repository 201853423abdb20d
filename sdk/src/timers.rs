//! Several waits on the one alarm clock that the host gives an adapter.
//!
//! An adapter has no clock: it can only count what it asked for. A new wait sets the alarm
//! anew, and the time that had already passed is unknown, so it counts for nothing. A wait
//! may therefore end late, never early.

use crate::effects::Effects;
use crate::interface::Effect;

/// Waits that go on. `W` says what each is for.
#[derive(Debug)]
pub struct Timers<W> {
    /// What is waited for and the milliseconds still missing.
    waits: Vec<(W, u64)>,
    /// What the host was asked for.
    alarm: Option<u64>,
}

impl<W> Default for Timers<W> {
    fn default() -> Self {
        Self { waits: Vec::new(), alarm: None }
    }
}

impl<W: PartialEq> Timers<W> {
    /// Waits this many milliseconds; an earlier wait for the same thing is forgotten.
    pub fn start(&mut self, wait: W, ms: u64, effects: &mut Effects) {
        self.cancel(&wait);
        self.waits.push((wait, ms));
        self.set_alarm(effects);
    }

    /// Waits no longer for this. The alarm stays: one that rings for nothing does no harm.
    pub fn cancel(&mut self, wait: &W) {
        self.waits.retain(|(other, _)| other != wait);
    }

    /// To be called with [`wake`](crate::Adapter::wake): gives what is over.
    pub fn ring(&mut self, effects: &mut Effects) -> Vec<W> {
        let passed = self.alarm.take().unwrap_or(0);
        let mut over = Vec::new();
        for (wait, left) in std::mem::take(&mut self.waits) {
            match left.saturating_sub(passed) {
                0 => over.push(wait),
                left => self.waits.push((wait, left)),
            }
        }
        self.set_alarm(effects);
        over
    }

    /// What is waited for.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        self.waits.iter().map(|(wait, _)| wait)
    }

    fn set_alarm(&mut self, effects: &mut Effects) {
        self.alarm = self.waits.iter().map(|(_, left)| *left).min();
        if let Some(ms) = self.alarm {
            effects.push(Effect::WakeAfter(u32::try_from(ms).unwrap_or(u32::MAX)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timers with the host's side of them.
    #[derive(Default)]
    struct Clock {
        timers: Timers<&'static str>,
        effects: Effects,
    }

    impl Clock {
        fn start(&mut self, wait: &'static str, ms: u64) -> Vec<Effect> {
            self.timers.start(wait, ms, &mut self.effects);
            self.effects.take()
        }

        fn ring(&mut self) -> (Vec<&'static str>, Vec<Effect>) {
            let over = self.timers.ring(&mut self.effects);
            (over, self.effects.take())
        }
    }

    fn alarm(ms: u32) -> Vec<Effect> {
        vec![Effect::WakeAfter(ms)]
    }

    #[test]
    fn the_shortest_wait_sets_the_alarm() {
        let mut clock = Clock::default();
        assert_eq!(clock.start("answer", 300), alarm(300));
        assert_eq!(clock.start("turn", 50), alarm(50));
        assert_eq!(clock.ring(), (vec!["turn"], alarm(250)));
        assert_eq!(clock.ring(), (vec!["answer"], vec![]));
    }

    #[test]
    fn a_wait_that_was_called_off_is_not_over() {
        let mut clock = Clock::default();
        clock.start("turn", 50);
        clock.timers.cancel(&"turn");
        assert_eq!(clock.timers.iter().count(), 0);
        assert_eq!(clock.ring(), (vec![], vec![]));
    }

    #[test]
    fn waiting_anew_starts_from_the_beginning() {
        let mut clock = Clock::default();
        clock.start("turn", 50);
        assert_eq!(clock.start("turn", 50), alarm(50));
        assert_eq!(clock.ring(), (vec!["turn"], vec![]));
    }

    #[test]
    fn a_longer_wait_does_not_postpone_a_shorter_one() {
        let mut clock = Clock::default();
        clock.start("turn", 50);
        assert_eq!(clock.start("answer", 300), alarm(50));
        assert_eq!(clock.ring(), (vec!["turn"], alarm(250)));
    }
}

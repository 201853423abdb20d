//! The state that clients were told.

use crate::effects::Effects;
use crate::interface::Event;
use crate::session::State;

/// What clients were told of the session last, so that they are told only what is new.
#[derive(Debug, Default)]
pub struct Told(Option<State>);

impl Told {
    /// Tells clients the state if it is another than they know, or if one of them `asked`. That
    /// work began or ended is no news: the events around a turn say that.
    pub fn tell(&mut self, state: State, asked: bool, effects: &mut Effects) {
        let is_news = self
            .0
            .as_ref()
            .is_none_or(|told| State { working: state.working, ..told.clone() } != state);
        if asked || is_news {
            self.0 = Some(state.clone());
            effects.event(Event::State(state));
        }
    }

    /// Whether they were told of work, because something else changed in the middle of it. Then
    /// they should be told of its end as well.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.0.as_ref().is_some_and(|told| told.working)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told_unless_somebody_asks() {
        let mut told = Told::default();
        let mut count = |state: State, asked| {
            let mut effects = Effects::default();
            told.tell(state, asked, &mut effects);
            effects.take().len()
        };
        let titled = || State { title: Some("a title".to_owned()), ..State::default() };
        assert_eq!(count(State::default(), false), 1);
        assert_eq!(count(State::default(), false), 0);
        assert_eq!(count(State { working: true, ..State::default() }, false), 0);
        assert_eq!(count(State::default(), true), 1);
        assert_eq!(count(titled(), false), 1);
        assert_eq!(count(titled(), false), 0);
    }

    #[test]
    fn work_counts_only_when_it_was_told() {
        let mut told = Told::default();
        let working = || State { working: true, ..State::default() };
        told.tell(State::default(), false, &mut Effects::default());
        told.tell(working(), false, &mut Effects::default());
        assert!(!told.is_working());
        told.tell(working(), true, &mut Effects::default());
        assert!(told.is_working());
    }
}

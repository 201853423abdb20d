//! Signs of life: when the relay is asked for one, and when it counts as gone.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The longest time without a sign of life from the relay that this host lets pass before it asks.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(25);
/// How long a relay may take to answer when the network has changed.
const CHECK: Duration = Duration::from_secs(3);
/// By how much more the clock of the day must go on than the other one for the machine to have slept.
const SLEPT: Duration = Duration::from_secs(10);

/// What a connection owes its relay at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// The relay is to be asked for a sign of life.
    Question,
    /// The relay is gone.
    End,
}

/// The signs of life of the relay on one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    keepalive: Duration,
    heard: Instant,
    asked: Instant,
    /// A relay that is not heard before is gone.
    answer_by: Option<Instant>,
    /// Both clocks when it was last looked at them.
    clocks: (Instant, SystemTime),
}

impl Pulse {
    /// The pulse of a connection that begins now, on which the relay wants to hear something so
    /// often ([`Welcome::keepalive_ms`](rp_protocol::relay::Welcome::keepalive_ms)).
    pub(crate) fn new(keepalive: Duration, now: Instant) -> Self {
        let keepalive = keepalive.clamp(Duration::from_secs(1), LONGEST_KEEPALIVE);
        let clocks = (now, SystemTime::now());
        Pulse { keepalive, heard: now, asked: now, answer_by: None, clocks }
    }

    /// After how long without a sign of life the relay is gone.
    pub(crate) fn patience(&self) -> Duration {
        3 * self.keepalive
    }

    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.answer_by = None;
    }

    /// Gives the relay only a short time for the answer to a question that is asked now: whether it
    /// can still be reached is in doubt.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.asked = now;
        self.answer_by = Some(now + CHECK);
    }

    /// When to look at it again, unless something is heard before.
    pub(crate) fn next(&self) -> Instant {
        let ask_at = self.heard.max(self.asked) + self.keepalive;
        self.answer_by.map_or(ask_at, |answer_by| answer_by.min(ask_at))
    }

    /// What is due now. A question that is due counts as asked.
    pub(crate) fn look(&mut self, now: Instant) -> Due {
        let is_late = self.answer_by.is_some_and(|at| at <= now);
        if is_late || now.duration_since(self.heard) >= self.patience() {
            return Due::End;
        }
        if now < self.heard.max(self.asked) + self.keepalive {
            return Due::Nothing;
        }
        self.asked = now;
        Due::Question
    }

    /// Whether the machine has slept since this was asked last: then the connection may be long gone.
    pub(crate) fn has_slept(&mut self) -> bool {
        let (monotonic, day) = (self.clocks.0.elapsed(), self.clocks.1.elapsed());
        self.clocks = (Instant::now(), SystemTime::now());
        day.unwrap_or_default() > monotonic + SLEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(20);

    #[test]
    fn a_silent_relay_is_asked_twice_and_then_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEPALIVE, start);
        let heard = start + Duration::from_millis(300);
        pulse.hear(heard);
        assert_eq!(pulse.look(start + KEEPALIVE), Due::Nothing);
        for (number, due) in [(1, Due::Question), (2, Due::Question), (3, Due::End)] {
            assert_eq!(pulse.next(), heard + number * KEEPALIVE);
            assert_eq!(pulse.look(pulse.next()), due);
        }
    }

    #[test]
    fn a_relay_in_doubt_answers_soon_or_is_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEPALIVE, start);
        pulse.doubt(start);
        assert_eq!((pulse.next(), pulse.look(start)), (start + CHECK, Due::Nothing));
        let mut silent = Pulse { ..pulse };
        assert_eq!(silent.look(start + CHECK), Due::End);
        pulse.hear(start + CHECK);
        assert_eq!(pulse.look(start + CHECK), Due::Nothing);
        assert_eq!(pulse.next(), start + CHECK + KEEPALIVE);
    }

    #[test]
    fn a_machine_that_slept_is_noticed_once() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEPALIVE, start);
        assert!(!pulse.has_slept());
        pulse.clocks.1 -= 2 * SLEPT;
        assert!(pulse.has_slept());
        assert!(!pulse.has_slept());
    }

    #[test]
    fn a_relay_cannot_make_this_host_wait_for_long_or_ask_all_the_time() {
        let start = Instant::now();
        for (said, kept) in [(0, Duration::from_secs(1)), (3600, LONGEST_KEEPALIVE)] {
            assert_eq!(Pulse::new(Duration::from_secs(said), start).next(), start + kept);
        }
    }
}

//! A session of an adapter on a bench.

use serde_json::Value;

use crate::Adapter;
use crate::interface::{Command, Effect, Event, Exit, Failure, LaunchRequest, Reply};
use crate::replay::check::Check;
use crate::session::{Answer, Prompt, TurnEnd, Urgency};

/// Commands and the harness's lines go in, and what the adapter did is asked for. The promises
/// that hold for every adapter are watched on the way: breaking one is a panic.
///
/// The tests of an adapter give it methods that speak for their harness: see
/// [`own_bench!`](crate::own_bench).
#[derive(Debug)]
pub struct Bench<A> {
    adapter: A,
    check: Check,
    effects: Vec<Effect>,
}

/// Declares the type `Bench` of an adapter's tests, such as `own_bench!(Pi);`: the bench of every
/// adapter, in a type to which the tests can add methods.
#[macro_export]
macro_rules! own_bench {
    ($adapter:ty) => {
        /// The bench of every adapter, with what only this harness says and does.
        pub(crate) struct Bench($crate::testing::Bench<$adapter>);

        impl ::std::ops::Deref for Bench {
            type Target = $crate::testing::Bench<$adapter>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl ::std::ops::DerefMut for Bench {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }
    };
}

/// What goes in.
impl<A: Adapter> Bench<A> {
    /// A session whose process has just started.
    pub fn start(request: LaunchRequest) -> Self {
        let adapter = A::new(request);
        let mut bench = Self { adapter, check: Check::default(), effects: Vec::new() };
        bench.started();
        bench
    }

    /// The process was started anew, as the adapter asked.
    pub fn started(&mut self) {
        self.check.starting();
        self.call(A::started);
    }

    /// The harness writes a line.
    pub fn line(&mut self, line: &str) {
        self.bytes(line.as_bytes());
    }

    /// The harness writes a line that need not be text.
    pub fn bytes(&mut self, line: &[u8]) {
        self.call(|adapter| adapter.output(line));
    }

    /// The harness writes a line to standard error.
    pub fn diagnostics(&mut self, line: &str) {
        self.call(|adapter| adapter.diagnostics(line));
    }

    /// A client gives a command.
    pub fn command(&mut self, number: u64, command: Command) {
        self.check.command(number, &command);
        self.call(|adapter| adapter.command(number, command));
    }

    /// A client gives a prompt without images.
    pub fn prompt(&mut self, number: u64, text: &str, urgency: Urgency) {
        self.command(number, Command::Prompt(Prompt::new(text, urgency)));
    }

    /// A client answers a question.
    pub fn answer_question(&mut self, number: u64, question: &str, answer: Answer) {
        self.command(number, Command::Answer((question.to_owned(), answer)));
    }

    /// The alarm rings.
    pub fn wake(&mut self) {
        self.call(A::wake);
    }

    /// The process ends.
    pub fn exited(&mut self, how: &Exit) {
        self.check.exiting();
        self.call(|adapter| adapter.exited(how));
    }

    /// Makes sure that nothing is left open.
    pub fn finish(&mut self) {
        self.check.finish();
        assert!(self.check.problems.is_empty(), "{:#?}", self.check.problems);
    }

    fn call(&mut self, call: impl FnOnce(&mut A)) {
        call(&mut self.adapter);
        let effects = self.adapter.effects().take();
        effects.iter().for_each(|effect| self.check.effect(effect));
        assert!(self.check.problems.is_empty(), "{:#?}", self.check.problems);
        self.effects.extend(effects);
    }
}

/// What the adapter did since it was last forgotten.
impl<A> Bench<A> {
    /// All of it.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Forgets it.
    pub fn forget(&mut self) {
        self.effects.clear();
    }

    /// Forgets all but what was written to the harness.
    pub fn forget_all_but_lines(&mut self) {
        self.effects.retain(|effect| matches!(effect, Effect::Write(_)));
    }

    /// The lines it wrote to the harness, as JSON.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let line = |effect: &Effect| match effect {
            Effect::Write(bytes) => serde_json::from_slice(bytes).ok(),
            _ => None,
        };
        self.effects.iter().filter_map(line).collect()
    }

    /// What it told clients.
    #[must_use]
    pub fn events(&self) -> Vec<&Event> {
        let events = self.effects.iter().filter_map(|effect| match effect {
            Effect::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// Whether it told clients this.
    #[must_use]
    pub fn has(&self, event: &Event) -> bool {
        self.events().contains(&event)
    }

    /// The texts of its notices.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.told(|event| match event {
            Event::Notice((_, text)) => Some(text.clone()),
            _ => None,
        })
    }

    /// The pieces of the messages that the model wrote.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.told(|event| match event {
            Event::Text((_, piece)) => Some(piece.clone()),
            _ => None,
        })
    }

    /// How turns ended.
    #[must_use]
    pub fn turn_ends(&self) -> Vec<TurnEnd> {
        self.told(|event| match event {
            Event::TurnEnded(how) => Some(*how),
            _ => None,
        })
    }

    /// The commands whose prompts the model saw.
    #[must_use]
    pub fn seen(&self) -> Vec<u64> {
        self.told(|event| match event {
            Event::PromptSeen(number) => Some(*number),
            _ => None,
        })
    }

    /// The commands whose prompts were dropped.
    #[must_use]
    pub fn dropped(&self) -> Vec<u64> {
        let dropped = self.told(|event| match event {
            Event::PromptsDropped(numbers) => Some(numbers.clone()),
            _ => None,
        });
        dropped.concat()
    }

    fn told<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events().into_iter().filter_map(wanted).collect()
    }

    /// How a command came out; `None` while it is open.
    #[must_use]
    pub fn outcome(&self, wanted: u64) -> Option<&Result<Reply, Failure>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Settle((number, outcome)) if *number == wanted => Some(outcome),
            _ => None,
        })
    }

    /// Whether a command was carried out and there was nothing to say about it.
    #[must_use]
    pub fn is_done(&self, number: u64) -> bool {
        matches!(self.outcome(number), Some(Ok(Reply::Done)))
    }

    /// Why a command failed; one that did not is a panic.
    #[must_use]
    #[allow(clippy::panic, reason = "a test that fails panics")]
    pub fn failure(&self, number: u64) -> &Failure {
        match self.outcome(number) {
            Some(Err(failure)) => failure,
            other => panic!("command {number} did not fail: {other:?}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use crate::effects::Effects;
    use crate::interface::{Description, LaunchSpec};
    use crate::session::{FailureKind, Severity};

    use super::*;

    /// Repeats what it is told, and is done with each command as often as its number says.
    #[derive(Debug, Default)]
    struct Parrot(Effects);

    impl Adapter for Parrot {
        fn describe() -> Vec<Description> {
            Vec::new()
        }

        fn launch(_: &LaunchRequest) -> Result<LaunchSpec, Failure> {
            Err(Failure::new(FailureKind::Unsupported, "a parrot is not launched"))
        }

        fn new(_: LaunchRequest) -> Self {
            Self::default()
        }

        fn effects(&mut self) -> &mut Effects {
            &mut self.0
        }

        fn started(&mut self) {}

        fn output(&mut self, data: &[u8]) {
            self.0.notice(Severity::Info, String::from_utf8_lossy(data));
        }

        fn diagnostics(&mut self, _: &str) {}

        fn command(&mut self, number: u64, _: Command) {
            (0..number).for_each(|_| self.0.done(number));
        }

        fn exited(&mut self, _: &Exit) {}
    }

    fn bench() -> Bench<Parrot> {
        Bench::start(crate::testing::launch_request("parrot"))
    }

    #[test]
    fn what_went_in_is_seen_in_what_came_out() {
        let mut bench = bench();
        bench.line("hello");
        bench.prompt(1, "work", Urgency::WhenIdle);
        assert_eq!(bench.notices(), ["hello"]);
        assert!(bench.is_done(1) && bench.outcome(2).is_none());
        bench.forget();
        assert!(bench.notices().is_empty());
        bench.finish();
    }

    #[test]
    #[should_panic(expected = "settled twice")]
    fn a_broken_promise_is_a_panic() {
        bench().prompt(2, "work", Urgency::WhenIdle);
    }

    #[test]
    #[should_panic(expected = "never settled")]
    fn a_command_that_is_left_open_is_a_panic() {
        let mut bench = bench();
        bench.prompt(0, "work", Urgency::WhenIdle);
        bench.finish();
    }
}

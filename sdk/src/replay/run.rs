//! The replay itself.

use std::collections::VecDeque;

use serde_json::Value;

use super::check::Check;
use super::recording::{Case, Direction, Line};
use super::render;
use super::sessions::Calls;
use crate::Adapter;
use crate::interface::{Command, Effect, LaunchRequest};

/// A recorder that wrote right after what it saw may have been faster than an adapter that
/// holds something back for a moment. So alarms that are due this soon ring before the next
/// recorded input, and everything behind it happens that much later; the order of what the
/// harness said stays as it was.
const RECORDER_SLOWED_BY_MS: u64 = 260;

/// Turns what a recorder wrote into commands.
pub trait Translator {
    /// The command that makes an adapter write this line, or one to the same end.
    fn translate(&self, line: &str) -> Translation;

    /// Whether the adapter's line stands for the recorder's, so that the answer to the one is
    /// the answer to the other.
    fn stands_for(&self, written: &Value, recorded: &Value) -> bool {
        written.get("type") == recorded.get("type")
    }

    /// The members of a line that hold an id. In what the harness writes, an id that the recorder
    /// chose is replaced by the one that the adapter chose in its place: one that is text
    /// wherever it stands, any other only in a member `id` of the line itself.
    fn ids(&self) -> &[&str] {
        &["id"]
    }
}

/// What becomes of a recorded input line.
#[derive(Debug)]
pub enum Translation {
    /// This command.
    Command(Command),
    /// Nothing: no adapter would send it, or the adapter does by itself.
    Skip,
}

/// What a replay gave.
#[derive(Debug)]
pub struct Replay {
    /// What went in and what the adapter did, to be compared with a golden file.
    pub text: String,
    /// Promises of the adapter that were broken, in words.
    pub problems: Vec<String>,
    pub(super) calls: Calls,
}

/// A recording, made ready for an adapter.
#[derive(Debug)]
pub struct Recording<T> {
    /// A launch that asks for what the recorder asked for.
    pub request: LaunchRequest,
    /// The lines, as if the adapter's habits had been the recorder's.
    pub lines: Vec<Line>,
    /// Reads what the recorder wrote.
    pub translator: T,
}

/// Feeds a recording to a new session of the adapter, from its start to the exit that `case`
/// tells of.
pub fn replay<A: Adapter, T: Translator>(case: &Case, recording: Recording<T>) -> Replay {
    replay_of::<A, T>(case, recording, &[])
}

/// The same, where it is known how the lines stand in the file.
pub(super) fn replay_of<A: Adapter, T: Translator>(
    case: &Case,
    recording: Recording<T>,
    recorded: &[Line],
) -> Replay {
    let Recording { request, lines, translator } = recording;
    let mut player = Player {
        calls: Calls::new(&request, recorded),
        adapter: A::new(request),
        translator: &translator,
        text: String::new(),
        check: Check::default(),
        now: 0,
        delay: 0,
        alarm: None,
        commands: 0,
        unanswered: VecDeque::new(),
        recorded: VecDeque::new(),
        ids: Vec::new(),
    };
    player.play(&lines);
    player.pass_time_until(case.exit.at_ms + player.delay);
    let exit = case.how_it_ended();
    player.adapter.exited(&exit);
    player.check.exiting();
    player.aloud(&render::exit(&exit));
    player.check.finish();
    Replay { text: player.text, problems: player.check.problems, calls: player.calls }
}

struct Player<'a, A> {
    adapter: A,
    translator: &'a dyn Translator,
    text: String,
    check: Check,
    calls: Calls,
    /// Milliseconds since the start.
    now: u64,
    /// How much later than recorded everything happens.
    delay: u64,
    alarm: Option<u64>,
    commands: u64,
    /// Lines of the adapter that no recorded line stands for yet.
    unanswered: VecDeque<Value>,
    /// Recorded lines that no line of the adapter stands for yet.
    recorded: VecDeque<Value>,
    /// The recorder's id and the adapter's, as JSON text.
    ids: Vec<(String, String)>,
}

impl<A: Adapter> Player<'_, A> {
    fn play(&mut self, lines: &[Line]) {
        self.adapter.started();
        self.aloud("started");
        for line in lines {
            self.pass_time_until(line.at_ms + self.delay);
            if line.dir == Direction::In {
                self.slow_recorder();
            }
            match line.dir {
                Direction::In => self.input(&line.line),
                Direction::Out => self.output(&line.line),
                Direction::Err => {
                    self.calls.line("err", &line.line);
                    self.adapter.diagnostics(&line.line);
                    self.quietly("err");
                }
            }
        }
    }

    fn slow_recorder(&mut self) {
        let now = self.now;
        self.ring_until(now + RECORDER_SLOWED_BY_MS);
        self.delay += self.now - now;
    }

    fn pass_time_until(&mut self, until: u64) {
        self.ring_until(until);
        self.now = until;
    }

    fn ring_until(&mut self, until: u64) {
        while let Some(at) = self.alarm.filter(|at| *at <= until) {
            self.now = at;
            self.alarm = None;
            self.calls.wake();
            self.adapter.wake();
            self.quietly("wake");
        }
    }

    fn input(&mut self, line: &str) {
        let Translation::Command(command) = self.translator.translate(line) else {
            self.say(&format!("not sent {}", render::short(line)));
            return;
        };
        let recorded: Value = serde_json::from_str(line).unwrap_or_default();
        // What the adapter asked for by itself needs no command.
        let asked = &mut self.unanswered;
        let at = asked.iter().position(|written| self.translator.stands_for(written, &recorded));
        if let Some(written) = at.and_then(|at| asked.remove(at)) {
            return self.same(&recorded, &written);
        }
        self.recorded.push_back(recorded);
        self.commands += 1;
        let what = render::command(self.commands, &command);
        self.check.command(self.commands, &command);
        self.calls.command(&command);
        self.adapter.command(self.commands, command);
        self.aloud(&what);
    }

    fn output(&mut self, line: &str) {
        let line = self.with_our_ids(line);
        self.calls.line("out", &line);
        self.adapter.output(line.as_bytes());
        self.quietly(&render::output(&line));
    }

    /// The recorder's ids become the adapter's; of one that was used twice, the last use counts.
    fn with_our_ids(&self, line: &str) -> String {
        let told: Value = serde_json::from_str(line).unwrap_or_default();
        let own_id = told.get("id").filter(|id| !id.is_string()).map(Value::to_string);
        let own = self.ids.iter().rev().find(|(theirs, _)| Some(theirs) == own_id.as_ref());
        match own {
            Some((theirs, ours)) => {
                line.replacen(&format!("\"id\":{theirs}"), &format!("\"id\":{ours}"), 1)
            }
            None => self.with_our_texts(line),
        }
    }

    /// All at once: the adapter may have chosen what the recorder chose for something else.
    fn with_our_texts(&self, line: &str) -> String {
        let texts = || self.ids.iter().rev().filter(|(theirs, _)| theirs.starts_with('"'));
        let mut ours = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(at) = rest.find('"') {
            let (before, quoted) = rest.split_at(at);
            ours.push_str(before);
            let found = texts().find_map(|(theirs, own)| Some((own, quoted.strip_prefix(theirs)?)));
            let (text, behind) = match found {
                Some((own, behind)) => (own.as_str(), behind),
                None => quoted.split_at(1),
            };
            ours.push_str(text);
            rest = behind;
        }
        ours.push_str(rest);
        ours
    }

    fn same(&mut self, recorded: &Value, written: &Value) {
        for name in self.translator.ids() {
            if let (Some(theirs), Some(ours)) = (recorded.get(name), written.get(name)) {
                self.ids.push((theirs.to_string(), ours.to_string()));
            }
        }
    }

    /// Writes down what went in, if anything came of it.
    fn quietly(&mut self, what: &str) {
        let effects = self.adapter.effects().take();
        if !effects.is_empty() {
            self.say(what);
            self.take(effects);
        }
    }

    /// Writes down what went in, and what came of it.
    fn aloud(&mut self, what: &str) {
        let effects = self.adapter.effects().take();
        self.say(what);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::WakeAfter(ms) => self.alarm = Some(self.now + u64::from(*ms)),
                Effect::Write(bytes) => self.wrote(bytes),
                _ => {}
            }
            self.check.effect(&effect);
            self.say(&format!("    {}", render::effect(&effect)));
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let Ok(written) = serde_json::from_slice::<Value>(bytes) else {
            return;
        };
        let at = self
            .recorded
            .iter()
            .position(|recorded| self.translator.stands_for(&written, recorded));
        match at.and_then(|at| self.recorded.remove(at)) {
            Some(recorded) => self.same(&recorded, &written),
            None => self.unanswered.push_back(written),
        }
    }

    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

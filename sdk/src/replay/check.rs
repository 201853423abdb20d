//! Promises every adapter keeps, whatever its harness does.

use std::collections::{BTreeMap, BTreeSet};

use crate::interface::{Command, Effect, Event};
use crate::session::{Role, TurnEnd};

/// Watches commands go in and effects come out.
#[derive(Debug, Default)]
pub struct Check {
    /// Broken promises, in words.
    pub problems: Vec<String>,
    open_commands: BTreeSet<u64>,
    last_command: u64,
    turn: bool,
    abort_in_turn: bool,
    seen: BTreeSet<u64>,
    /// Text so far of messages that have not ended.
    messages: BTreeMap<String, String>,
    ended_messages: BTreeSet<String>,
    tools: BTreeSet<String>,
    questions: BTreeSet<String>,
    exited: bool,
    /// Commands whose effect outlives the process: it is started anew for them.
    relaunching: bool,
}

impl Check {
    /// A command goes in.
    pub fn command(&mut self, number: u64, command: &Command) {
        self.last_command = number;
        self.open_commands.insert(number);
        if matches!(command, Command::Abort) && self.turn {
            self.abort_in_turn = true;
        }
    }

    /// The process runs, perhaps another one than before.
    pub fn starting(&mut self) {
        self.exited = false;
        self.relaunching = false;
    }

    /// The process is gone; what follows is the last the adapter says of it.
    pub fn exiting(&mut self) {
        self.exited = true;
    }

    /// An effect comes out.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Settle((number, _)) => {
                let known = self.open_commands.remove(number);
                self.demand(known, || format!("command {number} was settled twice or never given"));
            }
            Effect::Write(bytes) => {
                self.demand(!self.exited, || {
                    "something was written to a process that is gone".to_owned()
                });
                self.demand(!bytes.is_empty(), || "nothing was written".to_owned());
            }
            Effect::Relaunch(_) => self.relaunching = true,
            Effect::Event(event) => self.event(event),
            Effect::WakeAfter(_) | Effect::Stop => {}
        }
    }

    /// Everything is over.
    pub fn finish(&mut self) {
        let open = std::mem::take(&mut self.open_commands);
        self.demand(open.is_empty() || self.relaunching, || format!("never settled: {open:?}"));
        let questions = std::mem::take(&mut self.questions);
        self.demand(questions.is_empty(), || format!("questions left open: {questions:?}"));
        self.demand(!self.turn, || "a turn was left open".to_owned());
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::TurnStarted => {
                self.demand(!self.turn, || "a turn started inside a turn".to_owned());
                self.turn = true;
            }
            Event::TurnEnded(how) => self.turn_ended(*how),
            Event::PromptSeen(number) => {
                self.in_turn(|| format!("prompt {number} was seen"));
                let new = self.seen.insert(*number);
                self.demand(new && *number <= self.last_command, || {
                    format!("prompt {number} was seen twice or never given")
                });
            }
            Event::PromptsDropped(numbers) => {
                for number in numbers {
                    let new = self.seen.insert(*number);
                    self.demand(new && *number <= self.last_command, || {
                        format!("prompt {number} was dropped after it was seen, or never given")
                    });
                }
            }
            Event::Text((id, piece)) => {
                self.in_turn(|| format!("message {id} went on"));
                let ended = self.ended_messages.contains(id);
                self.demand(!ended, || format!("message {id} went on behind its end"));
                self.messages.entry(id.clone()).or_default().push_str(piece);
            }
            Event::Thinking((id, _)) => self.in_turn(|| format!("thinking of {id} went on")),
            Event::MessageEnded(message) => {
                self.in_turn(|| format!("message {} ended", message.id));
                let new = self.ended_messages.insert(message.id.clone());
                self.demand(new, || format!("message {} ended twice", message.id));
                let pieces = self.messages.remove(&message.id);
                if message.role == Role::Assistant {
                    let same = pieces.is_none_or(|pieces| pieces == message.text);
                    self.demand(same, || {
                        format!("message {} is not what its pieces were", message.id)
                    });
                }
            }
            Event::ToolStarted(call) => {
                self.in_turn(|| format!("tool {} started", call.id));
                let new = self.tools.insert(call.id.clone());
                self.demand(new, || format!("tool {} started twice", call.id));
            }
            Event::ToolProgress((id, _)) => {
                let running = self.tools.contains(id);
                self.demand(running, || format!("tool {id} went on without running"));
            }
            Event::ToolEnded(call) => {
                let running = self.tools.remove(&call.id);
                self.demand(running, || format!("tool {} ended without running", call.id));
            }
            Event::Question(question) => {
                let new = self.questions.insert(question.id.clone());
                self.demand(new, || format!("question {} was asked twice", question.id));
            }
            Event::QuestionSettled(id) => {
                let open = self.questions.remove(id);
                self.demand(open, || format!("question {id} was settled without being open"));
            }
            Event::State(_) | Event::Usage(_) | Event::Notice(_) | Event::Other(_) => {}
        }
    }

    fn turn_ended(&mut self, how: TurnEnd) {
        self.in_turn(|| "a turn ended".to_owned());
        self.turn = false;
        let aborted = std::mem::take(&mut self.abort_in_turn);
        self.demand(!aborted || how == TurnEnd::Aborted, || {
            format!("an aborted turn ended as {how:?}")
        });
        let tools = std::mem::take(&mut self.tools);
        self.demand(tools.is_empty(), || format!("tools outlived their turn: {tools:?}"));
        self.messages.clear();
    }

    fn in_turn(&mut self, what: impl FnOnce() -> String) {
        if !self.turn {
            self.problems.push(format!("{} outside a turn", what()));
        }
    }

    fn demand(&mut self, kept: bool, problem: impl FnOnce() -> String) {
        if !kept {
            self.problems.push(problem());
        }
    }
}

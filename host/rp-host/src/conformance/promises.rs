//! Promises that every adapter keeps, whatever its harness does.

use std::collections::{BTreeMap, BTreeSet};

use rp_protocol::session::{Command, Effect, Event, Role, TurnEnd};

/// Watches commands go in and effects come out.
#[derive(Debug, Default)]
pub struct Promises {
    /// Those that were broken, in words.
    pub broken: Vec<String>,
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
    is_over: bool,
    /// Its commands outlive the process: it is started anew for them.
    relaunching: bool,
}

impl Promises {
    /// A command goes in.
    pub fn command(&mut self, number: u64, command: &Command) {
        self.last_command = number;
        self.open_commands.insert(number);
        if matches!(command, Command::Abort) && self.turn {
            self.abort_in_turn = true;
        }
    }

    /// The process is gone; what follows is the last the adapter says of it.
    pub fn exiting(&mut self) {
        self.is_over = true;
    }

    /// An effect comes out.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Settle(number, _) => {
                let known = self.open_commands.remove(number);
                self.demand(known, || format!("command {number} was settled twice or never given"));
            }
            Effect::Write(bytes) => {
                self.demand(!self.is_over, || {
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
        let settled = open.is_empty() || self.relaunching;
        self.demand(settled, || format!("commands were never settled: {open:?}"));
        let questions = std::mem::take(&mut self.questions);
        self.demand(questions.is_empty(), || format!("questions were left open: {questions:?}"));
        self.demand(!self.turn, || "a turn was left open".to_owned());
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::TurnStarted => {
                self.demand(!self.turn, || "a turn started inside a turn".to_owned());
                self.turn = true;
            }
            Event::TurnEnded { how } => self.turn_ended(*how),
            Event::PromptSeen { number } => {
                self.in_turn(|| format!("prompt {number} was seen"));
                self.prompt(*number, "seen");
            }
            Event::PromptsDropped { numbers } => {
                numbers.iter().for_each(|number| self.prompt(*number, "dropped"));
            }
            Event::Text { message, piece } => {
                self.in_turn(|| format!("message {message} went on"));
                let ended = self.ended_messages.contains(message);
                self.demand(!ended, || format!("message {message} went on behind its end"));
                self.messages.entry(message.clone()).or_default().push_str(piece);
            }
            Event::Thinking { message, .. } => {
                self.in_turn(|| format!("thinking of {message} went on"));
            }
            Event::MessageEnded(message) => {
                self.in_turn(|| format!("message {} ended", message.id));
                let new = self.ended_messages.insert(message.id.clone());
                self.demand(new, || format!("message {} ended twice", message.id));
                let pieces = self.messages.remove(&message.id);
                let same = pieces.is_none_or(|pieces| pieces == message.text);
                self.demand(same || message.role != Role::Assistant, || {
                    format!("message {} is not what its pieces were", message.id)
                });
            }
            Event::ToolStarted(call) => {
                self.in_turn(|| format!("tool {} started", call.id));
                let new = self.tools.insert(call.id.clone());
                self.demand(new, || format!("tool {} started twice", call.id));
            }
            Event::ToolProgress { call, .. } => {
                let running = self.tools.contains(call);
                self.demand(running, || format!("tool {call} went on without running"));
            }
            Event::ToolEnded(call) => {
                let running = self.tools.remove(&call.id);
                self.demand(running, || format!("tool {} ended without running", call.id));
            }
            Event::Question(question) => {
                let new = self.questions.insert(question.id.clone());
                self.demand(new, || format!("question {} was asked twice", question.id));
            }
            Event::QuestionSettled { question, .. } => {
                let open = self.questions.remove(question);
                self.demand(open, || format!("question {question} was settled without being open"));
            }
            Event::State(_) | Event::Usage(_) | Event::Notice { .. } | Event::Other { .. } => {}
        }
    }

    fn prompt(&mut self, number: u64, what: &str) {
        let new = self.seen.insert(number) && number <= self.last_command;
        self.demand(new, || format!("prompt {number} was {what} a second time, or never given"));
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
            self.broken.push(format!("{} outside a turn", what()));
        }
    }

    fn demand(&mut self, kept: bool, problem: impl FnOnce() -> String) {
        if !kept {
            self.broken.push(problem());
        }
    }
}

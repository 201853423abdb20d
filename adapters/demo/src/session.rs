//! One session: lines in, events out, and back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rp_sdk::interface::{
    Command, Description, Event, Exit, Failure, LaunchRequest, LaunchSpec, Reply,
};
use rp_sdk::process::Noise;
use rp_sdk::session::{
    FailureKind, Message, Prompt, Role, Severity, State, ToolCall, TurnEnd, Urgency,
};
use rp_sdk::{Adapter, Effects};

use crate::launch;
use crate::wire::{FromAgent, How, ToAgent};

/// A session of the demo agent.
#[derive(Debug, Default)]
pub struct Demo {
    pub(crate) effects: Effects,
    /// Prompts, aborts and answers the agent has not answered.
    pub(crate) open: BTreeSet<u64>,
    /// Questions that are open.
    pub(crate) questions: BTreeSet<String>,
    /// Prompts that go out when the abort before them is answered.
    after_abort: VecDeque<(u64, Prompt)>,
    /// The abort that interrupts for them; it belongs to no command.
    interrupting: bool,
    working: bool,
    tools: BTreeMap<String, ToolCall>,
    ready: bool,
    noise: Noise,
    last_diagnostics: Option<String>,
}

/// What the agent is called in a sentence.
const TITLE: &str = "the demo agent";

/// The id of an abort that belongs to no command.
const INTERRUPT: &str = "interrupt";

impl Adapter for Demo {
    fn describe() -> Vec<Description> {
        vec![launch::describe()]
    }

    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
        launch::launch(request)
    }

    fn new(_request: LaunchRequest) -> Self {
        Self::default()
    }

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn started(&mut self) {}

    fn output(&mut self, data: &[u8]) {
        match serde_json::from_slice(data) {
            Ok(line) => self.line(line),
            Err(_) => self.noise.hear(TITLE, &String::from_utf8_lossy(data), &mut self.effects),
        }
    }

    fn diagnostics(&mut self, line: &str) {
        self.last_diagnostics = Some(line.to_owned());
    }

    fn command(&mut self, number: u64, command: Command) {
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::Abort => {
                self.take_back_waiting();
                self.open.insert(number);
                self.effects.write_line(&ToAgent::Abort { id: number.to_string() });
            }
            Command::Answer((question, answer)) => self.answer(number, &question, &answer),
            Command::Refresh => {
                self.state();
                self.effects.done(number);
            }
            _ => self.effects.refuse(
                number,
                FailureKind::Unsupported,
                "the demo agent cannot do that",
            ),
        }
    }

    fn exited(&mut self, how: &Exit) {
        let what = how.in_words(TITLE);
        if self.working || !self.ready {
            let because =
                self.last_diagnostics.take().map(|line| format!(" ({line})")).unwrap_or_default();
            self.effects.notice(Severity::Error, format!("{what}{because}"));
        }
        for (number, _) in std::mem::take(&mut self.after_abort) {
            self.effects.refuse(number, FailureKind::Harness, &what);
        }
        for number in std::mem::take(&mut self.open) {
            self.effects.refuse(number, FailureKind::Harness, &what);
        }
        self.withdraw_questions();
        if self.working {
            self.end_turn(TurnEnd::Failed);
        }
    }
}

impl Demo {
    fn prompt(&mut self, number: u64, prompt: Prompt) {
        if !prompt.images.is_empty() {
            let message = "the demo agent takes no images";
            return self.effects.refuse(number, FailureKind::Unsupported, message);
        }
        if prompt.urgency == Urgency::Interrupt && self.working {
            self.after_abort.push_back((number, prompt));
            if !self.interrupting {
                self.interrupting = true;
                self.effects.write_line(&ToAgent::Abort { id: INTERRUPT.to_owned() });
            }
            return;
        }
        self.send_prompt(number, &prompt);
    }

    fn send_prompt(&mut self, number: u64, prompt: &Prompt) {
        self.open.insert(number);
        let when = (prompt.urgency == Urgency::AfterTools).then_some("after-step");
        let line = ToAgent::Prompt { id: number.to_string(), text: &prompt.text, when };
        self.effects.write_line(&line);
    }

    fn line(&mut self, line: FromAgent) {
        match line {
            FromAgent::Ready => {
                self.ready = true;
                self.state();
            }
            FromAgent::Accepted { id } => self.settle_id(&id, Ok(Reply::Done)),
            FromAgent::Refused { id, error } => match id {
                Some(id) => self.settle_id(&id, Err(Failure::new(FailureKind::Refused, error))),
                None => self.effects.notice(Severity::Warning, error),
            },
            FromAgent::TurnStarted => {
                self.working = true;
                self.effects.event(Event::TurnStarted);
            }
            FromAgent::PromptSeen { id } => {
                if let Ok(number) = id.parse() {
                    self.effects.event(Event::PromptSeen(number));
                }
            }
            FromAgent::Text { message, text } => self.effects.event(Event::Text((message, text))),
            FromAgent::Message { message, text } => {
                let message = Message::new(message, Role::Assistant, text);
                self.effects.event(Event::MessageEnded(message));
            }
            FromAgent::ToolCall { call, name, input } => {
                let tool = ToolCall::new(call.clone(), name, input.to_string());
                self.tools.insert(call, tool.clone());
                self.effects.event(Event::ToolStarted(tool));
            }
            FromAgent::ToolResult { call, output, failed } => {
                if let Some(tool) = self.tools.remove(&call) {
                    self.effects.event(Event::ToolEnded(ToolCall {
                        output: Some(output),
                        failed,
                        ..tool
                    }));
                }
            }
            FromAgent::Question(asked) => self.asked(asked),
            FromAgent::QuestionSettled { question } => self.settled(&question),
            FromAgent::TurnEnded { how } => self.end_turn(match how {
                How::Completed => TurnEnd::Completed,
                How::Aborted => TurnEnd::Aborted,
            }),
            FromAgent::Aborted { id, dropped } => self.aborted(&id, &dropped),
            FromAgent::Unknown => {}
        }
    }

    fn aborted(&mut self, id: &str, dropped: &[String]) {
        let numbers: Vec<u64> = dropped.iter().filter_map(|id| id.parse().ok()).collect();
        self.effects.dropped(numbers);
        if id != INTERRUPT {
            return self.settle_id(id, Ok(Reply::Done));
        }
        self.interrupting = false;
        for (number, prompt) in std::mem::take(&mut self.after_abort) {
            self.send_prompt(number, &prompt);
        }
    }

    /// Prompts that wait for the answer to an interrupting abort are dropped by the next one.
    fn take_back_waiting(&mut self) {
        for (number, _) in std::mem::take(&mut self.after_abort) {
            self.effects.refuse(number, FailureKind::Refused, "an abort took this prompt back");
        }
    }

    fn end_turn(&mut self, how: TurnEnd) {
        for (_, tool) in std::mem::take(&mut self.tools) {
            self.effects.event(Event::ToolEnded(ToolCall { failed: true, ..tool }));
        }
        self.working = false;
        self.effects.event(Event::TurnEnded(how));
    }

    fn state(&mut self) {
        self.effects.event(Event::State(State { working: self.working, ..State::default() }));
    }

    fn settle_id(&mut self, id: &str, outcome: Result<Reply, Failure>) {
        if let Some(number) = id.parse().ok().filter(|number| self.open.remove(number)) {
            self.effects.settle(number, outcome);
        }
    }
}

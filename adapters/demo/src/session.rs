//! One session: lines in, events out, and back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rp_sdk::Adapter;
use rp_sdk::interface::{
    Command, Description, Effect, Event, Exit, Failure, LaunchRequest, LaunchSpec, Reply,
};
use rp_sdk::session::{
    FailureKind, Message, Prompt, Role, Severity, State, ToolCall, TurnEnd, Urgency,
};

use crate::launch;
use crate::wire::{FromAgent, How, ToAgent};

/// A session of the demo agent.
#[derive(Debug, Default)]
pub struct Demo {
    effects: Vec<Effect>,
    /// Prompts and aborts the agent has not answered.
    open: BTreeSet<u64>,
    /// Prompts that go out when the abort before them is answered.
    after_abort: VecDeque<(u64, Prompt)>,
    /// The abort that interrupts for them; it belongs to no command.
    interrupting: bool,
    working: bool,
    tools: BTreeMap<String, ToolCall>,
    ready: bool,
    told_about_garbage: bool,
    last_diagnostics: Option<String>,
}

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

    fn started(&mut self) -> Vec<Effect> {
        Vec::new()
    }

    fn output(&mut self, data: &[u8]) -> Vec<Effect> {
        match serde_json::from_slice(data) {
            Ok(line) => self.line(line),
            Err(_) if data.is_empty() => {}
            Err(_) => self.garbage(data.len()),
        }
        std::mem::take(&mut self.effects)
    }

    fn diagnostics(&mut self, line: &str) -> Vec<Effect> {
        self.last_diagnostics = Some(line.to_owned());
        Vec::new()
    }

    fn command(&mut self, number: u64, command: Command) -> Vec<Effect> {
        match command {
            Command::Prompt(prompt) => self.prompt(number, prompt),
            Command::Abort => {
                self.take_back_waiting();
                self.open.insert(number);
                self.write(&ToAgent::Abort { id: number.to_string() });
            }
            Command::Refresh => {
                self.state();
                self.settle(number, Ok(Reply::Done));
            }
            _ => self.settle(
                number,
                Err(failure(FailureKind::Unsupported, "the demo agent cannot do that")),
            ),
        }
        std::mem::take(&mut self.effects)
    }

    fn wake(&mut self) -> Vec<Effect> {
        Vec::new()
    }

    fn exited(&mut self, how: &Exit) -> Vec<Effect> {
        let what = match how {
            Exit::Code(code) => format!("the demo agent ended with code {code}"),
            Exit::Signal(signal) => format!("the demo agent was ended by signal {signal}"),
            Exit::FailedToStart(reason) => format!("the demo agent did not start: {reason}"),
        };
        if self.working || !self.ready {
            let because =
                self.last_diagnostics.take().map(|line| format!(" ({line})")).unwrap_or_default();
            self.event(Event::Notice((Severity::Error, format!("{what}{because}"))));
        }
        for (number, _) in std::mem::take(&mut self.after_abort) {
            self.settle(number, Err(failure(FailureKind::Harness, &what)));
        }
        for number in std::mem::take(&mut self.open) {
            self.settle(number, Err(failure(FailureKind::Harness, &what)));
        }
        if self.working {
            self.end_turn(TurnEnd::Failed);
        }
        std::mem::take(&mut self.effects)
    }
}

impl Demo {
    fn prompt(&mut self, number: u64, prompt: Prompt) {
        if !prompt.images.is_empty() {
            let failure = failure(FailureKind::Unsupported, "the demo agent takes no images");
            return self.settle(number, Err(failure));
        }
        if prompt.urgency == Urgency::Interrupt && self.working {
            self.after_abort.push_back((number, prompt));
            if !self.interrupting {
                self.interrupting = true;
                self.write(&ToAgent::Abort { id: INTERRUPT.to_owned() });
            }
            return;
        }
        self.send_prompt(number, &prompt);
    }

    fn send_prompt(&mut self, number: u64, prompt: &Prompt) {
        self.open.insert(number);
        let when = (prompt.urgency == Urgency::AfterTools).then_some("after-step");
        self.write(&ToAgent::Prompt { id: number.to_string(), text: &prompt.text, when });
    }

    fn line(&mut self, line: FromAgent) {
        match line {
            FromAgent::Ready => {
                self.ready = true;
                self.state();
            }
            FromAgent::Accepted { id } => self.settle_id(&id, Ok(Reply::Done)),
            FromAgent::Refused { id, error } => match id {
                Some(id) => self.settle_id(&id, Err(failure(FailureKind::Refused, &error))),
                None => self.event(Event::Notice((Severity::Warning, error))),
            },
            FromAgent::TurnStarted => {
                self.working = true;
                self.event(Event::TurnStarted);
            }
            FromAgent::PromptSeen { id } => {
                if let Ok(number) = id.parse() {
                    self.event(Event::PromptSeen(number));
                }
            }
            FromAgent::Text { message, text } => self.event(Event::Text((message, text))),
            FromAgent::Message { message, text } => self.event(Event::MessageEnded(Message {
                id: message,
                role: Role::Assistant,
                text,
                thinking: None,
                tool: None,
                images: Vec::new(),
                at_ms: 0,
            })),
            FromAgent::ToolCall { call, name, input } => {
                let tool = ToolCall {
                    id: call.clone(),
                    name,
                    input: input.to_string(),
                    output: None,
                    failed: false,
                };
                self.tools.insert(call, tool.clone());
                self.event(Event::ToolStarted(tool));
            }
            FromAgent::ToolResult { call, output, failed } => {
                if let Some(tool) = self.tools.remove(&call) {
                    self.event(Event::ToolEnded(ToolCall { output: Some(output), failed, ..tool }));
                }
            }
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
        if !numbers.is_empty() {
            self.event(Event::PromptsDropped(numbers));
        }
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
            self.settle(
                number,
                Err(failure(FailureKind::Refused, "an abort took this prompt back")),
            );
        }
    }

    fn end_turn(&mut self, how: TurnEnd) {
        for (_, tool) in std::mem::take(&mut self.tools) {
            self.event(Event::ToolEnded(ToolCall { failed: true, ..tool }));
        }
        self.working = false;
        self.event(Event::TurnEnded(how));
    }

    fn garbage(&mut self, length: usize) {
        if !std::mem::replace(&mut self.told_about_garbage, true) {
            let text = format!(
                "the demo agent printed a line of {length} bytes that makes no sense; such lines are skipped"
            );
            self.event(Event::Notice((Severity::Warning, text)));
        }
    }

    fn state(&mut self) {
        let state = State {
            working: self.working,
            model: None,
            thinking: None,
            title: None,
            native_session: None,
        };
        self.event(Event::State(state));
    }

    fn settle_id(&mut self, id: &str, outcome: Result<Reply, Failure>) {
        if let Some(number) = id.parse().ok().filter(|number| self.open.remove(number)) {
            self.settle(number, outcome);
        }
    }

    fn settle(&mut self, number: u64, outcome: Result<Reply, Failure>) {
        self.effects.push(Effect::Settle((number, outcome)));
    }

    fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    fn write(&mut self, line: &ToAgent<'_>) {
        self.effects.push(Effect::Write(line.line()));
    }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned(), hint: None }
}

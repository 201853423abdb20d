//! The handshake, and the thread that is current.

use std::collections::VecDeque;

use rp_sdk::interface::{Command, Effect};
use rp_sdk::session::{FailureKind, Severity, TurnEnd};
use serde_json::{Map, Value, json};

use crate::launch::{split_model, thread_params};
use crate::requests::Request;
use crate::session::Codex;
use crate::wire::ThreadOpened;

/// How many commands wait for the first thread.
const WAIT_AT_MOST: usize = 256;

/// How far it has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Codex is being greeted, then asked for a thread.
    #[default]
    Opening,
    Open,
    /// There is no thread and there will be none: the process is to end.
    Failed,
}

#[derive(Debug, Default)]
pub(crate) struct Thread {
    pub(crate) stage: Stage,
    /// Codex's name for it; empty before it is open.
    pub(crate) id: String,
    /// Commands given before it was open.
    waiting: VecDeque<(u64, Command)>,
}

impl Thread {
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Commands that were waiting, because they will not be carried out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u64> + use<> {
        std::mem::take(&mut self.waiting).into_iter().map(|(number, _)| number)
    }
}

impl Codex {
    pub(crate) fn greet(&mut self) {
        let client = json!({
            "name": "rp-host",
            "title": "rp-host",
            "version": env!("CARGO_PKG_VERSION"),
        });
        let params = json!({
            "clientInfo": client,
            "capabilities": {"experimentalApi": true, "requestAttestation": false},
        });
        self.ask("initialize", params, Request::Initialize);
    }

    /// Codex answered the greeting: asks for the first thread.
    pub(crate) fn greeted(&mut self) {
        self.effects.write_line(&json!({"method": "initialized"}));
        let mut params = thread_params(&self.request, &self.options);
        self.add_model(&mut params);
        match self.request.resume.clone() {
            Some(id) => self.ask("thread/resume", resumed(params, &id), Request::Open),
            None => self.ask("thread/start", Value::Object(params), Request::Open),
        }
    }

    /// The first thread is open.
    pub(crate) fn opened(&mut self, opened: ThreadOpened) {
        self.thread.stage = Stage::Open;
        self.enter(opened, self.request.resume.is_some());
        for (number, command) in std::mem::take(&mut self.thread.waiting) {
            self.carry_out(number, command);
        }
    }

    /// There will be no first thread. The host notices an end without a word of a session,
    /// and begins a new one if an old one cannot be resumed.
    pub(crate) fn not_opened(&mut self, error: &str) {
        self.thread.stage = Stage::Failed;
        let text = match &self.request.resume {
            Some(id) => format!("Codex cannot resume the session {id}: {error}"),
            None => format!("Codex cannot begin a session: {error}"),
        };
        self.effects.notice(Severity::Error, text.clone());
        for number in self.thread.drain() {
            self.effects.refuse(number, FailureKind::Harness, text.clone());
        }
        self.process.given_up = true;
        self.effects.push(Effect::Stop);
    }

    /// Keeps a command until the first thread is open.
    pub(crate) fn wait_for_thread(&mut self, number: u64, command: Command) {
        if self.thread.stage == Stage::Failed {
            return self.effects.refuse(number, FailureKind::Harness, "Codex has no session");
        }
        if self.thread.waiting.len() >= WAIT_AT_MOST {
            return self.effects.refuse(
                number,
                FailureKind::Busy,
                "too many commands wait for Codex",
            );
        }
        self.thread.waiting.push_back((number, command));
    }

    /// Prompts that wait for the first thread are taken back by an abort.
    pub(crate) fn take_back_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.thread.waiting);
        for (number, command) in waiting {
            match command {
                Command::Prompt(_) => {
                    self.effects.refuse(number, FailureKind::Refused, "it was aborted")
                }
                other => self.thread.waiting.push_back((number, other)),
            }
        }
    }

    pub(crate) fn new_session(&mut self, number: u64) {
        self.end_turn_of_left_thread();
        let mut params = thread_params(&self.request, &self.options);
        self.add_model(&mut params);
        self.ask("thread/start", Value::Object(params), Request::NewSession { number });
    }

    pub(crate) fn resume(&mut self, number: u64, id: &str) {
        if id.is_empty() {
            return self.effects.refuse(number, FailureKind::Invalid, "the session has no name");
        }
        self.end_turn_of_left_thread();
        let params = thread_params(&self.request, &self.options);
        self.ask("thread/resume", resumed(params, id), Request::Resume { number });
    }

    /// A thread that is left would go on working unseen.
    fn end_turn_of_left_thread(&mut self) {
        if self.turn.is_coming_or_open() {
            self.interrupt(None);
        }
    }

    /// Another thread is current.
    pub(crate) fn thread_changed(&mut self, number: u64, opened: ThreadOpened, resumed: bool) {
        self.leave_turn(TurnEnd::Aborted);
        self.withdraw_questions();
        self.tools.forget_left_running();
        self.forget_sent_prompts();
        let left = std::mem::take(&mut self.thread.id);
        if resumed {
            self.known.chosen = Default::default();
        }
        if left != opened.thread.id {
            self.ask("thread/unsubscribe", json!({"threadId": left}), Request::Leave);
        }
        self.enter(opened, resumed);
        self.effects.done(number);
        self.release_prompts();
    }

    fn enter(&mut self, opened: ThreadOpened, resumed: bool) {
        self.thread.id.clone_from(&opened.thread.id);
        self.known.enter(opened, resumed);
        self.tell_state(false);
    }

    /// The model that a person chose, or else the one the agent was launched with.
    fn add_model(&self, params: &mut Map<String, Value>) {
        let (provider, name) = self.request.model.as_deref().map(split_model).unzip();
        let chosen = self.known.chosen.model.as_deref().or(name);
        if let Some(provider) = provider.flatten() {
            params.insert("modelProvider".to_owned(), json!(provider));
        }
        if let Some(model) = chosen {
            params.insert("model".to_owned(), json!(model));
        }
    }
}

/// The parameters to resume a thread with. Its turns are read when somebody asks for them.
fn resumed(mut params: Map<String, Value>, id: &str) -> Value {
    params.insert("threadId".to_owned(), json!(id));
    params.insert("excludeTurns".to_owned(), json!(true));
    Value::Object(params)
}

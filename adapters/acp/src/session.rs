//! The state machine: what it holds and what the host calls.

use std::collections::VecDeque;

use rp_sdk::interface::{
    Abilities, Command, Description, Exit, Failure, LaunchRequest, LaunchSpec,
};
use rp_sdk::json::{member, read, text};
use rp_sdk::requests::Requests;
use rp_sdk::timers::Timers;
use rp_sdk::{Adapter, Effects};
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::decode::{Line, RpcError, update};
use crate::harness::Harness;
use crate::launch;
use crate::opening::{Agent, Stage};
use crate::options::Options;
use crate::process::Process;
use crate::prompts::Prompts;
use crate::questions::Questions;
use crate::requests::{FIRST_ID, Opening, Request};
use crate::state::Known;
use crate::turn::Turn;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The agent refuses a prompt at once, if it does.
    Refusal,
    /// The rest of a history has come when no more does. The number is that of the command
    /// that waits for it.
    History(Option<u64>),
}

/// A session of an agent that speaks the Agent Client Protocol.
#[derive(Debug)]
pub struct Acp {
    pub(crate) harness: Harness,
    pub(crate) request: LaunchRequest,
    pub(crate) effects: Effects,
    pub(crate) process: Process,
    pub(crate) requests: Requests<Request>,
    pub(crate) timers: Timers<Wait>,
    pub(crate) agent: Agent,
    pub(crate) stage: Stage,
    pub(crate) closed_because: Option<Failure>,
    /// Commands that wait for a session.
    pub(crate) waiting: VecDeque<(u64, Command)>,
    /// A command that leaves the session when its turn is over.
    pub(crate) moving: Option<(u64, Opening)>,
    pub(crate) conversation: Conversation,
    /// The session that is being opened, which fills with its history.
    pub(crate) coming: Option<Conversation>,
    /// The agent told what was said before.
    pub(crate) history_is_whole: bool,
    /// What the agent says at the start of a session, as if the model did.
    pub(crate) hello: Option<String>,
    pub(crate) options: Options,
    /// The model that was asked for, for sessions to come.
    pub(crate) model: Option<String>,
    pub(crate) turn: Turn,
    pub(crate) prompts: Prompts,
    pub(crate) questions: Questions,
    pub(crate) known: Known,
}

impl Adapter for Acp {
    fn describe() -> Vec<Description> {
        Harness::ALL.map(Harness::describe).to_vec()
    }

    fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
        launch::launch(request)
    }

    fn new(request: LaunchRequest) -> Self {
        let harness = Harness::named(&request.harness).unwrap_or(Harness::Other);
        Self {
            harness,
            model: request.model.clone(),
            request,
            effects: Effects::default(),
            process: Process::default(),
            requests: Requests::starting_at(FIRST_ID),
            timers: Timers::default(),
            agent: Agent::default(),
            stage: Stage::default(),
            closed_because: None,
            waiting: VecDeque::new(),
            moving: None,
            conversation: Conversation::new(harness, String::new(), true),
            coming: None,
            history_is_whole: true,
            hello: None,
            options: Options::default(),
            turn: Turn::default(),
            prompts: Prompts::default(),
            questions: Questions::default(),
            known: Known::default(),
        }
    }

    fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    fn started(&mut self) {
        self.begin();
    }

    fn output(&mut self, data: &[u8]) {
        self.line(&text(data));
    }

    fn diagnostics(&mut self, line: &str) {
        self.process.last_words.hear(line);
    }

    fn command(&mut self, number: u64, command: Command) {
        self.dispatch(number, command);
    }

    fn wake(&mut self) {
        for wait in self.timers.ring(&mut self.effects) {
            match wait {
                Wait::Refusal => self.accept_sent(),
                Wait::History(number) => self.history_came(number),
            }
        }
    }

    fn exited(&mut self, how: &Exit) {
        self.process_exited(how);
    }
}

impl Acp {
    fn line(&mut self, line: &str) {
        if let Some(told) = update(line) {
            return self.session_update(told, line);
        }
        let Some(message) = read::<Line<'_>>(line) else {
            let title = self.harness.title();
            return self.process.noise.hear(title, line, &mut self.effects);
        };
        self.process.answers = true;
        let params = message.params;
        match (&*message.method, message.id) {
            ("", _) => self.response(&message),
            ("session/update", _) => {
                if let Some(told) = member(params) {
                    self.session_update(told, line);
                }
            }
            ("session/request_permission", Some(id)) => self.asked(id.get(), params),
            (method, Some(id)) => {
                let message = format!("this client has no method {method}");
                self.answer_error(id.get(), RpcError::NO_METHOD, &message);
            }
            // Whatever a newer agent tells.
            (_, None) => {}
        }
    }

    /// Whether this agent keeps to itself that the model failed.
    pub(crate) fn is_silent_about_errors(&self) -> bool {
        !self.harness.abilities().contains(Abilities::MODEL_ERRORS)
    }

    /// Sends a request about the current session. Gives its id.
    pub(crate) fn ask(&mut self, method: &str, params: Value, request: Request) -> u64 {
        let params = match request {
            Request::Initialize => params,
            _ => self.in_session(params),
        };
        self.ask_plain(method, params, request)
    }

    /// Sends a request that is about no session, or another.
    pub(crate) fn ask_plain(&mut self, method: &str, params: Value, request: Request) -> u64 {
        let id = self.requests.open(request);
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.effects.write_line(&line);
        id
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        let params = self.in_session(params);
        let line = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.effects.write_line(&line);
    }

    fn in_session(&self, mut params: Value) -> Value {
        if let Some(params) = params.as_object_mut() {
            params.insert("sessionId".to_owned(), self.conversation.session.clone().into());
        }
        params
    }
}

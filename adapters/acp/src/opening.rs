//! From the handshake to a session that takes prompts, and from one session to the next.
//!
//! Commands that come before there is a session wait for it. If it cannot be opened they fail,
//! and the next command tries once more: somebody may have logged in meanwhile.

use rp_sdk::Effects;
use rp_sdk::interface::Failure;
use rp_sdk::json::{RawValue, member};
use rp_sdk::launch::compare_version;
use rp_sdk::session::{FailureKind, ModelRef, Severity};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::decode::RpcError;
use crate::options::Options;
use crate::requests::{Opening, Request};
use crate::session::{Acp, Wait};

/// The protocol version that is spoken.
const PROTOCOL: u64 = 1;

/// How long the rest of a history may pause, in milliseconds, where it follows the answer.
/// Four were seen.
const HISTORY_PAUSES_MS: u64 = 250;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no session; the next command that needs one tries again.
    Closed,
    /// The handshake, or a session that is being opened.
    #[default]
    Opening,
    /// A session takes prompts.
    Ready,
}

/// What the agent said of itself.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// The handshake is over.
    introduced: bool,
    loads: bool,
    resumes: bool,
    pub(crate) lists: bool,
    pub(crate) images: bool,
}

/// The answer to `initialize`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Initialized {
    protocol_version: u64,
    agent_capabilities: Capabilities,
    agent_info: Option<Info>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Capabilities {
    load_session: bool,
    prompt_capabilities: PromptCapabilities,
    session_capabilities: SessionCapabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptCapabilities {
    image: bool,
}

/// An ability is there when its member is, whatever that is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SessionCapabilities {
    list: Option<Value>,
    resume: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    version: String,
}

/// What the answer to `session/new` has beside the choices.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Opened<'a> {
    session_id: Option<String>,
    #[serde(borrow)]
    config_options: Option<&'a RawValue>,
    #[serde(borrow)]
    modes: Option<&'a RawValue>,
    #[serde(rename = "_meta")]
    meta: Option<Value>,
}

impl Acp {
    /// Begins with whatever comes first: the handshake, or a session.
    pub(crate) fn begin(&mut self) {
        self.stage = Stage::Opening;
        if self.agent.introduced {
            return self.open_first();
        }
        let params = json!({
            "protocolVersion": PROTOCOL,
            "clientCapabilities": {
                "fs": {"readTextFile": false, "writeTextFile": false},
                "terminal": false,
            },
            "clientInfo": {
                "name": "rp-host",
                "title": "rp-host",
                "version": env!("CARGO_PKG_VERSION"),
            },
        });
        self.ask("initialize", params, Request::Initialize);
    }

    pub(crate) fn initialized(&mut self, result: Option<&RawValue>) {
        let answer: Initialized = member(result).unwrap_or_default();
        self.agent = Agent {
            introduced: true,
            loads: answer.agent_capabilities.load_session,
            resumes: answer.agent_capabilities.session_capabilities.resume.is_some(),
            lists: answer.agent_capabilities.session_capabilities.list.is_some(),
            images: answer.agent_capabilities.prompt_capabilities.image,
        };
        if answer.protocol_version != PROTOCOL {
            let (title, spoken) = (self.harness.title(), answer.protocol_version);
            let text = format!(
                "{title} speaks version {spoken} of the protocol, and this adapter version {PROTOCOL}"
            );
            self.effects.notice(Severity::Warning, text);
        }
        let version = answer.agent_info.map(|info| info.version);
        compare_version(version.as_deref(), self.harness.tested(), &mut self.effects);
        if self.request.mesh.is_some() && self.harness.ignores_servers() {
            let text = format!(
                "{} starts no MCP servers, so this agent has no tools of the mesh",
                self.harness.title()
            );
            self.effects.notice(Severity::Warning, text);
        }
        self.open_first();
    }

    /// Opens the session the host wants to come back to, or else a new one.
    fn open_first(&mut self) {
        let wanted = self.request.resume.clone();
        let opening = wanted.clone().map_or(Some(Opening::New), |session| self.earlier(session));
        if opening.is_none() {
            let text = format!(
                "{} cannot come back to an earlier conversation; a new one begins",
                self.harness.title()
            );
            self.effects.notice(Severity::Warning, text);
        }
        self.open(opening.unwrap_or(Opening::New), None);
    }

    /// How an earlier session is opened; `None` when the agent has no way to.
    pub(crate) fn earlier(&self, session: String) -> Option<Opening> {
        match (self.agent.loads, self.agent.resumes) {
            (true, _) => Some(Opening::Load(session)),
            (false, true) => Some(Opening::Resume(session)),
            (false, false) => None,
        }
    }

    /// Asks for a session; the command with this number settles when it takes prompts.
    pub(crate) fn open(&mut self, opening: Opening, number: Option<u64>) {
        self.stage = Stage::Opening;
        let mut params = json!({"cwd": self.request.cwd, "mcpServers": self.servers()});
        let (method, session) = match &opening {
            Opening::New => ("session/new", None),
            Opening::Load(session) => ("session/load", Some(session.clone())),
            Opening::Resume(session) => ("session/resume", Some(session.clone())),
        };
        if let (Some(session), Some(params)) = (session, params.as_object_mut()) {
            params.insert("sessionId".to_owned(), session.clone().into());
            self.coming = Some(Conversation::new(self.harness, session, false));
        }
        self.ask_plain(method, params, Request::Open { number, opening });
    }

    /// The mesh, as the server every agent starts by itself. Its token is in its environment.
    fn servers(&self) -> Vec<Value> {
        let mesh = self.request.mesh.iter();
        mesh.map(|mesh| {
            let server = &mesh.server;
            let env: Vec<Value> = server
                .env
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            json!({"name": server.name, "command": server.command, "args": server.args, "env": env})
        })
        .collect()
    }

    pub(crate) fn opened(
        &mut self,
        number: Option<u64>,
        opening: &Opening,
        result: Option<&RawValue>,
    ) {
        let answer: Opened<'_> = member(result).unwrap_or_default();
        let session = match opening {
            Opening::New => answer.session_id.clone().unwrap_or_default(),
            Opening::Load(session) | Opening::Resume(session) => session.clone(),
        };
        if session.is_empty() {
            return self.not_opened(number, opening, &RpcError::default());
        }
        let coming = self.coming.take().filter(|coming| coming.session == session);
        self.coming =
            Some(coming.unwrap_or_else(|| Conversation::new(self.harness, session, false)));
        self.history_is_whole = !matches!(opening, Opening::Resume(_));
        self.options = Options::new(result);
        self.known.moved(*opening != Opening::New);
        let hello = answer.meta.as_ref().and_then(|meta| meta.pointer("/piAcp/startupInfo"));
        self.hello = hello.and_then(Value::as_str).map(str::to_owned);
        if let Some(list) = answer.config_options {
            let update = format!(r#"{{"configOptions":{}}}"#, list.get());
            self.pass_on("config_option_update", &update);
        }
        if let Some(modes) = answer.modes {
            self.pass_on("modes", modes.get());
        }
        if self.harness.history_follows_answer() && matches!(opening, Opening::Load(_)) {
            let wait = Wait::History(number);
            self.timers.start(wait, HISTORY_PAUSES_MS, &mut self.effects);
        } else {
            self.history_came(number);
        }
    }

    /// More of the history follows the answer.
    pub(crate) fn history_goes_on(&mut self) {
        let history = self.timers.iter().find(|wait| matches!(wait, Wait::History(_)));
        if let Some(wait) = history.copied() {
            self.timers.start(wait, HISTORY_PAUSES_MS, &mut self.effects);
        }
    }

    /// All of the coming session's history was told: it is the current one from here on.
    pub(crate) fn history_came(&mut self, number: Option<u64>) {
        if let Some(mut coming) = self.coming.take() {
            coming.turn_ended(&mut Effects::default());
            coming.live = true;
            self.conversation = coming;
        }
        self.set_first_model(number);
    }

    /// Sees to it that the session has the model that was asked for before.
    fn set_first_model(&mut self, number: Option<u64>) {
        let Some(id) = self.model.clone() else {
            return self.ready(number);
        };
        let name = self.options.model_named(&ModelRef { provider: String::new(), id });
        if self.options.current_model() == Some(&name) {
            return self.ready(number);
        }
        match self.options.set_model(&name) {
            Some((method, params)) => {
                self.ask(method, params, Request::FirstModel { number, name });
            }
            None => {
                let title = self.harness.title();
                let text = format!("{title} does not let its model be chosen, so it is not {name}");
                self.effects.notice(Severity::Warning, text);
                self.ready(number);
            }
        }
    }

    pub(crate) fn ready(&mut self, number: Option<u64>) {
        self.stage = Stage::Ready;
        self.closed_because = None;
        self.tell_state(true);
        if let Some(number) = number {
            self.effects.done(number);
        }
        self.release_waiting();
    }

    /// The agent refused to open a session.
    pub(crate) fn not_opened(
        &mut self,
        number: Option<u64>,
        opening: &Opening,
        error: &RpcError<'_>,
    ) {
        self.coming = None;
        let failure = self.opening_failure(opening, error);
        if let Some(number) = number {
            self.effects.settle(number, Err(failure.clone()));
            if !self.conversation.session.is_empty() {
                self.stage = Stage::Ready;
                return self.release_waiting();
            }
        } else if *opening != Opening::New && error.code != RpcError::LOGIN {
            let text = format!("{}; a new conversation begins", failure.message);
            self.effects.notice(Severity::Warning, text);
            return self.open(Opening::New, None);
        }
        self.closed(failure);
    }

    fn opening_failure(&self, opening: &Opening, error: &RpcError<'_>) -> Failure {
        let (title, says) = (self.harness.title(), error.says());
        if error.code == RpcError::LOGIN {
            let hint = Some(self.harness.login().to_owned());
            let message = format!("nobody is logged in to {title}: {says}");
            return Failure { kind: FailureKind::Refused, message, hint };
        }
        let (kind, message) = match opening {
            Opening::New => (FailureKind::Harness, format!("{title} opens no session: {says}")),
            _ => (FailureKind::NotFound, format!("the session cannot be continued: {says}")),
        };
        Failure::new(kind, message)
    }

    /// There is no session, for this reason.
    pub(crate) fn closed(&mut self, failure: Failure) {
        if self.closed_because.as_ref() != Some(&failure) {
            let hint =
                failure.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            self.effects.notice(Severity::Error, format!("{}{hint}", failure.message));
            self.closed_because = Some(failure.clone());
        }
        self.stage = Stage::Closed;
        self.tell_state(false);
        for (number, _) in std::mem::take(&mut self.waiting) {
            self.effects.settle(number, Err(failure.clone()));
        }
    }
}

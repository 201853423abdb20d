//! What is known of the session, as its clients see it.

use rp_sdk::interface::Event;
use rp_sdk::session::{Model, ModelRef, State, Thinking, Usage};
use rp_sdk::told::Told;
use serde::Deserialize;
use serde_json::json;

use crate::requests::Request;
use crate::session::Pi;

/// How many session files are remembered as existing.
const FILES_REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) model: Option<Model>,
    pub(crate) thinking: Option<Thinking>,
    title: Option<String>,
    /// The file of the current session, which Pi makes only after the first answer.
    file: Option<String>,
    /// Session files that exist.
    existing: Vec<String>,
    told: Told,
}

impl Known {
    pub(crate) fn new(resumed: Option<&str>) -> Self {
        let mut known = Self::default();
        if let Some(file) = resumed {
            known.resumed(file);
        }
        known
    }

    /// The session with this name was continued, so it exists.
    pub(crate) fn resumed(&mut self, file: &str) {
        self.title = None;
        self.file = None;
        self.remember(file);
    }

    /// Another session is current; which one will be told.
    pub(crate) fn moved(&mut self) {
        self.title = None;
        self.file = None;
    }

    /// The model has answered, so the current session has its file. Gives whether that is news.
    pub(crate) fn saved(&mut self) -> bool {
        match self.file.clone() {
            Some(file) if !self.existing.contains(&file) => {
                self.remember(&file);
                true
            }
            _ => false,
        }
    }

    /// Whether Pi can be switched to this session. It takes what it is given for a path, and
    /// makes a new session of a file that does not exist, so it is asked only for files that do.
    pub(crate) fn can_switch_to(&self, file: &str) -> bool {
        let is_path = file.contains(['/', '\\']);
        is_path
            && (self.file.as_deref() == Some(file)
                || self.existing.iter().any(|known| known == file))
    }

    fn remember(&mut self, file: &str) {
        if !self.existing.iter().any(|known| known == file) {
            if self.existing.len() == FILES_REMEMBERED {
                self.existing.remove(0);
            }
            self.existing.push(file.to_owned());
        }
    }

    fn native_session(&self) -> Option<String> {
        self.file.clone().filter(|file| self.existing.contains(file))
    }
}

/// The data of `get_state`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateData {
    model: Option<ModelData>,
    #[serde(default)]
    thinking_level: String,
    session_file: Option<String>,
    session_name: Option<String>,
    #[serde(default)]
    message_count: u64,
}

/// A model as Pi describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelData {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    reasoning: bool,
    #[serde(default)]
    input: Vec<String>,
    context_window: Option<u64>,
}

impl From<ModelData> for Model {
    fn from(data: ModelData) -> Self {
        Self {
            ref_: ModelRef { provider: data.provider, id: data.id },
            name: data.name,
            reasoning: data.reasoning,
            vision: data.input.iter().any(|kind| kind == "image"),
            context_window: data.context_window.and_then(|tokens| u32::try_from(tokens).ok()),
        }
    }
}

/// `thinking_level_changed`.
#[derive(Debug, Deserialize)]
pub(crate) struct ThinkingChanged {
    level: String,
}

/// `session_info_changed`.
#[derive(Debug, Deserialize)]
pub(crate) struct TitleChanged {
    name: Option<String>,
}

/// The data of `get_session_stats`, as far as it is of use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatisticsData {
    context_usage: Option<ContextUsage>,
}

#[derive(Debug, Deserialize)]
struct ContextUsage {
    percent: Option<f32>,
}

impl Pi {
    pub(crate) fn ask_for_state(&mut self) {
        self.ask("get_state", json!({}), Request::State { number: None });
    }

    pub(crate) fn learn_state(&mut self, data: StateData) {
        let known = &mut self.known;
        // Without a provider Pi names a model `unknown`.
        known.model = data.model.filter(|model| model.id != "unknown").map(Model::from);
        known.thinking = Thinking::named(&data.thinking_level);
        known.title = data.session_name;
        known.file = data.session_file;
        if data.message_count > 1 {
            known.saved();
        }
    }

    pub(crate) fn thinking_changed(&mut self, change: ThinkingChanged) {
        self.known.thinking = Thinking::named(&change.level);
        self.tell_state(false);
    }

    pub(crate) fn title_changed(&mut self, change: TitleChanged) {
        self.known.title = change.name;
        self.tell_state(false);
    }

    /// Tells clients the state, if it changed or they asked.
    pub(crate) fn tell_state(&mut self, asked: bool) {
        let state = State {
            working: self.turn.is_open(),
            model: self.known.model.clone(),
            thinking: self.known.thinking,
            title: self.known.title.clone(),
            native_session: self.known.native_session(),
        };
        self.known.told.tell(state, asked, &mut self.effects);
    }

    /// Clients that were told of work in the middle of a turn are told of its end.
    pub(crate) fn tell_end_of_work(&mut self) {
        if self.known.told.is_working() {
            self.tell_state(true);
        }
    }

    /// How full the context is. It says nothing of tokens: those were told with each message.
    pub(crate) fn tell_context(&mut self, data: &StatisticsData) {
        let percent = data.context_usage.as_ref().and_then(|usage| usage.percent);
        let usage = Usage { context_percent: percent, ..Usage::default() };
        self.effects.event(Event::Usage(usage));
    }

    /// The tokens of one model call. The last call read the whole context, so its tokens say
    /// how full that is.
    pub(crate) fn tell_usage(&mut self, usage: crate::decode::Usage) {
        if usage.total_tokens == 0 {
            return;
        }
        let window = self.known.model.as_ref().and_then(|model| model.context_window);
        self.effects.event(Event::Usage(Usage {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            cost_usd: Some(usage.cost.total),
            context_percent: Usage::percent(usage.total_tokens, window.map(u64::from)),
        }));
    }
}

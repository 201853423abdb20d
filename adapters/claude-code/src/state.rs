//! What is known of the session, as its clients see it.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Model, State, Thinking, Usage};
use rp_sdk::told::Told;
use serde::Deserialize;
use serde_json::json;

use crate::decode::{self, System};
use crate::models::{self, Listed};
use crate::session::ClaudeCode;

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) models: Vec<Listed>,
    /// What the current model is called in a request to the provider.
    resolved: Option<String>,
    /// Tokens that models take, by the same names.
    windows: BTreeMap<String, u32>,
    thinking: Option<Thinking>,
    title: Option<String>,
    session: Option<String>,
    /// Claude has written the conversation to disk, so it can be resumed.
    saved: bool,
    mode: Option<String>,
    /// US dollars that the conversation has cost, as far as that is known.
    spent: Option<f64>,
    /// Tokens in the context at the last model call.
    context: Option<u64>,
    told: Told,
}

impl Known {
    /// A process starts, perhaps to go on with a conversation.
    pub(crate) fn starts(&mut self, resumed: Option<&str>) {
        self.moved();
        self.saved = resumed.is_some();
        // A conversation can be resumed by its title too, which is not what it is called here.
        self.session = resumed.filter(|name| looks_like_id(name)).map(str::to_owned);
        self.spent = resumed.is_none().then_some(0.0);
        self.mode = None;
    }

    /// Another conversation is current; which one is told later.
    pub(crate) fn moved(&mut self) {
        self.session = None;
        self.saved = false;
        self.title = None;
        self.context = None;
        self.spent = Some(0.0);
    }

    /// How full the context is now is told with the next model call.
    pub(crate) fn shortened(&mut self) {
        self.context = None;
    }

    /// The entry of the current model in Claude's list.
    pub(crate) fn entry(&self) -> Option<&Listed> {
        models::entry_of(&self.models, self.resolved.as_deref()?)
    }

    fn model(&self) -> Option<Model> {
        let resolved = self.resolved.as_deref()?;
        let window = self.window();
        let model = self.entry().map(|entry| entry.model(window));
        Some(model.unwrap_or_else(|| models::unlisted(resolved, window)))
    }

    fn window(&self) -> Option<u32> {
        self.windows.get(self.resolved.as_deref()?).copied()
    }

    /// How full the context is, of 100.
    fn context_percent(&self) -> Option<f32> {
        Usage::percent(self.context?, self.window().map(u64::from))
    }

    /// Every listed model, with the context windows that are known.
    pub(crate) fn listed(&self) -> Vec<Model> {
        let window = |entry: &Listed| self.windows.get(entry.resolved()).copied();
        self.models.iter().map(|entry| entry.model(window(entry))).collect()
    }

    fn state(&self, working: bool) -> State {
        State {
            working,
            model: self.model(),
            thinking: self.thinking,
            title: self.title.clone(),
            native_session: self.session.clone().filter(|_| self.saved),
        }
    }
}

/// The answer to `get_settings`, as far as it is of use.
#[derive(Debug, Deserialize)]
pub(crate) struct SettingsData {
    applied: Applied,
}

#[derive(Debug, Deserialize)]
struct Applied {
    model: Option<String>,
    effort: Option<String>,
}

/// The answer to `get_context_usage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContextData {
    total_tokens: u64,
    raw_max_tokens: u32,
}

/// The answer to `get_usage`.
#[derive(Debug, Deserialize)]
pub(crate) struct SpentData {
    session: Spent,
}

#[derive(Debug, Deserialize)]
struct Spent {
    total_cost_usd: f64,
    #[serde(default)]
    model_usage: BTreeMap<String, ModelUsage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelUsage {
    context_window: Option<u32>,
}

impl ClaudeCode {
    /// Which conversation it is, as Claude says at the start and at the end of a turn.
    pub(crate) fn learn_session(&mut self, id: Option<&str>) {
        if let Some(id) = id.filter(|id| self.known.session.as_deref() != Some(id)) {
            self.known.session = Some(id.to_owned());
        }
    }

    /// The model answers, so Claude has saved the conversation.
    pub(crate) fn conversation_is_saved(&mut self) {
        if !std::mem::replace(&mut self.known.saved, true) {
            self.tell_state(false);
        }
    }

    pub(crate) fn learn_model(&mut self, resolved: Option<&str>) {
        if let Some(resolved) = resolved {
            self.known.resolved = Some(resolved.to_owned());
        }
    }

    pub(crate) fn learn_settings(&mut self, data: SettingsData) {
        self.learn_model(data.applied.model.as_deref());
        self.known.thinking = data.applied.effort.as_deref().and_then(Thinking::named);
    }

    /// Which tools Claude may use without asking, in its own word.
    pub(crate) fn learn_mode(&mut self, mode: Option<&str>) {
        if let Some(mode) = mode.filter(|mode| self.known.mode.as_deref() != Some(mode)) {
            self.known.mode = Some(mode.to_owned());
            let data = json!({"mode": mode}).to_string();
            self.effects.event(Event::Other(("permission-mode".to_owned(), data)));
        }
    }

    pub(crate) fn title_changed(&mut self, line: System<'_>) {
        self.known.title = line.title.map(|title| title.into_owned());
        self.tell_state(false);
    }

    /// Tells clients the state, if it changed or they asked.
    pub(crate) fn tell_state(&mut self, asked: bool) {
        let state = self.known.state(self.turn.is_open());
        self.known.told.tell(state, asked, &mut self.effects);
    }

    /// Clients that were told of work in the middle of a turn are told of its end.
    pub(crate) fn tell_end_of_work(&mut self) {
        self.tell_state(self.known.told.is_working());
    }

    /// The tokens of one model call, which read the whole context.
    pub(crate) fn tell_usage(&mut self, usage: decode::Usage) {
        let tokens = |count: Option<u64>| count.unwrap_or(0);
        let usage = Usage {
            input: tokens(usage.input),
            output: tokens(usage.output),
            cache_read: tokens(usage.cache_read),
            cache_write: tokens(usage.cache_write),
            ..Usage::default()
        };
        let total = usage.input + usage.output + usage.cache_read + usage.cache_write;
        if total > 0 {
            self.known.context = Some(total);
            let context_percent = self.known.context_percent();
            self.effects.event(Event::Usage(Usage { context_percent, ..usage }));
        }
    }

    /// What a turn cost, from what the conversation has cost so far. Its tokens were told with
    /// each call.
    pub(crate) fn tell_cost(&mut self, total: Option<f64>, models: Option<&RawValue>) {
        let models = member::<BTreeMap<String, ModelUsage>>(models);
        self.learn_windows(models.unwrap_or_default());
        let Some(total) = total else {
            return;
        };
        let before = self.known.spent.replace(total);
        let cost_usd = before.map(|before| total - before).filter(|cost| *cost > 0.0);
        if cost_usd.is_some() {
            self.tell_only(cost_usd);
        }
    }

    pub(crate) fn learn_spent(&mut self, data: SpentData) {
        self.known.spent = Some(data.session.total_cost_usd);
        self.learn_windows(data.session.model_usage);
    }

    pub(crate) fn tell_context(&mut self, data: &ContextData) {
        self.known.context = Some(data.total_tokens);
        if let Some(resolved) = self.known.resolved.clone() {
            self.known.windows.insert(resolved, data.raw_max_tokens);
        }
        self.tell_only(None);
    }

    /// Usage without tokens: those were told with each call.
    fn tell_only(&mut self, cost_usd: Option<f64>) {
        let context_percent = self.known.context_percent();
        self.effects.event(Event::Usage(Usage { cost_usd, context_percent, ..Usage::default() }));
    }

    fn learn_windows(&mut self, models: BTreeMap<String, ModelUsage>) {
        let windows = models
            .into_iter()
            .filter_map(|(name, usage)| usage.context_window.map(|tokens| (name, tokens)));
        self.known.windows.extend(windows);
    }
}

/// Whether a text has the shape of the id of a conversation.
fn looks_like_id(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

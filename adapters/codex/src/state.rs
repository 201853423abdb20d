//! What is known of the session, as its clients see it.

use rp_sdk::interface::Event;
use rp_sdk::session::{Model, ModelRef, State, Thinking, Usage};
use rp_sdk::told::Told;

use crate::models::Catalogue;
use crate::session::Codex;
use crate::wire::{NameLine, SettingsLine, ThreadOpened, TokenUsage, UsageLine};

/// What Codex calls the lowest level. The others have their usual names.
const OFF: &str = "none";

/// What a person chose; each turn is started with it.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) chosen: Chosen,
    /// The provider of the model.
    pub(crate) provider: String,
    /// The name of the model; empty when it is not known.
    model: String,
    pub(crate) thinking: Option<Thinking>,
    title: Option<String>,
    thread: String,
    /// The thread can be resumed.
    pub(crate) saved: bool,
    /// What the model can read, in tokens.
    window: Option<u32>,
    pub(crate) catalogue: Catalogue,
    told: Told,
    counted: Counted,
}

/// Tokens of the current thread that clients were told of.
#[derive(Debug, Default)]
struct Counted {
    total: Option<u64>,
    /// How full the context is, 0 to 100.
    percent: Option<f32>,
}

impl Known {
    /// Another thread is current.
    pub(crate) fn enter(&mut self, opened: ThreadOpened, resumed: bool) {
        self.provider = opened.model_provider;
        self.model = opened.model;
        self.thinking = match self.chosen.effort {
            Some(effort) => level_of(effort),
            None => opened.reasoning_effort.as_deref().and_then(level_of),
        };
        self.title = opened.thread.name;
        self.thread = opened.thread.id;
        self.saved = resumed;
        self.window = None;
        self.counted = Counted::default();
    }

    /// The next turn has this model.
    pub(crate) fn choose_model(&mut self, name: &str) {
        self.chosen.model = Some(name.to_owned());
        self.model_is(name);
    }

    fn model_is(&mut self, name: &str) {
        if self.model != name {
            name.clone_into(&mut self.model);
            self.window = None;
        }
    }

    /// The current model.
    pub(crate) fn model(&self) -> Option<Model> {
        if self.model.is_empty() {
            return None;
        }
        let ref_ = ModelRef { provider: self.provider.clone(), id: self.model.clone() };
        Some(self.catalogue.describe(ref_, self.window))
    }
}

impl Codex {
    /// `thread/settings/updated`
    pub(crate) fn settings_updated(&mut self, line: SettingsLine) {
        if line.thread_id != self.thread.id {
            return;
        }
        let settings = line.thread_settings;
        self.known.provider = settings.model_provider;
        self.known.model_is(&settings.model);
        if let Some(effort) = settings.effort {
            self.known.thinking = level_of(&effort);
        }
        self.tell_state(false);
    }

    /// `thread/name/updated`
    pub(crate) fn name_updated(&mut self, line: NameLine) {
        if line.thread_id == self.thread.id {
            self.known.title = line.thread_name;
            self.tell_state(false);
        }
    }

    /// Tells clients the state, if it changed or they asked.
    pub(crate) fn tell_state(&mut self, asked: bool) {
        let known = &self.known;
        let state = State {
            working: self.turn.is_open(),
            model: known.model(),
            thinking: known.thinking,
            title: known.title.clone(),
            native_session: known.saved.then(|| known.thread.clone()),
        };
        self.known.told.tell(state, asked, &mut self.effects);
    }

    /// Clients that were told of work in the middle of a turn are told of its end.
    pub(crate) fn tell_end_of_work(&mut self) {
        if self.known.told.is_working() {
            self.tell_state(true);
        }
    }

    /// `thread/tokenUsage/updated`. Codex repeats itself around a compaction and tells the
    /// tokens of old turns when a thread is resumed; each call of the model is counted once.
    pub(crate) fn usage_updated(&mut self, line: UsageLine) {
        if line.thread_id != self.thread.id {
            return;
        }
        let usage = line.token_usage;
        self.learn_window(&usage);
        let total = usage.total.total_tokens;
        let counted = self.known.counted.total.replace(total);
        let percent = self.percent(&usage);
        let was_fuller = std::mem::replace(&mut self.known.counted.percent, percent);
        if self.turn.is_open() && counted != Some(total) {
            let last = usage.last;
            let from_cache = last.cached_input_tokens + last.cache_write_input_tokens;
            self.effects.event(Event::Usage(Usage {
                input: last.input_tokens.saturating_sub(from_cache),
                output: last.output_tokens,
                cache_read: last.cached_input_tokens,
                cache_write: last.cache_write_input_tokens,
                cost_usd: None,
                context_percent: percent,
            }));
        } else if was_fuller != percent {
            self.tell_context();
        }
    }

    /// How full the context is, without tokens: those were told with each call.
    pub(crate) fn tell_context(&mut self) {
        let context_percent = self.known.counted.percent;
        self.effects.event(Event::Usage(Usage { context_percent, ..Usage::default() }));
    }

    fn learn_window(&mut self, usage: &TokenUsage) {
        if usage.model_context_window.is_some() && usage.model_context_window != self.known.window {
            self.known.window = usage.model_context_window;
            self.tell_state(false);
        }
    }

    /// What the last call read and wrote is what the context holds now.
    fn percent(&self, usage: &TokenUsage) -> Option<f32> {
        Usage::percent(usage.last.total_tokens, self.known.window.map(u64::from))
    }
}

/// Codex's name of a level.
pub(crate) fn effort_of(level: Thinking) -> &'static str {
    if level == Thinking::Off { OFF } else { level.name() }
}

fn level_of(effort: &str) -> Option<Thinking> {
    if effort == OFF { Some(Thinking::Off) } else { Thinking::named(effort) }
}

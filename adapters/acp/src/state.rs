//! What is known of the session, as its clients see it.

use rp_sdk::interface::Event;
use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{State, Usage};
use rp_sdk::told::Told;
use serde::Deserialize;

use crate::decode::Update;
use crate::session::Acp;

#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) title: Option<String>,
    /// The agent keeps the session: the model was told something in it. Some make one that
    /// nobody can come back to before that.
    pub(crate) kept: bool,
    /// A model, and the tokens that its context can hold.
    window: Option<(String, u64)>,
    /// What the last call of the model used, and how full the context is.
    usage: Option<Usage>,
    told: Told,
}

impl Known {
    /// Another session is current; what clients were told stays told.
    pub(crate) fn moved(&mut self, kept: bool) {
        *self = Self { kept, told: std::mem::take(&mut self.told), ..Self::default() };
    }
}

/// Tokens in the answer to a prompt.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    cached_read_tokens: u64,
    cached_write_tokens: u64,
}

/// Where Gemini CLI puts them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    quota: Quota,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Quota {
    token_count: TokenCount,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenCount {
    input_tokens: u64,
    output_tokens: u64,
}

impl Tokens {
    /// From an answer that says so in either way.
    pub(crate) fn new(usage: Option<&RawValue>, meta: Option<&RawValue>) -> Self {
        if let Some(tokens) = member(usage) {
            return tokens;
        }
        let count = member::<Meta>(meta).unwrap_or_default().quota.token_count;
        Self {
            input_tokens: count.input_tokens,
            output_tokens: count.output_tokens,
            ..Self::default()
        }
    }
}

impl Acp {
    /// Tells clients the state, if it changed or they asked.
    pub(crate) fn tell_state(&mut self, asked: bool) {
        let mut model = self.options.model(self.agent.images);
        if let (Some(model), Some((of, tokens))) = (&mut model, &self.known.window)
            && self.options.current_model() == Some(of)
        {
            model.context_window = u32::try_from(*tokens).ok();
        }
        let session = &self.conversation.session;
        let state = State {
            working: self.turn.is_open(),
            model,
            thinking: self.options.thinking(),
            title: self.known.title.clone(),
            native_session: (self.known.kept && !session.is_empty()).then(|| session.clone()),
        };
        self.known.told.tell(state, asked, &mut self.effects);
    }

    /// Clients that were told of work in the middle of a turn are told of its end.
    pub(crate) fn tell_end_of_work(&mut self) {
        if self.known.told.is_working() {
            self.tell_state(true);
        }
    }

    /// `usage_update`: how full the context is. It says nothing of the tokens of a call.
    pub(crate) fn context_used(&mut self, update: &Update<'_>) {
        // An aborted turn is said to have used nothing.
        let Some(used) = update.used.filter(|used| *used > 0) else {
            return;
        };
        let size = update.size.filter(|size| *size > 0);
        let cost = update.cost.as_ref().filter(|cost| cost.currency.eq_ignore_ascii_case("usd"));
        let usage = Usage {
            cost_usd: cost.map(|cost| cost.amount),
            context_percent: Usage::percent(used, size),
            ..Usage::default()
        };
        if self.known.usage.as_ref().is_some_and(|told| {
            (told.cost_usd, told.context_percent) == (usage.cost_usd, usage.context_percent)
        }) {
            return;
        }
        self.known.window = self.options.current_model().map(str::to_owned).zip(size);
        self.known.usage = Some(usage);
        self.effects.event(Event::Usage(usage));
    }

    /// The tokens that the answer to a prompt tells. That to one that joined the turn can
    /// repeat what the first one told.
    pub(crate) fn tell_tokens(&mut self, tokens: &Tokens, joined: bool) {
        if tokens.input_tokens == 0 && tokens.output_tokens == 0 {
            return;
        }
        let known = self.known.usage;
        let usage = Usage {
            input: tokens.input_tokens,
            output: tokens.output_tokens,
            cache_read: tokens.cached_read_tokens,
            cache_write: tokens.cached_write_tokens,
            cost_usd: known.and_then(|usage| usage.cost_usd),
            context_percent: known.and_then(|usage| usage.context_percent),
        };
        if joined && known == Some(usage) {
            return;
        }
        self.known.usage = Some(usage);
        self.effects.event(Event::Usage(usage));
    }

    /// What was told of tokens, once more.
    pub(crate) fn tell_usage_again(&mut self) {
        if let Some(usage) = self.known.usage {
            self.effects.event(Event::Usage(usage));
        }
    }
}

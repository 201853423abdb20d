//! What the generated types can do besides holding what they hold.

use crate::interface::Exit;
use crate::session::{
    Failure, FailureKind, Message, Prompt, Role, State, Thinking, ToolCall, Urgency, Usage,
};

impl Failure {
    /// A failure without a hint. The message is for a person and begins with a small letter.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same, with what a person can do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Prompt {
    /// A prompt without images.
    pub fn new(text: impl Into<String>, urgency: Urgency) -> Self {
        Self { text: text.into(), images: Vec::new(), urgency }
    }

    /// Whether it says nothing and shows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.images.is_empty()
    }
}

impl Message {
    /// A message of which no more is known than its text.
    pub fn new(id: impl Into<String>, role: Role, text: impl Into<String>) -> Self {
        let (id, text) = (id.into(), text.into());
        Self { id, role, text, thinking: None, tool: None, images: Vec::new(), at_ms: 0 }
    }
}

impl ToolCall {
    /// A call that has not come out yet. `input` is JSON text.
    pub fn new(id: impl Into<String>, name: impl Into<String>, input: impl Into<String>) -> Self {
        let (id, name, input) = (id.into(), name.into(), input.into());
        Self { id, name, input, output: None, failed: false }
    }
}

/// Nothing is known and nothing goes on.
impl Default for State {
    fn default() -> Self {
        Self { working: false, model: None, thinking: None, title: None, native_session: None }
    }
}

/// No tokens, and neither their cost nor the context is known.
impl Default for Usage {
    fn default() -> Self {
        Self {
            input: 0,
            output: 0,
            cache_read: 0,
            cache_write: 0,
            cost_usd: None,
            context_percent: None,
        }
    }
}

impl Usage {
    /// How full a context of `window` tokens is that holds `used`: 0 to 100. `None` when the
    /// window is not known, which a window of 0 says too.
    #[must_use]
    pub fn percent(used: u64, window: Option<u64>) -> Option<f32> {
        let window = window.filter(|tokens| *tokens > 0)?;
        let percent = used as f64 * 100.0 / window as f64;
        Some(percent.clamp(0.0, 100.0) as f32)
    }
}

impl Thinking {
    /// Every level, from the least to the most.
    pub const ALL: [Self; 7] =
        [Self::Off, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// Its name, which is what most harnesses call it too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The level with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The nearest of these levels, of two that are equally near the lower one. `None` when there
    /// are none.
    pub fn nearest(self, of: impl IntoIterator<Item = Self>) -> Option<Self> {
        of.into_iter().min_by_key(|level| ((*level as u8).abs_diff(self as u8), *level as u8))
    }
}

impl Exit {
    /// How the process of a harness ended, in words. `title` is what the harness is called.
    #[must_use]
    pub fn in_words(&self, title: &str) -> String {
        match self {
            Self::Code(code) => format!("{title} ended with code {code}"),
            Self::Signal(signal) => format!("{title} was ended by signal {signal}"),
            Self::FailedToStart(reason) => format!("{title} cannot be run: {reason}"),
        }
    }

    /// Whether somebody had it end: its input was closed, or it was sent a signal. Some programs
    /// catch the signals for "hang up", "interrupt" and "terminate" and end with a code of their own.
    #[must_use]
    pub fn was_wanted(&self) -> bool {
        match self {
            Self::Code(code) => matches!(code, 0 | 129 | 130 | 143),
            Self::Signal(_) => true,
            Self::FailedToStart(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_has_one_name() {
        for level in Thinking::ALL {
            assert_eq!(Thinking::named(level.name()), Some(level));
        }
        assert_eq!(Thinking::named("Low"), None);
    }

    #[test]
    fn levels_are_in_the_order_of_the_interface() {
        assert!(Thinking::ALL.map(|level| level as u8).is_sorted());
        assert_eq!(Thinking::ALL.len(), Thinking::Max as usize + 1);
    }

    #[test]
    fn a_level_that_is_missing_becomes_the_nearest_one() {
        use Thinking::{High, Low, Max, Medium, Minimal, Off, Xhigh};
        let cases = [
            (Off, vec![Low, High], Some(Low)),
            (Medium, vec![High, Low], Some(Low)),
            (Xhigh, vec![Low, Max], Some(Max)),
            (Minimal, vec![Off, Minimal], Some(Minimal)),
            (Max, vec![], None),
        ];
        for (wanted, had, nearest) in cases {
            assert_eq!(wanted.nearest(had), nearest, "{wanted:?}");
        }
    }

    #[test]
    fn a_context_is_never_fuller_than_full() {
        assert_eq!(Usage::percent(50, Some(200)), Some(25.0));
        assert_eq!(Usage::percent(300, Some(200)), Some(100.0));
        assert_eq!(Usage::percent(50, Some(0)), None);
        assert_eq!(Usage::percent(50, None), None);
    }

    #[test]
    fn only_an_end_that_somebody_wanted_needs_no_explanation() {
        for how in [Exit::Code(0), Exit::Code(143), Exit::Signal(9)] {
            assert!(how.was_wanted(), "{how:?}");
        }
        for how in [Exit::Code(1), Exit::Code(-1), Exit::FailedToStart("no".to_owned())] {
            assert!(!how.was_wanted(), "{how:?}");
        }
    }
}

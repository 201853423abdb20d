//! Models and how hard they think, in Claude's names.

use rp_sdk::session::{Model, ModelRef, Thinking};
use serde::Deserialize;

use crate::launch::PROVIDER;

/// The levels Claude has. It calls them by their usual names.
const EFFORTS: [Thinking; 5] =
    [Thinking::Low, Thinking::Medium, Thinking::High, Thinking::Xhigh, Thinking::Max];

/// The value that stands for whatever Claude recommends.
const DEFAULT: &str = "default";

/// A model as Claude lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    /// What it is chosen by, such as `opus`.
    value: String,
    /// The model that this means today, such as `claude-opus-5-5`.
    #[serde(default)]
    resolved_model: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    supports_effort: bool,
    #[serde(default)]
    supported_effort_levels: Vec<String>,
}

/// The part of an answer that lists models.
#[derive(Debug, Deserialize)]
pub(crate) struct ListedModels {
    pub(crate) models: Vec<Listed>,
}

impl Listed {
    /// `context_window` in tokens, where it is known.
    pub(crate) fn model(&self, context_window: Option<u32>) -> Model {
        Model {
            ref_: ModelRef { provider: PROVIDER.to_owned(), id: self.value.clone() },
            name: self.display_name.clone(),
            reasoning: self.supports_effort,
            // Every model that Claude lists reads images.
            vision: true,
            context_window,
        }
    }

    pub(crate) fn resolved(&self) -> &str {
        &self.resolved_model
    }
}

/// The entry that stands for a model; one with a name of its own rather than the default.
pub(crate) fn entry_of<'a>(listed: &'a [Listed], resolved: &str) -> Option<&'a Listed> {
    let of_model = || listed.iter().filter(|entry| entry.resolved_model == resolved);
    of_model().find(|entry| entry.value != DEFAULT).or_else(|| of_model().next())
}

/// A model that Claude does not list.
pub(crate) fn unlisted(resolved: &str, context_window: Option<u32>) -> Model {
    Model {
        ref_: ModelRef { provider: PROVIDER.to_owned(), id: resolved.to_owned() },
        name: resolved.to_owned(),
        reasoning: false,
        vision: true,
        context_window,
    }
}

/// The effort nearest to a level, of those the model has. Without an entry the model may have
/// all of them.
pub(crate) fn effort_for(level: Thinking, entry: Option<&Listed>) -> &'static str {
    let supported = entry.map_or(&[][..], |entry| &entry.supported_effort_levels);
    let has = |effort: &Thinking| {
        supported.is_empty() || supported.iter().any(|name| name == effort.name())
    };
    level.nearest(EFFORTS.into_iter().filter(has)).unwrap_or(Thinking::Low).name()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn listed() -> Vec<Listed> {
        let json = r#"[
            {"value":"default","resolvedModel":"claude-opus","displayName":"Default (recommended)"},
            {"value":"opus","resolvedModel":"claude-opus","displayName":"Opus","supportsEffort":true,"supportedEffortLevels":["low","medium","high"]},
            {"value":"haiku","resolvedModel":"claude-haiku","displayName":"Haiku"}
        ]"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_model_is_called_by_its_own_name_rather_than_the_default() {
        assert_eq!(entry_of(&listed(), "claude-opus").unwrap().value, "opus");
        assert!(entry_of(&listed(), "claude-9").is_none());
    }

    #[test]
    fn a_level_that_a_model_does_not_have_becomes_the_nearest_one() {
        let listed = listed();
        let opus = entry_of(&listed, "claude-opus");
        for (level, effort) in [
            (Thinking::Off, "low"),
            (Thinking::Minimal, "low"),
            (Thinking::Medium, "medium"),
            (Thinking::Xhigh, "high"),
            (Thinking::Max, "high"),
        ] {
            assert_eq!(effort_for(level, opus), effort);
        }
        assert_eq!(effort_for(Thinking::Max, None), "max");
    }
}

//! Models that Codex knows, and the one it runs.

use rp_sdk::session::{Model, ModelRef};
use serde::Deserialize;

use crate::state::Known;

/// The provider of the models in Codex's own list, whatever the provider of the session is.
const LIST_PROVIDER: &str = "openai";

/// The answer to `model/list`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    data: Vec<ListedModel>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedModel {
    model: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    supported_reasoning_efforts: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    input_modalities: Vec<String>,
}

/// Codex's own list, once somebody has asked for it.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(Vec<Model>);

impl Catalogue {
    /// Describes a model, as far as the list tells. Of one that is not in it nothing is known,
    /// and Codex passes thinking levels and images on to it.
    pub(crate) fn describe(&self, ref_: ModelRef, context_window: Option<u32>) -> Model {
        let model = match self.0.iter().find(|model| model.ref_.id == ref_.id) {
            Some(model) => model.clone(),
            None => Model {
                name: ref_.id.clone(),
                ref_: ref_.clone(),
                reasoning: true,
                vision: true,
                context_window: None,
            },
        };
        Model { ref_, context_window, ..model }
    }
}

impl Known {
    /// Learns Codex's list, and adds the current model if it is not there: those of other
    /// providers never are.
    pub(crate) fn list_models(&mut self, listed: Listed) -> Vec<Model> {
        let shown = listed.data.into_iter().filter(|model| !model.hidden);
        self.catalogue = Catalogue(shown.map(Model::from).collect());
        let current = self.model();
        let listed = |current: &Model| self.catalogue.0.iter().any(|m| m.ref_ == current.ref_);
        let added = current.filter(|current| !listed(current));
        added.into_iter().chain(self.catalogue.0.iter().cloned()).collect()
    }
}

impl From<ListedModel> for Model {
    fn from(listed: ListedModel) -> Self {
        let name =
            if listed.display_name.is_empty() { &listed.model } else { &listed.display_name };
        Self {
            name: name.clone(),
            ref_: ModelRef { provider: LIST_PROVIDER.to_owned(), id: listed.model },
            reasoning: !listed.supported_reasoning_efforts.is_empty(),
            vision: listed.input_modalities.iter().any(|kind| kind == "image"),
            context_window: None,
        }
    }
}

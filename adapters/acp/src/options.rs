//! Models, thinking and modes: what the agent lets its client choose, and how it is chosen.
//!
//! There are two generations of this in the protocol: a list of options, each with its values,
//! and before it a list of models and one of modes with a method each. Agents have either or
//! both; where they have both, the options are used.

use rp_sdk::json::{RawValue, member};
use rp_sdk::session::{Model, ModelRef, Thinking};
use serde::Deserialize;
use serde_json::{Value, json};

/// Something to choose, as the agent lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Choice {
    pub(crate) id: String,
    category: Option<String>,
    /// Text in a list of values, true or false in a switch.
    #[serde(default)]
    current_value: Value,
    #[serde(default)]
    options: Vec<ValueOrGroup>,
}

/// A value of a list, or several under one heading.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum ValueOrGroup {
    Value(Named),
    Group { options: Vec<Named> },
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    #[serde(alias = "modelId", alias = "id")]
    value: String,
    #[serde(default)]
    name: String,
}

impl Choice {
    fn values(&self) -> impl Iterator<Item = &Named> {
        self.options.iter().flat_map(|entry| match entry {
            ValueOrGroup::Value(value) => std::slice::from_ref(value),
            ValueOrGroup::Group { options } => options.as_slice(),
        })
    }

    fn is(&self, category: &str) -> bool {
        self.category.as_deref().unwrap_or(&self.id) == category
    }

    /// Whether it can have this value. A switch says nothing of its values.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        self.options.is_empty()
            || self.values().any(|named| value.as_str() == Some(named.value.as_str()))
    }

    /// Its values, for a person.
    pub(crate) fn list(&self) -> String {
        let values: Vec<&str> = self.values().map(|named| named.value.as_str()).collect();
        values.join(", ")
    }
}

/// The answer to `session/new` and `session/load`, as far as it is about choices.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Offered<'a> {
    config_options: Option<Vec<Choice>>,
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    #[serde(borrow)]
    modes: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Models {
    available_models: Vec<Named>,
    current_model_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modes {
    available_modes: Vec<Named>,
}

/// What can be chosen in the current session.
#[derive(Debug, Default)]
pub(crate) struct Options {
    choices: Vec<Choice>,
    models: Vec<Named>,
    model: Option<String>,
    modes: Vec<Named>,
}

/// A request to the agent: its method, and its parameters beside the session.
pub(crate) type Call = (&'static str, Value);

impl Options {
    /// From the answer that began the session.
    pub(crate) fn new(answer: Option<&RawValue>) -> Self {
        let offered: Offered<'_> = member(answer).unwrap_or_default();
        let models: Option<Models> = member(offered.models);
        let (models, model) = models.map_or_else(Default::default, |models| {
            (models.available_models, models.current_model_id)
        });
        let modes = member::<Modes>(offered.modes).map(|modes| modes.available_modes);
        let choices = offered.config_options.unwrap_or_default();
        Self { choices, models, model, modes: modes.unwrap_or_default() }
    }

    /// The agent lists its options anew.
    pub(crate) fn listed(&mut self, list: Option<&RawValue>) {
        if let Some(choices) = member(list) {
            self.choices = choices;
        }
    }

    pub(crate) fn choice(&self, id: &str) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.id == id)
    }

    pub(crate) fn ids(&self) -> String {
        let ids: Vec<&str> = self.choices.iter().map(|choice| choice.id.as_str()).collect();
        ids.join(", ")
    }

    fn of(&self, category: &str) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.is(category))
    }

    // ---- models

    fn model_values(&self) -> Vec<&Named> {
        match self.of("model") {
            Some(choice) => choice.values().collect(),
            None => self.models.iter().collect(),
        }
    }

    /// The agent's name of the model that is in use.
    pub(crate) fn current_model(&self) -> Option<&str> {
        match self.of("model") {
            Some(choice) => choice.current_value.as_str(),
            None => self.model.as_deref(),
        }
    }

    /// The models the agent lists; `None` when it lists none.
    pub(crate) fn list_models(&self, vision: bool) -> Option<Vec<Model>> {
        let values = self.model_values();
        let reasoning = self.of("thought_level").is_some();
        let models = values.iter().map(|named| model(&named.value, &named.name, reasoning, vision));
        (!values.is_empty()).then(|| models.collect())
    }

    /// The model that is in use.
    pub(crate) fn model(&self, vision: bool) -> Option<Model> {
        let current = self.current_model()?;
        let named = self.model_values().into_iter().find(|named| named.value == current);
        let name = named.map_or(current, |named| named.name.as_str());
        Some(model(current, name, self.of("thought_level").is_some(), vision))
    }

    /// The agent's name for this model. Without a provider a listed model of any will do.
    pub(crate) fn model_named(&self, wanted: &ModelRef) -> String {
        if !wanted.provider.is_empty() {
            return format!("{}/{}", wanted.provider, wanted.id);
        }
        let values = self.model_values();
        let exact = values.iter().find(|named| named.value == wanted.id);
        let any = || values.iter().find(|named| split(&named.value).1 == wanted.id);
        exact.or_else(any).map_or_else(|| wanted.id.clone(), |named| named.value.clone())
    }

    /// How a model is chosen; `None` when the agent lets nobody choose.
    pub(crate) fn set_model(&self, name: &str) -> Option<Call> {
        if let Some(choice) = self.of("model") {
            return Some(set(&choice.id, name.into()));
        }
        (!self.models.is_empty()).then(|| ("session/set_model", json!({"modelId": name})))
    }

    /// The agent took this model.
    pub(crate) fn model_is(&mut self, name: &str) {
        self.model = Some(name.to_owned());
        self.is_now("model", name);
    }

    // ---- thinking

    /// The level that is in use, if it is one of those that clients know.
    pub(crate) fn thinking(&self) -> Option<Thinking> {
        level(self.of("thought_level")?.current_value.as_str()?)
    }

    /// How the level next to this one is chosen, and its name; `None` when there is no choice.
    pub(crate) fn set_thinking(&self, wanted: Thinking) -> Option<(Call, String)> {
        let choice = self.of("thought_level")?;
        let nearest = wanted.nearest(choice.values().filter_map(|named| level(&named.value)))?;
        let name = &choice.values().find(|named| level(&named.value) == Some(nearest))?.value;
        Some((set(&choice.id, name.as_str().into()), name.clone()))
    }

    /// The agent took this level.
    pub(crate) fn thinking_is(&mut self, name: &str) {
        self.is_now("thought_level", name);
    }

    fn is_now(&mut self, category: &str, value: &str) {
        if let Some(choice) = self.choices.iter_mut().find(|choice| choice.is(category)) {
            choice.current_value = value.into();
        }
    }

    // ---- modes

    /// How a mode is chosen.
    ///
    /// # Errors
    /// There is no such mode: those that there are, or nothing when the agent has none.
    pub(crate) fn set_mode(&self, mode: &str) -> Result<Call, String> {
        let modes = self.of("mode");
        let listed: Vec<&str> = match modes {
            Some(choice) => choice.values().map(|named| named.value.as_str()).collect(),
            None => self.modes.iter().map(|named| named.value.as_str()).collect(),
        };
        if !listed.contains(&mode) {
            return Err(listed.join(", "));
        }
        Ok(match modes {
            Some(choice) => set(&choice.id, mode.into()),
            None => ("session/set_mode", json!({"modeId": mode})),
        })
    }
}

/// How an option gets a value.
pub(crate) fn set(id: &str, value: Value) -> Call {
    ("session/set_config_option", json!({"configId": id, "value": value}))
}

fn model(value: &str, name: &str, reasoning: bool, vision: bool) -> Model {
    let (provider, id) = split(value);
    Model {
        ref_: ModelRef { provider: provider.to_owned(), id: id.to_owned() },
        name: if name.is_empty() { id.to_owned() } else { name.to_owned() },
        reasoning,
        vision,
        context_window: None,
    }
}

/// Provider and id of a model.
fn split(value: &str) -> (&str, &str) {
    value.split_once('/').unwrap_or(("", value))
}

/// The level with this name. Some agents call the lowest one `none`.
fn level(name: &str) -> Option<Thinking> {
    if name == "none" { Some(Thinking::Off) } else { Thinking::named(name) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
mod tests {
    use super::*;

    const BOTH: &str = r#"{"sessionId":"s","configOptions":[
        {"id":"model","category":"model","type":"select","currentValue":"s/one","options":[
            {"group":"g","name":"G","options":[{"value":"s/one","name":"One"}]},
            {"value":"t/two","name":"Two"}]},
        {"id":"effort","category":"thought_level","type":"select","currentValue":"default","options":[
            {"value":"low","name":"Low"},{"value":"high","name":"High"},{"value":"default","name":"Default"}]},
        {"id":"brave","type":"boolean","currentValue":false}],
        "modes":{"currentModeId":"ask","availableModes":[{"id":"ask","name":"Ask"}]}}"#;

    const OLDER: &str = r#"{"models":{"currentModelId":"auto","availableModels":[
        {"modelId":"auto","name":"Auto"},{"modelId":"pro","name":"Pro","description":null}]}}"#;

    fn options(answer: &str) -> Options {
        Options::new(Some(serde_json::from_str(answer).unwrap()))
    }

    fn wanted(provider: &str, id: &str) -> ModelRef {
        ModelRef { provider: provider.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn models_are_listed_from_either_generation() {
        let names = |options: &Options| -> Vec<String> {
            let models = options.list_models(false).unwrap();
            models
                .into_iter()
                .map(|model| format!("{}:{}", model.ref_.provider, model.ref_.id))
                .collect()
        };
        assert_eq!(names(&options(BOTH)), ["s:one", "t:two"]);
        assert_eq!(names(&options(OLDER)), [":auto", ":pro"]);
        assert!(options("{}").list_models(false).is_none());
    }

    #[test]
    fn a_model_is_chosen_the_way_the_agent_has() {
        let both = options(BOTH);
        assert_eq!(both.model_named(&wanted("", "two")), "t/two");
        let (method, params) = both.set_model("t/two").unwrap();
        assert_eq!(
            (method, params["configId"].as_str()),
            ("session/set_config_option", Some("model"))
        );
        let older = options(OLDER);
        assert_eq!(older.model_named(&wanted("", "unlisted")), "unlisted");
        assert_eq!(older.set_model("pro").unwrap().0, "session/set_model");
        assert!(options("{}").set_model("pro").is_none());
    }

    #[test]
    fn a_level_the_agent_does_not_have_becomes_the_nearest_one() {
        let both = options(BOTH);
        for (level, name) in
            [(Thinking::Off, "low"), (Thinking::Max, "high"), (Thinking::Low, "low")]
        {
            assert_eq!(both.set_thinking(level).unwrap().1, name);
        }
        assert_eq!(both.thinking(), None);
        assert!(options(OLDER).set_thinking(Thinking::Low).is_none());
    }

    #[test]
    fn a_mode_nobody_has_is_refused_with_those_there_are() {
        assert_eq!(options(BOTH).set_mode("bogus").unwrap_err(), "ask");
        assert_eq!(options(BOTH).set_mode("ask").unwrap().0, "session/set_mode");
    }

    #[test]
    fn a_switch_takes_any_value_and_a_list_only_its_own() {
        let both = options(BOTH);
        assert!(both.choice("brave").unwrap().takes(&json!(true)));
        assert!(!both.choice("effort").unwrap().takes(&json!("bogus")));
    }
}

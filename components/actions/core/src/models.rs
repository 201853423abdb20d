//! Names of models, as people write and read them.

use rp_sdk::session::{Failure, FailureKind, Model, ModelRef};

/// Where the names are found.
pub(crate) const HINT: &str = "the action list-models shows the models there are";

/// The model that is called `provider/id`. The id may have slashes of its own.
pub(crate) fn parse(name: &str) -> Result<ModelRef, Failure> {
    match name.split_once('/') {
        Some((provider, id)) if !provider.is_empty() && !id.is_empty() => {
            Ok(ModelRef { provider: provider.to_owned(), id: id.to_owned() })
        }
        _ => {
            let message = format!("{name} is not a provider and an id with a slash between them");
            Err(Failure::new(FailureKind::Invalid, message).with_hint(HINT))
        }
    }
}

/// One line of a listing; a star marks the model in use.
pub(crate) fn line(model: &Model, current: Option<&ModelRef>) -> String {
    let ModelRef { provider, id } = &model.ref_;
    let mark = if current == Some(&model.ref_) { '*' } else { ' ' };
    let mut facts = Vec::new();
    if model.name != *id && !model.name.is_empty() {
        facts.push(model.name.clone());
    }
    if model.reasoning {
        facts.push("thinks".to_owned());
    }
    if model.vision {
        facts.push("sees images".to_owned());
    }
    if let Some(tokens) = model.context_window {
        facts.push(format!("{tokens} tokens"));
    }
    let facts = facts.join(", ");
    let line = format!("{mark} {provider}/{id}");
    if facts.is_empty() { line } else { format!("{line}  {facts}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_is_behind_the_provider() {
        let cases = [
            ("anthropic/claude", Some(("anthropic", "claude"))),
            ("openrouter/meta/llama:free", Some(("openrouter", "meta/llama:free"))),
            ("claude", None),
            ("/claude", None),
            ("anthropic/", None),
            ("", None),
        ];
        for (name, expected) in cases {
            let model = parse(name).ok();
            let parts = model.as_ref().map(|model| (model.provider.as_str(), model.id.as_str()));
            assert_eq!(parts, expected, "{name}");
        }
        assert_eq!(
            parse("claude").unwrap_err().message,
            "claude is not a provider and an id with a slash between them"
        );
    }

    #[test]
    fn a_line_tells_what_is_known_of_a_model() {
        let ref_ = ModelRef { provider: "anthropic".to_owned(), id: "claude".to_owned() };
        let bare = Model {
            ref_: ref_.clone(),
            name: "claude".to_owned(),
            reasoning: false,
            vision: false,
            context_window: None,
        };
        let full = Model {
            name: "Claude".to_owned(),
            reasoning: true,
            vision: true,
            context_window: Some(200_000),
            ..bare.clone()
        };
        assert_eq!(line(&bare, None), "  anthropic/claude");
        assert_eq!(
            line(&full, Some(&ref_)),
            "* anthropic/claude  Claude, thinks, sees images, 200000 tokens"
        );
    }
}

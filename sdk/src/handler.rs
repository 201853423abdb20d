//! App actions as plain Rust.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use crate::actions::exports::rp::actions::handler::{
    Action, Context, Guest, Peer, Progress, Step,
};
use crate::session::{Failure, FailureKind, Reply};

/// What became of a step.
pub type Outcome = Result<Reply, Failure>;

/// The buttons of a component. Nothing is kept between calls: what an action has done so far is
/// in its replies.
pub trait Handler: 'static {
    /// The actions it has.
    fn actions() -> Vec<Action>;

    /// What to do now, with the replies to all steps so far, in order.
    ///
    /// # Errors
    /// The action cannot be done; the person who pressed the button is shown why.
    fn run(name: &str, context: &Context, replies: &[Outcome]) -> Result<Progress, Failure>;
}

/// A [`Handler`] in the shape the generated bindings want.
#[derive(Debug)]
pub struct Component<H>(PhantomData<H>);

impl<H: Handler> Guest for Component<H> {
    fn actions() -> Vec<Action> {
        H::actions()
    }

    fn run(name: String, context: Context, replies: Vec<Outcome>) -> Result<Progress, Failure> {
        H::run(&name, &context, &replies)
    }
}

impl Action {
    /// An action for every harness that destroys nothing and takes no parameters. The name is
    /// lower-case words joined by `-`.
    #[must_use]
    pub fn new(name: &str, title: &str, summary: &str) -> Action {
        Action {
            name: name.to_owned(),
            title: title.to_owned(),
            summary: summary.to_owned(),
            icon: None,
            parameters: "{}".to_owned(),
            destructive: false,
            harnesses: Vec::new(),
        }
    }
}

/// The schema of an object with these properties, given as their schemas by name, and no others.
#[must_use]
pub fn schema(properties: &Value, required: &[&str]) -> String {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
    .to_string()
}

/// The action's parameters, as the type that describes them.
///
/// # Errors
/// They do not fit; the text names what does not.
pub fn parameters<T: DeserializeOwned>(context: &Context) -> Result<T, Failure> {
    serde_json::from_str(&context.parameters).map_err(|error| {
        Failure::new(FailureKind::Invalid, format!("the parameters do not fit: {error}"))
    })
}

/// The failure for a name that is none of the handler's.
#[must_use]
pub fn no_such_action<H: Handler>(name: &str) -> Failure {
    let names: Vec<String> = H::actions().into_iter().map(|action| action.name).collect();
    Failure::new(FailureKind::NotFound, format!("there is no action {name}"))
        .with_hint(format!("there is {}", names.join(", ")))
}

/// Makes the crate a component of the world `app-actions`: `export_actions!(Core);`
/// On a machine that is no WebAssembly one, where its tests run, it does nothing.
#[macro_export]
macro_rules! export_actions {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, reason = "the canonical ABI is raw pointers")]
        mod component {
            use super::*;
            type Exported = $crate::handler::Component<$handler>;
            $crate::actions::export!(Exported with_types_in $crate::actions);
        }
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::testing::actions::{context, with_loose_schemas};

    struct Empty;

    impl Handler for Empty {
        fn actions() -> Vec<Action> {
            let parameters = schema(&json!({"minutes": {"type": "integer"}}), &[]);
            vec![
                Action::new("rest", "Rest", "Does nothing."),
                Action { parameters, ..Action::new("nap", "Nap", "Less.") },
            ]
        }

        fn run(name: &str, _: &Context, _: &[Outcome]) -> Result<Progress, Failure> {
            Err(no_such_action::<Empty>(name))
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        note: String,
    }

    #[test]
    fn parameters_that_do_not_fit_are_named() {
        let read = |text| parameters::<Note>(&context(text)).map(|note| note.note);
        assert_eq!(read(r#"{"note":"hello"}"#).unwrap(), "hello");
        for (text, part) in [(r#"{"not":"hello"}"#, "`not`"), ("{}", "`note`")] {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn an_unknown_action_is_told_which_there_are() {
        let failure = Empty::run("sleep", &context("{}"), &[]).unwrap_err();
        assert_eq!(failure.message, "there is no action sleep");
        assert_eq!(failure.hint.as_deref(), Some("there is rest, nap"));
    }

    #[test]
    fn loose_schemas_are_found() {
        assert_eq!(with_loose_schemas::<Empty>(), ["nap"]);
    }

    #[test]
    fn a_schema_allows_nothing_that_it_does_not_name() {
        let schema: Value =
            serde_json::from_str(&schema(&json!({"note": {"type": "string"}}), &["note"])).unwrap();
        let expected = json!({
            "type": "object",
            "properties": {"note": {"type": "string"}},
            "required": ["note"],
            "additionalProperties": false,
        });
        assert_eq!(schema, expected);
    }
}

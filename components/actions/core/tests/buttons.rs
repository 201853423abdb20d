//! What pressing each button does, to its end.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use rp_actions_core::Core;
use rp_sdk::Handler;
use rp_sdk::handler::{Outcome, Progress, Step};
use rp_sdk::session::{Command, Failure, FailureKind, Model, ModelRef, Reply, State, Thinking};
use rp_sdk::testing::actions::{context, with_loose_schemas};

fn run(name: &str, parameters: &str, replies: &[Outcome]) -> Result<Progress, Failure> {
    Core::run(name, &context(parameters), replies)
}

fn failure(kind: FailureKind, hint: Option<&str>) -> Failure {
    Failure { kind, message: "no".to_owned(), hint: hint.map(str::to_owned) }
}

fn model_ref(id: &str) -> ModelRef {
    ModelRef { provider: "anthropic".to_owned(), id: id.to_owned() }
}

fn model(id: &str) -> Model {
    Model {
        ref_: model_ref(id),
        name: id.to_owned(),
        reasoning: false,
        vision: false,
        context_window: None,
    }
}

#[test]
fn a_button_gives_one_command_and_says_what_came_of_it() {
    let keep = || Some("the file names".to_owned());
    let cases = [
        ("compact", "{}", Command::Compact(None), "web has a shorter context now"),
        (
            "compact",
            r#"{"instructions":" "}"#,
            Command::Compact(None),
            "web has a shorter context now",
        ),
        (
            "compact",
            r#"{"instructions":"the file names"}"#,
            Command::Compact(keep()),
            "web has a shorter context now",
        ),
        ("new-session", "{}", Command::NewSession, "web begins a new session"),
        (
            "set-model",
            r#"{"model":"anthropic/large"}"#,
            Command::SetModel(model_ref("large")),
            "web goes on with anthropic/large",
        ),
        (
            "set-thinking",
            r#"{"level":"xhigh"}"#,
            Command::SetThinking(Thinking::Xhigh),
            "web thinks at the level xhigh, or at the nearest one that it has",
        ),
    ];
    for (name, parameters, command, text) in cases {
        let steps = Progress::Steps(vec![Step::Command(command)]);
        assert_eq!(run(name, parameters, &[]).unwrap(), steps, "{name} {parameters}");
        let finished = Progress::Finished(text.to_owned());
        assert_eq!(run(name, parameters, &[Ok(Reply::Done)]).unwrap(), finished, "{name}");
        let busy = failure(FailureKind::Busy, None);
        assert_eq!(run(name, parameters, &[Err(busy.clone())]).unwrap_err(), busy, "{name}");
    }
}

#[test]
fn the_models_are_listed_and_the_one_in_use_has_a_star() {
    let press = |replies: &[Outcome]| {
        let state = State { model: Some(model("large")), ..context("{}").state };
        let context = rp_sdk::handler::Context { state, ..context("{}") };
        Core::run("list-models", &context, replies)
    };
    let steps = Progress::Steps(vec![Step::Command(Command::ListModels)]);
    assert_eq!(press(&[]).unwrap(), steps);
    let cases = [
        (vec![], "web names no models"),
        (
            vec![model("small"), model("large")],
            "models of web:\n  anthropic/small\n* anthropic/large",
        ),
    ];
    for (list, text) in cases {
        let finished = Progress::Finished(text.to_owned());
        assert_eq!(press(&[Ok(Reply::Models(list))]).unwrap(), finished);
    }
    let refusal = press(&[Ok(Reply::Done)]).unwrap_err();
    assert_eq!(refusal.message, "web answered with something that is no list of models");
    let unsupported = failure(FailureKind::Unsupported, None);
    assert_eq!(press(&[Err(unsupported.clone())]).unwrap_err(), unsupported);
}

#[test]
fn a_model_that_is_refused_is_told_where_models_are_listed() {
    let hint = "the action list-models shows the models there are";
    let cases = [
        (FailureKind::NotFound, None, Some(hint)),
        (FailureKind::Harness, None, Some(hint)),
        (FailureKind::NotFound, Some("sign in"), Some("sign in")),
        (FailureKind::Busy, None, None),
        (FailureKind::Unsupported, None, None),
    ];
    for (kind, given, expected) in cases {
        let replies = [Err(failure(kind, given))];
        let refusal = run("set-model", r#"{"model":"a/b"}"#, &replies).unwrap_err();
        assert_eq!(refusal.hint.as_deref(), expected, "{kind:?}");
    }
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    let cases = [
        ("compact", r#"{"instruction":"a"}"#, "`instruction`"),
        ("compact", r#"{"instructions":1}"#, "expected a string"),
        ("new-session", r#"{"now":true}"#, "`now`"),
        ("list-models", r#"{"all":true}"#, "`all`"),
        ("set-model", "{}", "`model`"),
        ("set-model", r#"{"model":"large"}"#, "large is not a provider and an id"),
        ("set-thinking", "{}", "`level`"),
        ("set-thinking", r#"{"level":"hihg"}"#, "hihg is no level of thinking"),
    ];
    for (name, parameters, part) in cases {
        let refusal = run(name, parameters, &[]).unwrap_err();
        assert_eq!(refusal.kind, FailureKind::Invalid);
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    let levels = run("set-thinking", r#"{"level":"hihg"}"#, &[]).unwrap_err().hint.unwrap();
    assert_eq!(levels, "the levels are off, minimal, low, medium, high, xhigh, max");
    assert_eq!(run("copmact", "{}", &[]).unwrap_err().message, "there is no action copmact");
}

#[test]
fn only_a_new_session_destroys_something() {
    let destructive: Vec<String> =
        Core::actions().into_iter().filter(|a| a.destructive).map(|a| a.name).collect();
    assert_eq!(destructive, ["new-session"]);
}

#[test]
fn every_parameter_is_described_and_no_other_is_allowed() {
    assert_eq!(with_loose_schemas::<Core>(), [""; 0]);
}

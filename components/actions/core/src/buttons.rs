//! What the buttons are and what pressing one does.

use rp_sdk::Handler;
use rp_sdk::handler::{
    Action, Context, Outcome, Progress, Step, no_such_action, parameters, schema,
};
use rp_sdk::session::{Command, Failure, FailureKind, Reply, Thinking};
use serde::Deserialize;
use serde_json::json;

use crate::models;

/// The actions of this component.
#[derive(Debug)]
pub struct Core;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compact {
    instructions: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetModel {
    model: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetThinking {
    level: String,
}

impl Handler for Core {
    fn actions() -> Vec<Action> {
        let instructions = json!({
            "instructions": {
                "type": "string",
                "description": "What the summary must keep, in your own words.",
                "maxLength": 10_000,
            },
        });
        let model = json!({
            "model": {
                "type": "string",
                "description": "Its provider and its id with a slash between them, as list-models shows it.",
                "maxLength": 200,
            },
        });
        let level = json!({
            "level": {
                "type": "string",
                "description": "A harness that lacks the level takes the nearest one it has.",
                "enum": Thinking::ALL.map(Thinking::name),
            },
        });
        vec![
            Action {
                icon: Some("⊟".to_owned()),
                parameters: schema(&instructions, &[]),
                ..Action::new(
                    "compact",
                    "Compact",
                    "Shortens the agent's context; it goes on with a summary.",
                )
            },
            Action {
                icon: Some("+".to_owned()),
                destructive: true,
                ..Action::new(
                    "new-session",
                    "New session",
                    "Begins an empty conversation; the agent forgets this one.",
                )
            },
            Action {
                icon: Some("◆".to_owned()),
                parameters: schema(&model, &["model"]),
                ..Action::new(
                    "set-model",
                    "Set model",
                    "Lets another model go on with the conversation.",
                )
            },
            Action {
                icon: Some("☼".to_owned()),
                parameters: schema(&level, &["level"]),
                ..Action::new(
                    "set-thinking",
                    "Set thinking",
                    "Sets how much the model thinks before it answers.",
                )
            },
            Action {
                icon: Some("≡".to_owned()),
                ..Action::new(
                    "list-models",
                    "List models",
                    "Shows the models that the agent can use now.",
                )
            },
        ]
    }

    fn run(name: &str, context: &Context, replies: &[Outcome]) -> Result<Progress, Failure> {
        let agent = &context.agent.name;
        match name {
            "compact" => {
                let Compact { instructions } = parameters(context)?;
                let instructions = instructions.filter(|text| !text.trim().is_empty());
                let done = format!("{agent} has a shorter context now");
                one_command(Command::Compact(instructions), replies, done)
            }
            "new-session" => {
                let Nothing {} = parameters(context)?;
                let done = format!("{agent} begins a new session");
                one_command(Command::NewSession, replies, done)
            }
            "set-model" => {
                let SetModel { model } = parameters(context)?;
                let done = format!("{agent} goes on with {model}");
                let model = models::parse(&model)?;
                one_command(Command::SetModel(model), replies, done).map_err(with_hint)
            }
            "set-thinking" => {
                let SetThinking { level } = parameters(context)?;
                let done = format!(
                    "{agent} thinks at the level {level}, or at the nearest one that it has"
                );
                one_command(Command::SetThinking(thinking(&level)?), replies, done)
            }
            "list-models" => {
                let Nothing {} = parameters(context)?;
                list_models(context, replies)
            }
            _ => Err(no_such_action::<Core>(name)),
        }
    }
}

/// Gives the command, then says that it is done.
fn one_command(command: Command, replies: &[Outcome], done: String) -> Result<Progress, Failure> {
    match replies.first() {
        None => Ok(Progress::Steps(vec![Step::Command(command)])),
        Some(Ok(_)) => Ok(Progress::Finished(done)),
        Some(Err(failure)) => Err(failure.clone()),
    }
}

fn list_models(context: &Context, replies: &[Outcome]) -> Result<Progress, Failure> {
    let agent = &context.agent.name;
    let list = match replies.first() {
        None => return Ok(Progress::Steps(vec![Step::Command(Command::ListModels)])),
        Some(Ok(Reply::Models(list))) => list,
        Some(Ok(_)) => {
            let message = format!("{agent} answered with something that is no list of models");
            return Err(Failure::new(FailureKind::Harness, message));
        }
        Some(Err(failure)) => return Err(failure.clone()),
    };
    if list.is_empty() {
        return Ok(Progress::Finished(format!("{agent} names no models")));
    }
    let current = context.state.model.as_ref().map(|model| &model.ref_);
    let lines: Vec<String> = list.iter().map(|model| models::line(model, current)).collect();
    Ok(Progress::Finished(format!("models of {agent}:\n{}", lines.join("\n"))))
}

/// The level with this name.
fn thinking(name: &str) -> Result<Thinking, Failure> {
    Thinking::named(name).ok_or_else(|| {
        let levels = Thinking::ALL.map(Thinking::name).join(", ");
        Failure::new(FailureKind::Invalid, format!("{name} is no level of thinking"))
            .with_hint(format!("the levels are {levels}"))
    })
}

/// Where models are found, unless the harness gave a hint itself or the name is not to blame.
fn with_hint(failure: Failure) -> Failure {
    let not_to_blame = matches!(failure.kind, FailureKind::Busy | FailureKind::Unsupported);
    match failure.hint {
        None if !not_to_blame => failure.with_hint(models::HINT),
        _ => failure,
    }
}

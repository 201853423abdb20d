//! What the buttons are and what they take.

use rp_sdk::Handler;
use rp_sdk::handler::{Action, Context, Outcome, Progress, no_such_action, parameters, schema};
use rp_sdk::session::Failure;
use serde::Deserialize;
use serde_json::json;

use crate::broadcast_note::broadcast_note;
use crate::hand_over::{HandOver, hand_over};
use crate::run_tests::run_tests;

/// The longest note, in characters.
const NOTE: u32 = 10_000;

/// The actions of this component.
#[derive(Debug)]
pub struct Extras;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    note: String,
}

impl Handler for Extras {
    fn actions() -> Vec<Action> {
        let to = json!({
            "type": "string",
            "description": "The name of the other agent, or its address.",
            "minLength": 1,
        });
        let extra = json!({
            "type": "string",
            "description": "What the other agent is to know besides, or to do first.",
            "maxLength": NOTE,
        });
        let note = json!({
            "type": "string",
            "description": "What everybody in the folder is to know.",
            "minLength": 1,
            "maxLength": NOTE,
        });
        vec![
            Action {
                icon: Some("→".to_owned()),
                parameters: schema(&json!({"to": to, "note": extra}), &["to"]),
                ..Action::new(
                    "hand-over",
                    "Hand over",
                    "The agent sums up its work, and another agent is asked to go on with it.",
                )
            },
            Action {
                icon: Some("✓".to_owned()),
                ..Action::new(
                    "run-tests",
                    "Run tests",
                    "The agent runs the project's tests, changes nothing, and says which fail.",
                )
            },
            Action {
                icon: Some("✉".to_owned()),
                parameters: schema(&json!({"note": note}), &["note"]),
                ..Action::new(
                    "broadcast-note",
                    "Broadcast a note",
                    "Every other agent in the same folder is told something.",
                )
            },
        ]
    }

    fn run(name: &str, context: &Context, replies: &[Outcome]) -> Result<Progress, Failure> {
        match name {
            "hand-over" => hand_over(&parameters::<HandOver>(context)?, context, replies),
            "run-tests" => {
                let Nothing {} = parameters(context)?;
                run_tests(&context.agent, replies)
            }
            "broadcast-note" => {
                let Note { note } = parameters(context)?;
                broadcast_note(&note, context, replies)
            }
            _ => Err(no_such_action::<Extras>(name)),
        }
    }
}

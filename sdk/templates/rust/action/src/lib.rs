//! An app action: a button that a phone, a browser or the command line can press.
//! `wit/actions.wit` says what each field means and which steps there are.

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rp::actions::handler::{Action, Context, Guest, Progress, Step};
use rp::session::types::{Failure, FailureKind, Reply};
use serde_json::{Value, json};

const SUMMARY: &str = "summary-to";
const QUESTION: &str = "Sum up in five sentences what you did and what is left to do.";

struct Component;

impl Guest for Component {
    fn actions() -> Vec<Action> {
        let parameters = json!({
            "type": "object",
            "properties": {"to": {"type": "string", "description": "Name of the agent that gets it"}},
            "required": ["to"],
            "additionalProperties": false,
        });
        vec![Action {
            name: SUMMARY.to_owned(),
            title: "Send a summary".to_owned(),
            summary: "Has the agent sum up its work and sends that to another agent.".to_owned(),
            icon: Some("✉".to_owned()),
            parameters: parameters.to_string(),
            destructive: false,
            harnesses: Vec::new(),
        }]
    }

    /// Called first without replies, then after each round of steps with the replies to all of them.
    /// Every call may be on a fresh instance, so what to do follows from the replies alone.
    /// A failure is shown to the person who pressed the button.
    fn run(
        name: String,
        context: Context,
        replies: Vec<Result<Reply, Failure>>,
    ) -> Result<Progress, Failure> {
        if name != SUMMARY {
            return Err(not_found(format!("there is no action {name}")));
        }
        let parameters: Value = serde_json::from_str(&context.parameters).unwrap_or_default();
        let to = parameters["to"].as_str().unwrap_or_default();
        let recipient = context.peers.into_iter().find(|peer| peer.name == to);
        let recipient = recipient.ok_or_else(|| not_found(format!("no agent is called {to}")))?;
        let replies: Vec<Reply> = replies.into_iter().collect::<Result<_, _>>()?;
        Ok(match replies.as_slice() {
            [] => Progress::Steps(vec![Step::Ask(QUESTION.to_owned())]),
            // What it answers is already a JSON string, as the body of a message has to be.
            [Reply::Data(summary)] => {
                Progress::Steps(vec![Step::Send((recipient.address, summary.clone()))])
            }
            _ => Progress::Finished(format!("{to} has the summary")),
        })
    }
}

fn not_found(message: String) -> Failure {
    Failure { kind: FailureKind::NotFound, message, hint: None }
}

#[cfg(target_arch = "wasm32")]
export!(Component);

#[cfg(test)]
mod tests {
    use super::*;
    use exports::rp::actions::handler::Peer;
    use rp::session::types::State;

    fn run(to: &str, replies: Vec<Result<Reply, Failure>>) -> Result<Progress, Failure> {
        let peer = |name: &str| Peer {
            pc: None,
            address: format!("/home/ann/project@{name}"),
            name: name.to_owned(),
            cwd: "/home/ann/project".to_owned(),
            harness: None,
        };
        let state = State {
            working: false,
            model: None,
            thinking: None,
            title: None,
            native_session: None,
        };
        let context = Context {
            agent: peer("scout"),
            state,
            parameters: json!({"to": to}).to_string(),
            peers: vec![peer("reviewer")],
        };
        Component::run(SUMMARY.to_owned(), context, replies)
    }

    fn summary() -> Result<Reply, Failure> {
        Ok(Reply::Data(r#""all done""#.to_owned()))
    }

    #[test]
    fn every_action_has_a_schema_that_is_an_object() {
        for action in Component::actions() {
            let schema: Value = serde_json::from_str(&action.parameters).unwrap();
            assert_eq!(schema["type"], "object");
        }
    }

    #[test]
    fn the_summary_is_asked_for_sent_and_reported() {
        let Ok(Progress::Steps(steps)) = run("reviewer", vec![]) else { panic!("no steps") };
        assert!(matches!(steps.as_slice(), [Step::Ask(_)]));
        let Ok(Progress::Steps(steps)) = run("reviewer", vec![summary()]) else {
            panic!("no steps")
        };
        let [Step::Send((address, body))] = steps.as_slice() else { panic!("nothing is sent") };
        assert_eq!(
            (address.as_str(), body.as_str()),
            ("/home/ann/project@reviewer", r#""all done""#)
        );
        let end = run("reviewer", vec![summary(), Ok(Reply::Done)]);
        assert!(matches!(end, Ok(Progress::Finished(text)) if text == "reviewer has the summary"));
    }

    #[test]
    fn a_step_that_failed_ends_the_action_with_its_failure() {
        let refused = Err(not_found("the mailbox is gone".to_owned()));
        let failure = run("reviewer", vec![summary(), refused]).unwrap_err();
        assert_eq!(failure.message, "the mailbox is gone");
    }

    #[test]
    fn somebody_who_is_not_there_is_named() {
        let failure = run("nobody", vec![]).unwrap_err();
        assert_eq!(failure.message, "no agent is called nobody");
    }
}

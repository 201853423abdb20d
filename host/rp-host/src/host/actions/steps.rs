//! Doing one step of an action.

use std::sync::Arc;

use rp_protocol::{
    actions::Step,
    session::{Failure, FailureKind, Reply},
};
use rp_session::Session;
use serde_json::Value;

use super::{offered::Offered, permits};
use crate::{api, host::Host, problem::Problem};

/// Does the steps of one run of an action.
pub(super) struct Doer<'a> {
    pub(super) host: &'a Arc<Host>,
    /// The id of the agent that the action was run for.
    pub(super) agent: &'a str,
    pub(super) session: Session,
    pub(super) offered: &'a Offered,
}

impl Doer<'_> {
    /// Does one step; the component is told what came of it.
    pub(super) async fn perform(&self, step: Step) -> Result<Reply, Failure> {
        // Asked at each step, so that what a person takes back is gone at once.
        let component = self.offered.component();
        permits::allow(component, &self.host.components.permits(component), &step)?;
        match step {
            Step::Command { command } => self.session.command(command).await,
            Step::Ask { prompt } => {
                let answer = self.session.answer_to(prompt).await?;
                Ok(Reply::Data { data: Value::String(answer) })
            }
            Step::Send { to, body } => self.send(to, body).await,
            Step::Notify { .. } => Ok(Reply::Done),
        }
    }

    async fn send(&self, to: String, body: Value) -> Result<Reply, Failure> {
        let (host, agent) = (Arc::clone(self.host), self.agent.to_owned());
        let to = api::Destination::One(to);
        let message = api::Send { to, body, re: None, expires_in_ms: None };
        // To its end, also when whoever ran the action goes away.
        let sending = tokio::spawn(async move { host.send(Some(&agent), message).await });
        let sent = sending.await.unwrap_or_else(|error| Err(Problem::failed(error.to_string())));
        match sent {
            Ok(sent) => reply(&sent),
            Err(problem) => Err(failure(
                FailureKind::Harness,
                problem.message(),
                problem.hint_text().map(str::to_owned),
            )),
        }
    }
}

/// What the component is told of a message: `done` when it is with everybody it was sent to.
fn reply(sent: &api::Sent) -> Result<Reply, Failure> {
    let has_it = |outcome: &&api::Outcome| matches!(outcome.status.as_str(), "received" | "sent");
    let Some(outcome) = sent.outcomes.iter().find(|outcome| !has_it(outcome)) else {
        return Ok(Reply::Done);
    };
    let to = &outcome.to;
    let reason = outcome.reason.as_deref().unwrap_or("the routing policy gives no reason");
    let (kind, message, hint) = match outcome.status.as_str() {
        "held" => (
            FailureKind::Refused,
            format!("the message to {to} waits for a person: {reason}"),
            Some("`rp-host held list` shows it".to_owned()),
        ),
        "unknown" => {
            let closest = outcome.closest.join(" or ");
            let hint = (!closest.is_empty()).then(|| format!("did you mean {closest}?"));
            (FailureKind::NotFound, format!("nobody on the mesh has the address {to}"), hint)
        }
        "timeout" => {
            (FailureKind::Busy, format!("{to} did not acknowledge the message in time"), None)
        }
        _ => (FailureKind::Refused, format!("{to} was not given the message: {reason}"), None),
    };
    Err(failure(kind, &message, hint))
}

fn failure(kind: FailureKind, message: &str, hint: Option<String>) -> Failure {
    Failure { kind, message: message.to_owned(), hint }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn replied(outcomes: &[(&str, Option<&str>)]) -> Result<Reply, (FailureKind, String)> {
        let outcomes = outcomes.iter().map(|(status, reason)| api::Outcome {
            to: "/p@web".to_owned(),
            status: (*status).to_owned(),
            reason: reason.map(str::to_owned),
            closest: Vec::new(),
        });
        let sent = api::Sent { id: "1".to_owned(), outcomes: outcomes.collect() };
        reply(&sent).map_err(|failure| (failure.kind, failure.message))
    }

    #[test]
    fn a_message_is_done_when_everybody_has_it() {
        assert_eq!(replied(&[("received", None), ("sent", None)]), Ok(Reply::Done));
        assert_eq!(
            replied(&[("received", None), ("denied", Some("its mailbox is full"))]),
            Err((
                FailureKind::Refused,
                "/p@web was not given the message: its mailbox is full".to_owned()
            ))
        );
        assert_eq!(
            replied(&[("held", Some("guarded: ask first"))]),
            Err((
                FailureKind::Refused,
                "the message to /p@web waits for a person: guarded: ask first".to_owned()
            ))
        );
        let unknown = "nobody on the mesh has the address /p@web".to_owned();
        assert_eq!(replied(&[("unknown", None)]), Err((FailureKind::NotFound, unknown)));
    }
}

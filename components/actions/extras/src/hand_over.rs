//! The agent sums its work up, and another agent is told.

use rp_sdk::handler::{Context, Outcome, Peer, Progress, Step};
use rp_sdk::session::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::Value;

use crate::answers::text;

/// Addresses that a hint names.
const NAMED: usize = 20;

/// To whom, and what is to be said besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOver {
    to: String,
    note: Option<String>,
}

const QUESTION: &str = "\
Your work is handed over to another agent now. Write for it what it needs to go on without you. It \
does not see this conversation, so leave out nothing that matters:

- the task, in the words of whoever gave it to you, and why it is done
- what is done, and how you know that it works
- the state of the work: which files you changed or added, what is not committed, what runs
- what is left, as steps in their order, and the commands to build and to test
- what you decided and why, what did not work, and what is still open

Use paths that are whole. Change nothing and write to nobody: what you write now is sent as it is.";

pub(crate) fn hand_over(
    wanted: &HandOver,
    context: &Context,
    replies: &[Outcome],
) -> Result<Progress, Failure> {
    let agent = &context.agent;
    let to = find(&context.peers, &wanted.to)?;
    let note = wanted.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
    match replies {
        [] | [_] => {
            let notice = format!("{} sums its work up for {}", agent.name, to.name);
            let question = match note {
                Some(note) => format!("{QUESTION}\n\nThe other agent is told this too:\n{note}"),
                None => QUESTION.to_owned(),
            };
            Ok(Progress::Steps(vec![Step::Notify(notice), Step::Ask(question)]))
        }
        [_, summary] => {
            let body = body(agent, note, &text(agent, summary)?);
            Ok(Progress::Steps(vec![Step::Send((to.address.clone(), body))]))
        }
        [_, summary, sent, ..] => {
            if let Err(failure) = sent {
                return Err(failure.clone());
            }
            let summary = text(agent, summary)?;
            let (from, to) = (&agent.name, &to.address);
            Ok(Progress::Finished(format!("{from} handed its work over to {to}:\n\n{summary}")))
        }
    }
}

/// A JSON string, which every agent is shown as its text.
fn body(agent: &Peer, note: Option<&str>, summary: &str) -> String {
    let place = if agent.cwd.is_empty() { String::new() } else { format!(" in {}", agent.cwd) };
    let note = note.map(|note| format!("Note to you:\n{note}\n\n")).unwrap_or_default();
    Value::String(format!(
        "I hand my work{place} over to you: go on with it from here. Write to me only when something \
         that you need is missing.\n\n{note}Where it stands:\n{summary}"
    ))
    .to_string()
}

/// The peer with this address, or else the only one with this name.
fn find<'a>(peers: &'a [Peer], wanted: &str) -> Result<&'a Peer, Failure> {
    if let Some(peer) = peers.iter().find(|peer| peer.address == wanted) {
        return Ok(peer);
    }
    let named: Vec<&Peer> = peers.iter().filter(|peer| peer.name == wanted).collect();
    match named.as_slice() {
        [peer] => Ok(peer),
        [] => {
            let hint = match addresses(peers) {
                there if there.is_empty() => "no other agent can be reached now".to_owned(),
                there => format!("there is {there}"),
            };
            let message = format!("no agent has the name or address {wanted}");
            Err(Failure::new(FailureKind::NotFound, message).with_hint(hint))
        }
        several => {
            let message = format!("{} agents have the name {wanted}", several.len());
            let hint = format!("give one of the addresses {}", addresses(several.iter().copied()));
            Err(Failure::new(FailureKind::Invalid, message).with_hint(hint))
        }
    }
}

fn addresses<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> String {
    let mut peers = peers.into_iter();
    let mut named: Vec<&str> =
        peers.by_ref().take(NAMED).map(|peer| peer.address.as_str()).collect();
    let more = match peers.count() {
        0 => None,
        count => Some(format!("{count} more")),
    };
    named.extend(more.as_deref());
    named.join(", ")
}

//! Everybody in the folder is told something.

use rp_sdk::handler::{Context, Outcome, Peer, Progress, Step};
use rp_sdk::session::{Failure, FailureKind};
use serde_json::Value;

/// Agents that a note can go to: an action has no more steps.
const MOST: usize = 64;

pub(crate) fn broadcast_note(
    note: &str,
    context: &Context,
    replies: &[Outcome],
) -> Result<Progress, Failure> {
    let agent = &context.agent;
    let note = note.trim();
    if note.is_empty() {
        return Err(Failure::new(FailureKind::Invalid, "the note is empty"));
    }
    if agent.cwd.is_empty() {
        let message = format!("{} has no folder that others could be in", agent.name);
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    let is_here = |peer: &&Peer| peer.pc == agent.pc && peer.cwd == agent.cwd;
    let here: Vec<&Peer> = context.peers.iter().filter(is_here).collect();
    let cwd = &agent.cwd;
    if here.is_empty() {
        let message = format!("no other agent is in {cwd}");
        return Err(Failure::new(FailureKind::NotFound, message));
    }
    if here.len() > MOST {
        let message =
            format!("{} agents are in {cwd}, and a note can go to {MOST} at most", here.len());
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    if !replies.is_empty() {
        return report(cwd, &here, replies);
    }
    let text = format!("A note for everybody who works in {cwd}; it needs no answer:\n\n{note}");
    let body = Value::String(text).to_string();
    let send = |peer: &&Peer| Step::Send((peer.address.clone(), body.clone()));
    Ok(Progress::Steps(here.iter().map(send).collect()))
}

fn report(cwd: &str, here: &[&Peer], replies: &[Outcome]) -> Result<Progress, Failure> {
    let failures: Vec<(&str, &Failure)> = here
        .iter()
        .zip(replies)
        .filter_map(|(peer, reply)| Some((peer.address.as_str(), reply.as_ref().err()?)))
        .collect();
    let list: String = failures
        .iter()
        .map(|(to, failure)| format!("\nnot to {to}: {}", failure.message))
        .collect();
    let reached = replies.len() - failures.len();
    match (reached, failures.first()) {
        (0, Some((_, first))) => {
            let message = format!("the note went to nobody in {cwd}{list}");
            Err(Failure { kind: first.kind, message, hint: first.hint.clone() })
        }
        (1, _) => Ok(Progress::Finished(format!("the note went to 1 agent in {cwd}{list}"))),
        (count, _) => {
            Ok(Progress::Finished(format!("the note went to {count} agents in {cwd}{list}")))
        }
    }
}

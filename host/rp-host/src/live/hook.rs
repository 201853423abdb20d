//! What a harness in a terminal runs at the edges of its turns: it fetches the messages that wait
//! and hands them over as the harness takes them from a hook.
//!
//! A hook must not be in the person's way: what goes wrong with the daemon is said on standard error,
//! and the harness goes on.

use std::{io::Read, io::Write, path::PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{Mail, MailBatch, MailTaken, Take, TakeMail, TurnEdge},
    client::{Client, Held},
    live::transcript,
    output,
    paths::StateRoot,
    problem::{Problem, While},
};

/// The most that is read of what a harness says.
const LARGEST_INPUT: u64 = 64 << 20;

/// Harnesses put words of their own before what a hook says; each message begins a line.
const INTRODUCTION: &str = "Messages for you from the mesh:\n\n";

/// Harnesses cut off what a hook says behind 10,000 characters.
const LONGEST: usize = 9_500;

/// What is said instead of a message that is longer.
const TOO_LONG: &str = "A message waits that is too long to stand here: take it with get_messages.";

/// What Claude Code and Codex write to a hook's standard input, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Input {
    hook_event_name: String,
    #[serde(default)]
    transcript_path: Option<PathBuf>,
    /// Why the session starts.
    #[serde(default)]
    source: Option<String>,
    /// The turn went on because a hook wanted it to.
    #[serde(default)]
    stop_hook_active: bool,
}

/// Runs one hook.
pub async fn run(root: &StateRoot) -> Result<(), Problem> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(agent), Some(token)) = (variable("RP_AGENT_ID"), variable("RP_AGENT_TOKEN")) else {
        return Ok(());
    };
    let socket = variable("RP_HOST_SOCKET").map_or_else(|| root.control_socket(), PathBuf::from);
    let client = Client::new(socket).speaking_as(token);
    let mut text = Vec::new();
    std::io::stdin().take(LARGEST_INPUT).read_to_end(&mut text).doing("read the hook's input")?;
    let input: Input = serde_json::from_slice(&text).doing("read the hook's input")?;
    if let Err(problem) = deliver(&client, &format!("/v1/agents/{agent}/mail"), &input).await {
        output::problem(&problem, false);
    }
    Ok(())
}

async fn deliver(client: &Client, path: &str, input: &Input) -> Result<(), Problem> {
    let (at, take) = match input.hook_event_name.as_str() {
        // A context that was shortened is the same conversation.
        "SessionStart" if input.source.as_deref() == Some("compact") => return Ok(()),
        "SessionStart" => (TurnEdge::Conversation, Take::Nothing),
        "UserPromptSubmit" => (TurnEdge::Prompt, Take::Now),
        "Stop" if input.stop_hook_active => (TurnEdge::EndAgain, Take::Now),
        "Stop" => (TurnEdge::End, Take::Now),
        _ => return Ok(()),
    };
    let asked = TakeMail { at: Some(at), holds: None, take };
    let (mut mail, mut held): (Mail, Held) = client.hold(path, &asked).await?;
    if !mail.doubt.is_empty() {
        let holds = match &input.transcript_path {
            Some(path) => transcript::holds(path, &mail.doubt),
            None => Vec::new(),
        };
        let asked = TakeMail { at: None, holds: Some(holds), take };
        (mail, held) = client.hold(path, &asked).await?;
    }
    let Some(MailBatch { number, text }) = mail.batch else { return Ok(()) };
    let left = text.chars().count() > LONGEST;
    let text = format!("{INTRODUCTION}{}", if left { TOO_LONG } else { &text });
    let said = match at {
        TurnEdge::Prompt => json!({ "hookSpecificOutput": {
            "hookEventName": "UserPromptSubmit", "additionalContext": text,
        } }),
        _ => json!({ "decision": "block", "reason": text }),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{said}").and_then(|()| out.flush()).doing("hand over the messages")?;
    let taken = MailTaken { seen: false, left };
    let _: MailTaken = client.post(&format!("{path}/{number}"), &taken).await?;
    drop(held);
    Ok(())
}

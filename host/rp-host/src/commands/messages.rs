//! Commands about messages: who can be written to, sending, and what became of what was sent.

use std::io::IsTerminal;

use rp_protocol::mesh::BROKER;
use serde_json::Value;

use super::{Asking, url_part};
use crate::{
    api,
    cli::{Held, Send, Stage},
    client::Client,
    output,
    problem::{Problem, While},
    render::{clock, duration, safe, table},
};

/// The mailbox of whoever sits at this machine.
const PERSON: &str = "person";

impl Asking<'_> {
    pub(super) async fn peers(&self) -> Result<(), Problem> {
        let peers: api::Peers = self.daemon_running().await?.get("/v1/peers").await?;
        self.show(&peers, |peers| {
            let rows: Vec<_> = peers
                .peers
                .iter()
                .filter(|peer| peer.pc.is_none())
                .map(|peer| {
                    let harness = peer.harness.clone().unwrap_or_else(|| "—".to_owned());
                    let state = peer.state.clone().unwrap_or_else(|| "—".to_owned());
                    vec![safe(&peer.address), harness, state]
                })
                .collect();
            let mut text = table(&["address", "harness", "state"], &rows);
            for machine in &peers.machines {
                text.push_str(&machine_block(machine, &peers.peers));
            }
            text
        })
    }

    pub(super) async fn send(&self, send: Send) -> Result<(), Problem> {
        let body = match &send.body {
            Some(json) => json_body(json)?,
            None => Value::String(text_of(&send.text)?),
        };
        let client = self.daemon_running().await?;
        let to = api::Destination::One(send.address);
        let expires_in_ms =
            send.expires.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let request = api::Send { to, body, re: send.re, expires_in_ms };
        let sent = client.post("/v1/messages", &request);
        let sent: api::Sent = self.patiently("waiting for the acknowledgement", sent).await?;
        if let Some(refused) = refusal(&sent) {
            return Err(refused);
        }
        if let Some(stage) = send.wait {
            // Whoever gives up waiting can still follow the message.
            if std::io::stderr().is_terminal() {
                output::note(&format!("{}, waiting until it is {}", sent.id, stage.name()));
            }
            wait(&client, &sent.id, stage, send.timeout).await?;
        }
        self.show(&sent, outcomes)
    }

    pub(super) async fn inbox(&self, wanted: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let id =
            if wanted == PERSON { PERSON.to_owned() } else { self.find(&client, wanted).await?.id };
        let inbox: api::Inbox = client.get(&format!("/v1/agents/{id}/inbox")).await?;
        self.show(&inbox, |inbox| {
            if inbox.messages.is_empty() {
                return "no messages".to_owned();
            }
            let blocks: Vec<_> =
                inbox.messages.iter().map(|message| message_block(message, &id)).collect();
            blocks.join("\n")
        })
    }

    pub(super) async fn held(&self, held: Held) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        match held {
            Held::List => self.show(&client.get("/v1/held").await?, |held: &api::Held| {
                if held.messages.is_empty() {
                    return "no messages are held".to_owned();
                }
                held.messages.iter().map(held_block).collect::<Vec<_>>().join("\n")
            }),
            Held::Allow { id } => {
                let path = format!("/v1/held/{}/allow", url_part(&id)?);
                let sent: api::Sent = client.post(&path, &()).await?;
                if sent.outcomes.is_empty() {
                    return Err(Problem::failed("none of its recipients is on the mesh")
                        .hint(format!("it stays held; `rp-host held deny {id}` throws it away")));
                }
                match refusal(&sent) {
                    Some(refused) => Err(refused),
                    None => self.show(&sent, outcomes),
                }
            }
            Held::Deny { id, reason } => {
                let path = format!("/v1/held/{}/deny", url_part(&id)?);
                let denied: Value = client.post(&path, &api::Deny { reason }).await?;
                self.show(&denied, |_| format!("{id} was thrown away"))
            }
        }
    }

    pub(super) async fn trace(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v1/messages/{}/trace", url_part(id)?);
        let trace: api::Trace = self.daemon_running().await?.get(&path).await?;
        if trace.steps.is_empty() {
            return Err(Problem::failed(format!("no message has the id {id}")).hint(
                "ids are printed by `rp-host send` and `rp-host inbox`; old traces are dropped",
            ));
        }
        self.show(&trace, |trace| {
            let first = trace.steps.first().map_or(0, |step| step.at_ms);
            let rows: Vec<_> = trace
                .steps
                .iter()
                .map(|step| {
                    vec![
                        clock(step.at_ms),
                        format!("+{}", duration(step.at_ms.saturating_sub(first))),
                        step.stage.clone(),
                        step.agent.clone().unwrap_or_default(),
                        safe(step.detail.as_deref().unwrap_or_default()),
                    ]
                })
                .collect();
            table(&["time (UTC)", "after", "stage", "agent", "detail"], &rows)
        })
    }
}

/// Another machine with who is on it.
fn machine_block(machine: &api::Machine, peers: &[api::Peer]) -> String {
    let way = match machine.way.as_str() {
        "clear" => ", in the clear",
        "sealed" => ", sealed",
        _ => "",
    };
    let presence = match machine.presence.as_str() {
        "offline" => "not connected",
        _ => "connected",
    };
    let waiting = match machine.waiting {
        0 => String::new(),
        count => format!(", {} for it", crate::render::count(count, "message")),
    };
    let mut text = format!("\n{} ({presence}{way}{waiting})\n", safe(&machine.alias));
    for peer in peers.iter().filter(|peer| peer.pc.as_deref() == Some(machine.alias.as_str())) {
        text.push_str(&format!("  {}\n", safe(&peer.address)));
    }
    text
}

/// The words of a message; `-` alone stands for standard input.
fn text_of(words: &[String]) -> Result<String, Problem> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    std::io::read_to_string(std::io::stdin()).doing("read the message from standard input")
}

/// Waits until a message has come to a stage.
async fn wait(client: &Client, id: &str, stage: Stage, seconds: u64) -> Result<(), Problem> {
    let stage = stage.name();
    let wait_ms = seconds.saturating_mul(1000);
    let path = format!("/v1/messages/{id}/trace?until={stage}&wait_ms={wait_ms}");
    let trace: api::Trace = client.get(&path).await?;
    if trace.steps.iter().any(|step| step.stage == stage) {
        return Ok(());
    }
    let failed = trace.steps.iter().find(|step| step.stage == "failed");
    let problem = match failed.and_then(|step| step.detail.as_deref()) {
        Some(reason) => Problem::failed(format!("the message was not {stage}: {}", safe(reason))),
        None => Problem::failed(format!("the message was not {stage} within {seconds} s")),
    };
    Err(problem.hint(format!("see how far it came with `rp-host trace {id}`")))
}

fn outcomes(sent: &api::Sent) -> String {
    let why = |outcome: &api::Outcome| match outcome.reason.as_deref() {
        Some(reason) if outcome.status == "waiting" => format!(" ({})", safe(reason)),
        _ => String::new(),
    };
    let lines: Vec<_> =
        sent.outcomes.iter().map(|o| format!("{}: {}{}", safe(&o.to), o.status, why(o))).collect();
    format!("{}\n{}", sent.id, lines.join("\n"))
}

fn held_block(held: &api::HeldMessage) -> String {
    let body = held.body.as_str().map_or_else(|| held.body.to_string(), str::to_owned);
    format!(
        "{} from {} to {}\n  id {}\n  held because {}\n  {}\n",
        clock(held.at_ms),
        safe(&held.from),
        safe(&held.to.join(", ")),
        held.id,
        safe(&held.reason),
        safe(&body).replace('\n', "\n  ")
    )
}

/// What `--body` says.
pub(super) fn json_body(json: &str) -> Result<Value, Problem> {
    serde_json::from_str(json).map_err(|error| {
        Problem::usage(format!("--body is not JSON: {error}"))
            .hint("leave out --body to send plain text")
    })
}

/// A message that reached nobody is a failure of `send`.
fn refusal(sent: &api::Sent) -> Option<Problem> {
    if sent.outcomes.iter().any(api::Outcome::reached_somebody) {
        return None;
    }
    let Some(outcome) = sent.outcomes.first() else {
        return Some(
            Problem::failed("the message reached nobody")
                .hint("a broadcast goes to those in the sender's folder; name the agents instead"),
        );
    };
    let to = safe(&outcome.to);
    let problem = match outcome.status.as_str() {
        "unknown" => Problem::failed(format!("nobody on the mesh has the address {to}")),
        "timeout" => Problem::failed(format!("{to} did not acknowledge the message in time")),
        _ => Problem::failed(format!(
            "{to} was not given the message: {}",
            safe(outcome.reason.as_deref().unwrap_or("it was denied"))
        )),
    };
    Some(match (&*outcome.status, outcome.closest.is_empty()) {
        ("unknown", true) => problem.hint("`rp-host peers` lists the addresses"),
        ("unknown", false) => {
            problem.hint(format!("did you mean {}?", safe(&outcome.closest.join(" or "))))
        }
        _ => problem,
    })
}

fn message_block(message: &api::Message, owner: &str) -> String {
    let body = message.body.as_str().map_or_else(|| message.body.to_string(), str::to_owned);
    let answers = if message.from == BROKER { "about" } else { "answers" };
    let re = message.re.as_ref().map(|re| format!("\n  {answers} {re}")).unwrap_or_default();
    let stage = match message.stage.as_deref().unwrap_or_default() {
        "stored" if owner == PERSON => "new",
        "turn-seen" if owner == PERSON => "read",
        stage => stage,
    };
    format!(
        "{} from {} ({stage})\n  id {}{re}\n  {}\n",
        clock(message.at_ms),
        safe(&message.from),
        message.id,
        safe(&body).replace('\n', "\n  ")
    )
}

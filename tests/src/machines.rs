//! Machines of one owner: daemons, each with a state root of its own, at one relay.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{PATIENCE, host::Host, relay::Relay};

/// There is no session bus, so no keyring of the person who runs the tests is touched: keys are in
/// files.
pub const NO_KEYRING: (&str, &str) = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");

/// What a machine at this relay has in its environment.
#[must_use]
pub fn variables(relay: &Relay) -> Vec<(String, String)> {
    let no_keyring = (NO_KEYRING.0.to_owned(), NO_KEYRING.1.to_owned());
    relay.variables().into_iter().chain([no_keyring]).collect()
}

/// A machine that knows the relay and has no owner yet.
pub async fn machine(relay: &Relay) -> Result<Host> {
    Host::start(variables(relay)).await
}

/// Two machines, `lab` and `desk`, of one owner whose key is on `lab`.
pub async fn pair(relay: &Relay) -> Result<(Host, Host)> {
    let (lab, desk) = (machine(relay).await?, machine(relay).await?);
    found(&lab, &desk).await?;
    Ok((lab, desk))
}

/// Makes an owner on one machine, which is `lab` from then on, and has another one join as `desk`.
/// In the end each knows who is on the other.
pub async fn found(lab: &Host, desk: &Host) -> Result<()> {
    lab.run_json(&["mesh", "create", "--name", "lab"]).await?;
    join(lab, desk, "desk").await?;
    knows(lab, "desk:person").await?;
    knows(desk, "lab:person").await
}

/// Lets `joiner` join the mesh of `inviter`, where it sees the same words.
pub async fn join(inviter: &Host, joiner: &Host, name: &str) -> Result<()> {
    let invited = inviter.post("/v1/mesh/invite", &Value::Null).await?;
    let asked = json!({ "code": invited.get("code"), "name": name });
    joiner.post("/v1/mesh/join", &asked).await?;
    let path = "/v1/mesh/conversation";
    let stage = |now: &Value| now.get("stage").cloned().unwrap_or_default();
    let compares = |now: &Value| stage(now) == "compare";
    let there = joiner.until(PATIENCE, path, compares).await?;
    let here = inviter.until(PATIENCE, path, compares).await?;
    ensure!(there.get("words") == here.get("words"), "{there} {here}");
    ensure!(here.get("name") == Some(&json!(name)), "{here}");
    for host in [joiner, inviter] {
        host.post(path, &json!({ "accept": true })).await?;
    }
    inviter.until(PATIENCE, path, |now| stage(now) == "joined").await?;
    joiner.until(PATIENCE, path, |now| stage(now) == "joined").await?;
    Ok(())
}

/// Waits until `host` sees the machine with this presence.
pub async fn sees(host: &Host, alias: &str, presence: &str) -> Result<()> {
    let is_so = |peers: &Value| {
        let mut machines = peers.get("machines").and_then(Value::as_array).into_iter().flatten();
        machines.any(|one| {
            one.get("alias") == Some(&json!(alias)) && one.get("presence") == Some(&json!(presence))
        })
    };
    host.until(PATIENCE, "/v1/peers", is_so).await?;
    Ok(())
}

/// Waits until `host` knows a peer of another machine.
pub async fn knows(host: &Host, address: &str) -> Result<()> {
    let is_there = |peers: &Value| {
        let mut peers = peers.get("peers").and_then(Value::as_array).into_iter().flatten();
        peers.any(|peer| peer.get("address") == Some(&json!(address)))
    };
    host.until(PATIENCE, "/v1/peers", is_there).await?;
    Ok(())
}

/// The messages in the person's mailbox once there are so many.
pub async fn inbox(host: &Host, count: usize) -> Result<Vec<Value>> {
    let messages = |inbox: &Value| inbox.get("messages").and_then(Value::as_array).cloned();
    let enough = |inbox: &Value| messages(inbox).is_some_and(|all| all.len() >= count);
    let inbox = host.until(PATIENCE, "/v1/agents/person/inbox", enough).await?;
    messages(&inbox).context("no messages")
}

/// Sends a message as the person, and gives its id and what the sender is told of it.
pub async fn say(host: &Host, to: &str, body: &str) -> Result<(String, String)> {
    let sent = host.post("/v1/messages", &json!({ "to": to, "body": body })).await?;
    let text = |pointer: &str| sent.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let outcome = text("/outcomes/0/status").with_context(|| sent.to_string())?;
    Ok((text("/id").context("no id")?, outcome))
}

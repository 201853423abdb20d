//! Many messages at once from one machine to another, and what their senders are told.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{PATIENCE, control::Control, host::Host};

/// How many messages wait for word at a time.
const SENDERS: usize = 6;

/// Senders at work. They go on over crashes of their own daemon.
pub struct Load {
    senders: JoinSet<Result<Vec<String>>>,
    acknowledged: watch::Receiver<usize>,
}

/// What was sent.
pub struct Sent {
    /// The bodies of the messages that were acknowledged: whoever sent them counts on them.
    pub acknowledged: BTreeSet<String>,
}

impl Load {
    /// Sends `count` messages to an address of another machine. Each has a body of its own, which
    /// begins with `name`.
    #[must_use]
    pub fn start(from: &Host, to: &str, name: &str, count: usize) -> Self {
        let (told, acknowledged) = watch::channel(0);
        let (told, next) = (Arc::new(told), Arc::new(AtomicUsize::new(0)));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (api, to, name) = (from.api(), to.to_owned(), name.to_owned());
            let (told, next) = (Arc::clone(&told), Arc::clone(&next));
            senders.spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(acknowledged);
                    }
                    let body = format!("{name} {number}");
                    if is_acknowledged(&api, &to, &body).await? {
                        acknowledged.push(body);
                        told.send_modify(|count| *count += 1);
                    }
                }
            });
        }
        Load { senders, acknowledged }
    }

    /// Waits until so many messages have been acknowledged.
    ///
    /// # Errors
    /// When they are not within [`PATIENCE`].
    pub async fn reaches(&mut self, count: usize) -> Result<()> {
        let enough = self.acknowledged.wait_for(|acknowledged| *acknowledged >= count);
        tokio::time::timeout(PATIENCE, enough).await.context("the senders do not get on")??;
        Ok(())
    }

    /// Waits until all messages are sent.
    ///
    /// # Errors
    /// When a sender was told something that is no word about a message.
    pub async fn end(self) -> Result<Sent> {
        let sent = tokio::time::timeout(2 * PATIENCE, self.senders.join_all()).await;
        let sent = sent.context("the senders do not end")?.into_iter();
        let sent: Vec<Vec<String>> = sent.collect::<Result<_>>()?;
        Ok(Sent { acknowledged: sent.into_iter().flatten().collect() })
    }
}

/// Sends a message, once. Whether its sender may count on it: what a daemon was asked that ended
/// before it answered may have been sent or not.
async fn is_acknowledged(api: &Control, to: &str, body: &str) -> Result<bool> {
    let sent = api.post("/v1/messages", &json!({ "to": to, "body": body })).await;
    let Ok(sent) = sent else {
        // A foreign process tells nobody that it is back.
        while api.get("/v1/status").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        return Ok(false);
    };
    let status = sent.pointer("/outcomes/0/status").and_then(Value::as_str);
    match status.with_context(|| sent.to_string())? {
        "received" | "waiting" | "sent" => Ok(true),
        "timeout" | "denied" => Ok(false),
        other => anyhow::bail!("{other}: {sent}"),
    }
}

/// Waits until all that was acknowledged is in the person's mailbox, and shows that nothing is there
/// twice.
///
/// # Errors
/// When something is missing or there twice; the text names it.
pub async fn arrived_once(host: &Host, sent: &Sent) -> Result<()> {
    let bodies = |inbox: &Value| -> Vec<String> {
        let messages = inbox.get("messages").and_then(Value::as_array).into_iter().flatten();
        let bodies = messages.filter_map(|message| message.get("body")?.as_str());
        bodies.map(str::to_owned).collect()
    };
    let missing = |inbox: &Value| -> Vec<String> {
        let there: BTreeSet<String> = bodies(inbox).into_iter().collect();
        sent.acknowledged.difference(&there).cloned().collect()
    };
    let path = "/v1/agents/person/inbox";
    let came = host.until(PATIENCE, path, |inbox| missing(inbox).is_empty()).await;
    let inbox = match came {
        Ok(inbox) => inbox,
        Err(_) => {
            let missing = missing(&host.get(path).await?);
            anyhow::bail!("{} acknowledged messages did not arrive: {missing:?}", missing.len());
        }
    };
    let mut seen = BTreeSet::new();
    for body in bodies(&inbox) {
        ensure!(seen.insert(body.clone()), "{body} arrived twice");
    }
    Ok(())
}

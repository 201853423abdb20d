//! Messages that will not arrive, because their time is up or a person refused them. Who sent
//! one is told, when that is an agent of this host or the person at it.

use std::sync::Arc;
use std::time::Duration;

use rp_protocol::mesh::BROKER;
use tokio::time::{sleep, timeout};

use crate::agent::AgentId;
use crate::ids::unguessable_id;
use crate::mailbox::{Expired, HeldMessage, Incoming, Origin, Stage, TraceStep};
use crate::member::Member;
use crate::mesh::Core;

/// The longest sleep while something can expire: the clock may be set, and a machine that was
/// suspended wakes with old timers.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Fails messages whose time is up, whenever one is. Never returns, and sleeps for as long as
/// nothing can expire.
pub(crate) async fn expire_messages(core: Arc<Core>) {
    let mailboxes = &core.around.mailboxes;
    let changed = mailboxes.expiries_changed();
    loop {
        let Some(at_ms) = mailboxes.next_expiry() else {
            changed.notified().await;
            continue;
        };
        let left = Duration::from_millis(at_ms.saturating_sub(core.around.now_ms()));
        if !left.is_zero() {
            let _ = timeout(left.min(LONGEST_SLEEP), changed.notified()).await;
            continue;
        }
        match mailboxes.expire(core.around.now_ms()) {
            Ok(expired) => {
                for message in expired {
                    let why = "it expired before it could be handed to the agent";
                    let Expired { from, sender, to, id, .. } = message;
                    tell_sender(&core, sender, &from, &to, &id, why);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "messages whose time is up could not be taken out");
                sleep(LONGEST_SLEEP).await;
            }
        }
    }
}

/// Throws a held message away: notes it in its trace and tells its sender.
pub(crate) fn refuse(core: &Core, held: &HeldMessage, why: &str) {
    let message = &held.message;
    let step = TraceStep {
        stage: Stage::Failed { reason: why.to_owned() },
        at_ms: core.around.now_ms(),
        agent: None,
        detail: None,
    };
    core.around.mailboxes.trace_only(&message.id, step);
    core.around.mailboxes.drop_held(&message.id);
    let sender = message.sender.clone();
    tell_sender(core, sender, &message.from, &message.to, &message.id, why);
}

/// Puts a notice into the mailbox of a sender that is an agent of this host, or has the address
/// of one. An agent is told wherever it is on the mesh right now.
pub(crate) fn tell_sender(
    core: &Core,
    sender: Option<AgentId>,
    from: &str,
    to: &str,
    id: &str,
    why: &str,
) {
    let has_address = |member: &Arc<Member>| member.address().borrow().as_deref() == Some(from);
    let members = core.members();
    let at_address = members.iter().find(|member| has_address(member));
    let Some(sender) = sender.or_else(|| Some(at_address?.agent.clone())) else { return };
    let now_ms = core.around.now_ms();
    let text = format!("Your message to {to} was not delivered: {why}.");
    let Ok(body) = serde_json::value::to_raw_value(&text) else { return };
    let notice = Incoming {
        id: unguessable_id(now_ms).to_string(),
        from: BROKER.to_owned(),
        to: from.to_owned(),
        re: Some(id.to_owned()),
        body,
        origin: Origin::Router,
        sender: None,
        expires_at_ms: None,
    };
    core.around.mailboxes.accept(&sender, notice, now_ms, |outcome| {
        if let Err(error) = outcome {
            tracing::warn!(%error, "a sender was not told that its message did not arrive");
        }
    });
}

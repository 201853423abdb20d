//! What happens to an envelope once it is decided where it goes: it is handed over, its sender is
//! told, and the audit log has it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use rp_protocol::mesh::{AckStatus, BROADCAST, Body, Destination, Envelope, EnvelopeId, write_ack};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::agent::AgentId;
use crate::audit::{Acknowledged, Via, write_entry};
use crate::broker::{Batch, Broker};
use crate::connection::lock;
use crate::event::MeshEvent;
use crate::judge::Held;
use crate::mailbox::{Accepted, HeldMessage, Incoming, Origin, Refused};
use crate::receipt::{Delivery, Outcome};
use crate::roster::{Link, Peer};

const NOT_JSON: &str = "its body is not JSON";

/// Who is told what became of an envelope, and how.
pub(crate) enum Reply {
    /// A peer on the socket, by an acknowledgement where the wire has one.
    Wire(Arc<Peer>),
    /// Somebody on this host.
    Host(oneshot::Sender<Settled>),
}

/// What became of an envelope.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// The policy sent it elsewhere: the recipients are not the ones that were named.
    pub(crate) redirected: bool,
    pub(crate) deliveries: Vec<Delivery>,
}

/// An envelope under way, with what is needed to conclude it.
pub(crate) struct Parcel<'a> {
    pub(crate) envelope: Envelope<'a>,
    pub(crate) origin: Origin,
    /// The sender, when it is an agent of this host.
    pub(crate) sender: Option<AgentId>,
    pub(crate) recipients: Vec<Arc<Peer>>,
    pub(crate) via: Via,
    pub(crate) redirected: bool,
    /// When it is to fail if it still waits in a mailbox, in milliseconds since the Unix epoch.
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) reply: Reply,
}

/// A parcel of which some recipients store it first.
struct Storing {
    broker: Arc<Broker>,
    progress: Mutex<Option<Progress>>,
}

struct Progress {
    parcel: Parcel<'static>,
    outcomes: Vec<Option<Outcome>>,
    waiting: usize,
}

impl Broker {
    /// Hands a parcel to its recipients.
    pub(crate) fn dispatch(self: &Arc<Self>, parcel: Parcel<'_>, batch: &mut Batch<'_>) {
        let mut waiting = 0;
        let outcomes: Vec<Option<Outcome>> = parcel
            .recipients
            .iter()
            .map(|peer| match &peer.link {
                Link::Socket(_) if batch.send(peer, |line| parcel.envelope.write(line)) => {
                    Some(Outcome::Received)
                }
                Link::Socket(_) => Some(Outcome::Unknown { closest: Vec::new() }),
                Link::Mailbox(..) => {
                    waiting += 1;
                    None
                }
            })
            .collect();
        if waiting == 0 {
            return self.conclude(parcel, outcomes, batch);
        }
        self.store(parcel, outcomes, waiting, batch.now_ms);
    }

    /// Hands a parcel to the mailboxes among its recipients; it is concluded when the last of
    /// them has it on disk.
    fn store(
        self: &Arc<Self>,
        parcel: Parcel<'_>,
        outcomes: Vec<Option<Outcome>>,
        waiting: usize,
        now_ms: u64,
    ) {
        let agents: Vec<(usize, AgentId, Option<Incoming>)> = parcel
            .recipients
            .iter()
            .enumerate()
            .filter_map(|(index, peer)| match &peer.link {
                Link::Mailbox(agent, _) => {
                    Some((index, agent.clone(), parcel.incoming(&peer.address)))
                }
                Link::Socket(_) => None,
            })
            .collect();
        let storing = Arc::new(Storing {
            broker: Arc::clone(self),
            progress: Mutex::new(Some(Progress {
                parcel: parcel.without_body(),
                outcomes,
                waiting,
            })),
        });
        for (index, agent, incoming) in agents {
            let storing = Arc::clone(&storing);
            let Some(incoming) = incoming else {
                storing.settle(index, Outcome::denied(NOT_JSON));
                continue;
            };
            self.around.mailboxes.accept(&agent, incoming, now_ms, move |result| {
                storing.settle(index, stored(result));
            });
        }
    }

    /// Tells the sender and the audit log what became of a parcel.
    pub(crate) fn conclude(
        &self,
        parcel: Parcel<'_>,
        outcomes: Vec<Option<Outcome>>,
        batch: &mut Batch<'_>,
    ) {
        let with = |wanted: fn(&Outcome) -> bool| {
            parcel
                .recipients
                .iter()
                .zip(&outcomes)
                .filter(move |(_, outcome)| outcome.as_ref().is_some_and(wanted))
                .map(|(peer, _)| &*peer.address)
        };
        let received = || with(|outcome| *outcome == Outcome::Received);
        let denied = || with(|outcome| matches!(outcome, Outcome::Denied { .. }));
        let (acknowledged, target) = match (received().next(), denied().next()) {
            _ if !is_unicast(&parcel.envelope.to) => (Acknowledged::None, None),
            (Some(target), _) => (Acknowledged::Received, Some((AckStatus::Received, target))),
            (None, Some(target)) => (Acknowledged::Denied, Some((AckStatus::Denied, target))),
            (None, None) => (Acknowledged::None, None),
        };
        let is_denied_injection =
            parcel.via == Via::Relay && acknowledged != Acknowledged::Received;
        if !is_denied_injection {
            let now_ms = batch.now_ms;
            write_entry(
                &mut batch.audit,
                now_ms,
                &parcel.envelope,
                received(),
                acknowledged,
                parcel.via,
            );
        }
        match &parcel.reply {
            Reply::Wire(sender) => {
                if let Some((status, target)) = target {
                    acknowledge(sender, &parcel.envelope, status, target, batch);
                }
            }
            Reply::Host(_) => {
                let deliveries = parcel
                    .recipients
                    .iter()
                    .zip(outcomes)
                    .map(|(peer, outcome)| Delivery {
                        address: peer.address.to_string(),
                        outcome: outcome.unwrap_or(Outcome::Timeout),
                    })
                    .collect();
                parcel.tell_host(deliveries);
            }
        }
    }

    /// Refuses a parcel for everybody it was meant for.
    pub(crate) fn deny(&self, parcel: Parcel<'_>, reason: &str, batch: &mut Batch<'_>) {
        if parcel.via == Via::Local {
            let now_ms = batch.now_ms;
            write_entry(
                &mut batch.audit,
                now_ms,
                &parcel.envelope,
                std::iter::empty(),
                Acknowledged::Denied,
                parcel.via,
            );
        }
        match &parcel.reply {
            Reply::Wire(sender) if is_unicast(&parcel.envelope.to) => {
                let target = parcel.envelope.to.to_text();
                acknowledge(sender, &parcel.envelope, AckStatus::Denied, &target, batch);
            }
            Reply::Wire(_) => {}
            Reply::Host(_) => {
                let deliveries = parcel.for_each_named(|| Outcome::denied(reason));
                parcel.tell_host(deliveries);
            }
        }
    }

    /// Keeps a parcel until a person decides. A sender on the wire hears nothing.
    pub(crate) fn hold(
        self: &Arc<Self>,
        mut parcel: Parcel<'_>,
        held: Held,
        batch: &mut Batch<'_>,
    ) {
        if let Some(body) = held.body {
            parcel.envelope.body = body;
        }
        let to = parcel.envelope.to.to_text();
        let Some(message) = parcel.incoming(&to) else {
            return self.deny(parcel, NOT_JSON, batch);
        };
        let message = HeldMessage {
            message,
            recipients: parcel.recipients.iter().map(|peer| peer.address.to_string()).collect(),
            reason: held.reason.clone(),
            held_at_ms: batch.now_ms,
        };
        let reason = held.reason;
        let broker = Arc::clone(self);
        let parcel = parcel.without_body();
        self.around.mailboxes.hold(message, move |result| {
            let mut batch = Batch::new(&broker);
            match result {
                Ok(()) => broker.is_held(parcel, reason, &mut batch),
                Err(refused) => broker.deny(parcel, &refused.to_string(), &mut batch),
            }
        });
    }

    fn is_held(&self, parcel: Parcel<'_>, reason: String, batch: &mut Batch<'_>) {
        if parcel.via == Via::Local {
            let now_ms = batch.now_ms;
            write_entry(
                &mut batch.audit,
                now_ms,
                &parcel.envelope,
                std::iter::empty(),
                Acknowledged::None,
                parcel.via,
            );
        }
        self.around
            .tell(MeshEvent::EnvelopeHeld { id: parcel.envelope.id, reason: reason.clone() });
        if matches!(parcel.reply, Reply::Host(_)) {
            let deliveries = parcel.for_each_named(|| Outcome::Held { reason: reason.clone() });
            parcel.tell_host(deliveries);
        }
    }
}

impl<'a> Parcel<'a> {
    pub(crate) fn from_remote(
        envelope: Envelope<'a>,
        recipients: Vec<Arc<Peer>>,
        told: oneshot::Sender<Settled>,
    ) -> Self {
        Parcel {
            envelope,
            origin: Origin::Agent,
            sender: None,
            recipients,
            via: Via::Relay,
            redirected: false,
            expires_at_ms: None,
            reply: Reply::Host(told),
        }
    }

    /// What a mailbox stores of it.
    fn incoming(&self, recipient: &str) -> Option<Incoming> {
        let stored = incoming(&self.envelope, recipient, self.origin, self.sender.clone())?;
        Some(Incoming { expires_at_ms: self.expires_at_ms, ..stored })
    }

    /// What is needed to conclude it later.
    fn without_body(self) -> Parcel<'static> {
        let head = Envelope { body: Body::null(), ..self.envelope };
        Parcel {
            envelope: head.into_owned(),
            origin: self.origin,
            sender: self.sender,
            recipients: self.recipients,
            via: self.via,
            redirected: self.redirected,
            expires_at_ms: self.expires_at_ms,
            reply: self.reply,
        }
    }

    /// The same outcome for every recipient, or for what the sender named when there is none.
    fn for_each_named(&self, outcome: impl Fn() -> Outcome) -> Vec<Delivery> {
        let found = self.recipients.iter().map(|peer| peer.address.to_string());
        let named = self.envelope.to.addresses().map(str::to_owned);
        let addresses: Vec<String> =
            if self.recipients.is_empty() { named.collect() } else { found.collect() };
        addresses.into_iter().map(|address| Delivery { address, outcome: outcome() }).collect()
    }

    fn tell_host(self, deliveries: Vec<Delivery>) {
        if let Reply::Host(told) = self.reply {
            // The one who waited may have given up.
            let _ = told.send(Settled { redirected: self.redirected, deliveries });
        }
    }
}

impl Storing {
    fn settle(&self, index: usize, outcome: Outcome) {
        let finished = {
            let mut progress = lock(&self.progress);
            let Some(current) = progress.as_mut() else {
                return;
            };
            if let Some(slot) = current.outcomes.get_mut(index) {
                *slot = Some(outcome);
            }
            current.waiting -= 1;
            if current.waiting > 0 {
                return;
            }
            progress.take()
        };
        if let Some(Progress { parcel, outcomes, .. }) = finished {
            self.broker.conclude(parcel, outcomes, &mut Batch::new(&self.broker));
        }
    }
}

pub(crate) fn is_one(to: &Destination<'_>, word: &str) -> bool {
    matches!(to, Destination::One(address) if address == word)
}

fn is_unicast(to: &Destination<'_>) -> bool {
    matches!(to, Destination::One(address) if address != BROADCAST)
}

fn acknowledge(
    sender: &Peer,
    envelope: &Envelope<'_>,
    status: AckStatus,
    target: &str,
    batch: &mut Batch<'_>,
) {
    let id = batch.id();
    batch.send(sender, |line| {
        write_ack(line, &sender.address, id, envelope.id, status, target);
    });
}

/// What a mailbox stores of an envelope.
pub(crate) fn incoming(
    envelope: &Envelope<'_>,
    recipient: &str,
    origin: Origin,
    sender: Option<AgentId>,
) -> Option<Incoming> {
    let to = if is_one(&envelope.to, BROADCAST) { BROADCAST } else { recipient };
    let body = RawValue::from_string(envelope.body.as_str().to_owned()).ok()?;
    Some(Incoming {
        id: envelope.id.to_string(),
        from: envelope.from.to_string(),
        to: to.to_owned(),
        re: envelope.re.map(|re| re.to_string()),
        body,
        origin,
        sender,
        expires_at_ms: None,
    })
}

/// The envelope of a message that was held, as its recipients are to see it. `None` when it is
/// not an envelope's.
pub(crate) fn released(held: &HeldMessage) -> Option<Envelope<'_>> {
    let message = &held.message;
    let to = match held.recipients.as_slice() {
        [one] if message.to != BROADCAST => Destination::One(Cow::Borrowed(one)),
        many if message.to != BROADCAST => {
            Destination::Many(many.iter().map(|one| Cow::Borrowed(one.as_str())).collect())
        }
        _ => Destination::One(Cow::Borrowed(BROADCAST)),
    };
    Some(Envelope {
        from: Cow::Borrowed(&message.from),
        to,
        id: EnvelopeId::parse(&message.id)?,
        re: match &message.re {
            Some(re) => Some(EnvelopeId::parse(re)?),
            None => None,
        },
        body: Body::from_raw(&message.body),
    })
}

pub(crate) fn stored(result: Result<Accepted, Refused>) -> Outcome {
    match result {
        Ok(Accepted::Stored | Accepted::Duplicate) => Outcome::Received,
        Err(refused) => Outcome::denied(&refused.to_string()),
    }
}

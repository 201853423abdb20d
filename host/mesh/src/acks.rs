//! Messages of this host's agents that wait for another router's word.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use rp_protocol::mesh::{AckOrigin, AckStatus, EnvelopeId, Inbound};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::connection::lock;
use crate::receipt::Outcome;

#[derive(Debug)]
struct Waiting {
    origin: AckOrigin,
    tell: oneshot::Sender<Outcome>,
    /// What to say when no word comes in time.
    otherwise: Outcome,
}

/// Messages that wait for an acknowledgement. One entry for each call that waits, at most 5 s.
#[derive(Debug, Default)]
pub(crate) struct PendingAcks {
    waiting: Mutex<HashMap<EnvelopeId, Waiting>>,
}

/// Stops waiting when dropped.
pub(crate) struct AckWait<'a> {
    acks: &'a PendingAcks,
    id: EnvelopeId,
    told: oneshot::Receiver<Outcome>,
}

impl PendingAcks {
    pub(crate) fn expect(&self, id: EnvelopeId, destination: &str) -> AckWait<'_> {
        let (tell, told) = oneshot::channel();
        let origin = AckOrigin::expected(destination);
        let waiting = Waiting { origin, tell, otherwise: Outcome::Timeout };
        lock(&self.waiting).insert(id, waiting);
        AckWait { acks: self, id, told }
    }

    /// Settles what an acknowledgement or a trusted error is about. A second one changes nothing.
    pub(crate) fn settle(&self, inbound: &Inbound, from: &str) {
        let (id, outcome) = match inbound {
            Inbound::Ack { re, status, .. } => (
                *re,
                match status {
                    AckStatus::Received => Outcome::Received,
                    AckStatus::Denied => Outcome::denied("the other router refused it"),
                    AckStatus::Busy => Outcome::denied(
                        "the recipient was busy and its outdated router dropped the message; \
                         restart the oldest program on the mesh",
                    ),
                },
            ),
            Inbound::TransportError { re, reason } => (
                *re,
                Outcome::denied(&format!("the relay could not carry it: {}", reason.as_str())),
            ),
            Inbound::BadAck | Inbound::Message => return,
        };
        let mut waiting = lock(&self.waiting);
        let counts = waiting.get(&id).is_some_and(|entry| {
            matches!(inbound, Inbound::TransportError { .. }) || entry.origin.accepts(from)
        });
        if counts && let Some(entry) = waiting.remove(&id) {
            // The one who waited may have given up.
            let _ = entry.tell.send(outcome);
        }
    }

    /// Whether somebody waits for word about a message.
    pub(crate) fn waits_for(&self, id: &EnvelopeId) -> bool {
        lock(&self.waiting).contains_key(id)
    }

    /// Whoever waits for word about a message is told this when none comes in time.
    pub(crate) fn otherwise(&self, id: &EnvelopeId, outcome: Outcome) {
        if let Some(entry) = lock(&self.waiting).get_mut(id) {
            entry.otherwise = outcome;
        }
    }

    /// Tells whoever waits for word about a message what became of it. Whether somebody waited.
    pub(crate) fn tell(&self, id: &EnvelopeId, outcome: Outcome) -> bool {
        let waiting = lock(&self.waiting).remove(id);
        // The one who waited may have given up.
        waiting.is_some_and(|entry| entry.tell.send(outcome).is_ok())
    }
}

impl AckWait<'_> {
    /// What became of the message, or what is to be said when that is not known in time.
    pub(crate) async fn outcome(mut self, patience: Duration) -> Outcome {
        if let Ok(Ok(outcome)) = timeout(patience, &mut self.told).await {
            return outcome;
        }
        let waiting = lock(&self.acks.waiting).remove(&self.id);
        waiting.map_or(Outcome::Timeout, |entry| entry.otherwise)
    }
}

impl Drop for AckWait<'_> {
    fn drop(&mut self) {
        lock(&self.acks.waiting).remove(&self.id);
    }
}

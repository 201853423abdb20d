//! Envelopes from other machines.

use std::collections::BTreeSet;

use rp_link::{Delivery, Message};
use rp_mesh::Injection;
use rp_protocol::key::PublicKey;
use rp_protocol::mesh::{AckStatus, Envelope, Inbound, classify};
use rp_protocol::relay::{Refusal, Verdict};
use rp_protocol::remote::{Outgoing, Received};
use rp_protocol::seal::OpenError;

use crate::files::wall_ms;
use crate::machine::{Machine, new_id};
use crate::traffic::Sent;

/// When a sender is asked to try again while this program cannot take anything.
const RETRY_AFTER_MS: u64 = 1000;
const BUSY: Verdict = Verdict::Busy { retry_after_ms: RETRY_AFTER_MS };

/// How something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Sealed,
    Clear,
}

/// This program does not lead the local mesh any more: nothing can be delivered.
#[derive(Debug)]
pub(crate) struct NotHere;

impl Machine<'_> {
    /// Takes what the relay delivered, and answers it. What came together is on disk together.
    pub(crate) async fn on_deliveries(&mut self, deliveries: Vec<Delivery>) {
        let mut verdicts = Vec::with_capacity(deliveries.len());
        let mut touched = BTreeSet::new();
        for delivery in deliveries {
            let (id, from) = (delivery.id, delivery.from);
            let verdict = match &delivery.message {
                Message::Sealed(sealed) => self.on_sealed(from, sealed, &mut touched),
                Message::Envelope(text) => self.on_clear(from, text).await,
                Message::App { .. } => Verdict::Refused(Refusal::Unwanted),
            };
            verdicts.push((id, from, verdict));
        }
        let mut failed = BTreeSet::new();
        for machine in touched {
            if !self.work(machine).await {
                failed.insert(machine);
            }
        }
        for (id, from, verdict) in verdicts {
            let is_lost = verdict == Verdict::Received && failed.contains(&from);
            let verdict = if is_lost { BUSY } else { verdict };
            // The link has not ended: this holds its handle.
            let _ = self.link.answer(id, from, verdict).await;
        }
    }

    fn on_sealed(
        &mut self,
        from: PublicKey,
        sealed: &[u8],
        touched: &mut BTreeSet<PublicKey>,
    ) -> Verdict {
        let Some(line) = self.lines.get_mut(&from) else { return self.on_stranger() };
        match line.courier.on_sealed(sealed, &self.seals, wall_ms()) {
            Ok(()) => {
                touched.insert(from);
                Verdict::Received
            }
            // It is here already.
            Err(OpenError::Replayed) => Verdict::Received,
            Err(OpenError::NoSession | OpenError::TooOld) => Verdict::Refused(Refusal::NoSession),
            Err(error) => {
                tracing::warn!(%error, machine = from.fingerprint(), "refused");
                Verdict::Refused(Refusal::Malformed)
            }
        }
    }

    async fn on_clear(&mut self, from: PublicKey, text: &str) -> Verdict {
        let Some(line) = self.lines.get(&from) else { return self.on_stranger() };
        if line.record.is_sealed_with || !self.shared.config.allow_clear {
            return Verdict::Refused(Refusal::ClearRefused);
        }
        match self.take_envelope(from, text.as_bytes(), Came::Clear).await {
            Ok(Some(answer)) => {
                self.send_clear(from, answer.envelope, Sent::Unimportant).await;
                Verdict::Received
            }
            Ok(None) => Verdict::Received,
            Err(NotHere) => BUSY,
        }
    }

    /// The relay let through what comes from no machine that is known: an owner may have added one.
    fn on_stranger(&mut self) -> Verdict {
        self.hurry();
        Verdict::Refused(Refusal::Unwanted)
    }

    /// Delivers what another machine says, or learns from it. What is to be answered.
    pub(crate) async fn take_envelope(
        &mut self,
        machine: PublicKey,
        body: &[u8],
        came: Came,
    ) -> Result<Option<Outgoing>, NotHere> {
        let Ok(text) = std::str::from_utf8(body) else { return Ok(None) };
        let received =
            self.with_bridge(|bridge, around| bridge.receive_from(&machine, text, around)).await;
        match received {
            Ok(Received::Deliver { envelope, receipt }) => {
                if !self.is_expected(machine, &envelope) {
                    return Ok(None);
                }
                let status = match self.inject(&envelope).await {
                    Injection::Received => AckStatus::Received,
                    Injection::Denied => AckStatus::Denied,
                    // What a person will decide is not known yet: as on the local mesh, no receipt.
                    Injection::Held => return Ok(None),
                    Injection::NotHere => return Err(NotHere),
                };
                tracing::debug!(?came, ?status, "an envelope of another machine");
                Ok(receipt.map(|receipt| receipt.write(status, new_id())))
            }
            Ok(Received::Failed(envelope)) => {
                self.inject(&envelope).await;
                Ok(None)
            }
            Ok(Received::Answer(outgoing)) => Ok(Some(outgoing)),
            Ok(Received::Learned) => Ok(None),
            Ok(Received::Dropped(why)) | Err(why) => {
                tracing::debug!(%why, "dropped what another machine said");
                Ok(None)
            }
        }
    }

    /// Whether an envelope is a message, or the word about one that went to that machine: what its
    /// router says is shown with this router's authority, so it must have been asked.
    fn is_expected(&mut self, machine: PublicKey, envelope: &Envelope<'_>) -> bool {
        let Inbound::Ack { re, status, .. } = classify(envelope) else { return true };
        let Some(line) = self.lines.get_mut(&machine) else { return false };
        let Some((from, to)) = line.awaited.take(&re, &envelope.to.to_text()) else {
            tracing::debug!("dropped the word of another machine about what was not sent to it");
            return false;
        };
        self.shared.config.mesh.late_word(&from, &to, &re, status);
        true
    }

    pub(crate) async fn inject(&self, envelope: &Envelope<'_>) -> Injection {
        let line = envelope.to_line();
        let line = String::from_utf8_lossy(&line);
        self.shared.config.mesh.inject(line.trim_end()).await
    }
}

//! Envelopes to and from other machines.

use std::collections::BTreeSet;

use rp_link::{Delivery, Message};
use rp_mesh::{Injection, Stage, TraceStep};
use rp_protocol::courier::{Change, Effect};
use rp_protocol::key::PublicKey;
use rp_protocol::mesh::{AckStatus, Envelope, EnvelopeId, TransportError};
use rp_protocol::relay::{Answer, MessageId, Refusal, Verdict};
use rp_protocol::remote::{Kind, Outgoing, Received, transport_error};
use rp_protocol::seal::{OpenError, session_of};

use crate::door::Outbound;
use crate::files::wall_ms;
use crate::line::{Came, Line, Path};
use crate::machine::{Answered, Machine, Session, new_id};
use crate::outbox::Note;

/// A message that may not wait is given up after this time when its machine goes away just then:
/// whoever sent it waits no longer.
const SENDERS_PATIENCE_MS: u64 = 5_000;

/// What was sent, for when the relay has answered.
pub(crate) enum Sent {
    /// Something sealed.
    Sealed(Session),
    /// An agent's message in the clear.
    Clear {
        body: Vec<u8>,
        note: Note,
        may_wait: bool,
        /// Its number, when it waits on disk.
        number: Option<u64>,
    },
    /// Something in the clear that nobody waits for.
    Unimportant,
}

impl Machine<'_> {
    /// Takes an agent's envelope. Gives the machines that there is something to do for.
    pub(crate) async fn send_agents(&mut self, outbound: Outbound) -> BTreeSet<PublicKey> {
        let Outbound { envelope, carriage } = outbound;
        let note = Note {
            id: Some(envelope.id.to_string()),
            from: envelope.from.to_string(),
            to: envelope.to.to_text().into_owned(),
            expires_at_ms: match carriage.may_wait {
                true => carriage.expires_at_ms,
                false => Some(wall_ms() + SENDERS_PATIENCE_MS),
            },
            is_inventory: false,
        };
        let outgoing = self.with_bridge(|bridge, around| bridge.send(&envelope, around)).await;
        let Some(outgoing) = outgoing else {
            self.fail(&note, TransportError::Offline, "that machine is not known any more").await;
            return BTreeSet::new();
        };
        let mut touched = BTreeSet::new();
        for one in outgoing {
            touched.insert(one.to);
            match one.kind {
                Kind::Message(_) => self.send_message(one, note.clone(), carriage.may_wait).await,
                Kind::Receipt | Kind::Inventory => self.send_inventories(vec![one]).await,
            }
        }
        touched
    }

    async fn send_message(&mut self, outgoing: Outgoing, note: Note, may_wait: bool) {
        let machine = outgoing.to;
        let Some(line) = self.lines.get_mut(&machine) else {
            return self.fail(&note, TransportError::Offline, "that machine is not known").await;
        };
        let body = outgoing.envelope;
        match line.path(self.shared.config.allow_clear) {
            Path::Clear => {
                self.trace(&note, Stage::Accepted, "in the clear");
                let sent = Sent::Clear { body: body.clone(), note, may_wait, number: None };
                self.send_clear(machine, body, sent).await;
            }
            Path::None if !may_wait => {
                self.fail(&note, TransportError::Offline, "that machine is not connected").await;
            }
            path => {
                let taken = line.take_message(body, note.clone());
                if let Err(error) = taken {
                    return self.fail(&note, TransportError::Offline, &error.to_string()).await;
                }
                if path == Path::Sealed {
                    // The rest is done for all that are sent at once.
                    return self.trace(&note, Stage::Stored, "sealed");
                }
                // On disk before anybody is told so.
                self.work(machine).await;
                self.it_waits(machine, &note);
            }
        }
    }

    /// A message was taken for later: if it is on disk, that is noted and told.
    fn it_waits(&self, machine: PublicKey, note: &Note) {
        let notes = self.lines.get(&machine).map(|line| &line.notes);
        if notes.is_some_and(|notes| notes.values().any(|kept| kept.id == note.id)) {
            self.trace(note, Stage::Stored, "until that machine is connected");
            self.say_that_it_waits(note);
        }
    }

    /// Whoever waits for word about a message is told that it is on disk for later.
    fn say_that_it_waits(&self, note: &Note) {
        if let Some(id) = note.id.as_deref().and_then(EnvelopeId::parse) {
            self.shared.config.mesh.is_kept(id, "that machine is not connected");
        }
    }

    fn trace(&self, note: &Note, stage: Stage, how: &str) {
        let Some(id) = &note.id else { return };
        let detail = Some(format!("{} ({how})", note.to));
        let step = TraceStep { stage, at_ms: wall_ms(), agent: None, detail };
        self.shared.config.mailboxes.trace_only(id, step);
    }

    /// Sends inventories to those machines that are there.
    pub(crate) async fn send_inventories(&mut self, outgoing: Vec<Outgoing>) {
        for one in outgoing {
            let Some(line) = self.lines.get_mut(&one.to) else { continue };
            match line.path(self.shared.config.allow_clear) {
                Path::None => {}
                Path::Clear => self.send_clear(one.to, one.envelope, Sent::Unimportant).await,
                // Without room for it that machine is told later.
                Path::Sealed => {
                    if line.take_inventory(one.envelope).is_ok() {
                        self.work(one.to).await;
                    }
                }
            }
        }
    }

    async fn send_clear(&mut self, machine: PublicKey, body: Vec<u8>, sent: Sent) {
        let Ok(text) = String::from_utf8(body) else { return };
        self.send(machine, Message::Envelope(text), sent).await;
    }

    async fn send(&self, machine: PublicKey, message: Message, sent: Sent) {
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        if let Ok(answers) = self.link.send(id, machine, message).await {
            self.note_answer(machine, sent, answers);
        }
    }

    /// A machine turned out to speak only the old wire: what waits for it goes in the clear.
    pub(crate) async fn send_what_waits_in_the_clear(&mut self, machine: PublicKey) {
        let Some(line) = self.lines.get(&machine) else { return };
        if line.path(self.shared.config.allow_clear) != Path::Clear {
            return;
        }
        for (number, note) in line.notes.clone() {
            let body = match self.shared.outbox.body(&machine, number) {
                Ok(Some(body)) => body,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a message that waits cannot be read");
                    continue;
                }
            };
            let number = Some(number);
            let sent = Sent::Clear { body: body.clone(), note, may_wait: true, number };
            self.send_clear(machine, body, sent).await;
        }
    }

    pub(crate) async fn on_answered(&mut self, answered: Answered) {
        let Answered { machine, sent, answer } = answered;
        match sent {
            Sent::Unimportant => {}
            Sent::Sealed(session) => {
                let Some(line) = self.lines.get_mut(&machine) else { return };
                line.courier.on_answer(session, answer);
                if matches!(answer, Answer::Offline { .. } | Answer::Lost) {
                    let waiting: Vec<Note> = line.notes.values().cloned().collect();
                    waiting.iter().for_each(|note| self.say_that_it_waits(note));
                }
            }
            Sent::Clear { note, number, body, may_wait } => {
                let Some(line) = self.lines.get_mut(&machine) else { return };
                match (answer, number) {
                    (Answer::Received | Answer::Handed, Some(number)) => {
                        line.notes.remove(&number);
                        line.courier.withdraw(number);
                        self.trace(&note, Stage::Accepted, "in the clear");
                    }
                    (Answer::Received | Answer::Handed, None) => {}
                    // It goes on waiting.
                    (_, Some(_)) => {}
                    (Answer::Offline { .. } | Answer::Lost, None) if may_wait => {
                        let taken = line.take_message(body, note.clone());
                        self.work(machine).await;
                        match taken {
                            Ok(_) => self.it_waits(machine, &note),
                            Err(error) => {
                                let why = error.to_string();
                                self.fail(&note, TransportError::Offline, &why).await;
                            }
                        }
                    }
                    (Answer::Refused(Refusal::NotAuthorised), None) => {
                        let why = "the relay does not know that both machines are one owner's";
                        self.fail(&note, TransportError::NotAuthorized, why).await;
                    }
                    (_, None) => {
                        let why = "that machine is not connected";
                        self.fail(&note, TransportError::Offline, why).await;
                    }
                }
            }
        }
        self.work(machine).await;
    }

    /// Does what a courier wants done: first on disk, then on the link.
    pub(crate) async fn work(&mut self, machine: PublicKey) {
        loop {
            let Some(line) = self.lines.get_mut(&machine) else { return };
            let effects = line.courier.effects(&self.seals, wall_ms());
            if effects.is_empty() {
                return;
            }
            let (mut changes, mut sealed) = (Vec::new(), Vec::new());
            for effect in effects {
                match effect {
                    Effect::Keep(change) => changes.push(change),
                    Effect::Send(message) => sealed.push(message),
                }
            }
            // A message is with its recipient before it counts as received: whatever crashes in
            // between brings it again, and a mailbox takes an id once.
            for change in &changes {
                if let Change::Received { body, .. } = change {
                    let answer = self.take_envelope(machine, body, Came::Sealed).await;
                    if let (Some(answer), Some(line)) = (answer, self.lines.get_mut(&machine)) {
                        // Without room for it the sender hears nothing, as when it is lost.
                        let _ = line.courier.take(answer.envelope);
                    }
                }
            }
            if !changes.is_empty() && !self.keep_changes(machine, changes).await {
                return;
            }
            for message in sealed {
                let session = session_of(&message);
                self.send(machine, Message::Sealed(message), Sent::Sealed(session)).await;
            }
        }
    }

    /// Whether the changes are on disk. If not, all is as it is there.
    async fn keep_changes(&mut self, machine: PublicKey, changes: Vec<Change>) -> bool {
        let Some(line) = self.lines.get_mut(&machine) else { return false };
        let before = line.notes.clone();
        line.note(&changes);
        let kept = self.shared.outbox.keep(machine, &line.record, changes, &line.notes).await;
        let Err(error) = kept else { return true };
        tracing::error!(%error, "messages for another machine cannot be put on disk");
        let presence = line.presence;
        match Line::load(machine, &self.shared.outbox) {
            Ok(mut line) => {
                line.presence = presence;
                let lost =
                    before.into_iter().filter(|(number, _)| !line.notes.contains_key(number));
                for (_, note) in lost {
                    let why = "it could not be put on disk";
                    self.fail(&note, TransportError::Offline, why).await;
                }
                self.lines.insert(machine, line);
            }
            Err(_) => drop(self.lines.remove(&machine)),
        }
        false
    }

    /// Delivers what another machine says, or learns from it. What is to be answered.
    async fn take_envelope(
        &mut self,
        machine: PublicKey,
        body: &[u8],
        came: Came,
    ) -> Option<Outgoing> {
        let text = std::str::from_utf8(body).ok()?;
        let received =
            self.with_bridge(|bridge, around| bridge.receive_from(&machine, text, around)).await;
        match received {
            Ok(Received::Deliver { envelope, receipt }) => {
                let status = self.inject(&envelope).await;
                tracing::debug!(?came, ?status, "an envelope of another machine");
                receipt.map(|receipt| receipt.write(status, new_id()))
            }
            Ok(Received::Failed(envelope)) => {
                self.inject(&envelope).await;
                None
            }
            Ok(Received::Answer(outgoing)) => Some(outgoing),
            Ok(Received::Learned) => None,
            Ok(Received::Dropped(why)) | Err(why) => {
                tracing::debug!(%why, "dropped what another machine said");
                None
            }
        }
    }

    async fn inject(&self, envelope: &Envelope<'_>) -> AckStatus {
        let line = envelope.to_line();
        let line = String::from_utf8_lossy(&line);
        match self.shared.config.mesh.inject(line.trim_end()).await {
            Injection::Received => AckStatus::Received,
            Injection::Denied => AckStatus::Denied,
        }
    }

    /// Takes what the relay delivered, and answers it.
    pub(crate) async fn on_delivery(&mut self, delivery: Delivery) {
        let machine = delivery.from;
        let verdict = match (&delivery.message, self.lines.get_mut(&machine)) {
            (_, None) | (Message::App { .. }, _) => Verdict::Refused(Refusal::Unwanted),
            (Message::Sealed(sealed), Some(line)) => {
                match line.courier.on_sealed(sealed, &self.seals, wall_ms()) {
                    Ok(()) => {
                        self.work(machine).await;
                        Verdict::Received
                    }
                    // It is here already.
                    Err(OpenError::Replayed) => Verdict::Received,
                    Err(OpenError::NoSession | OpenError::TooOld) => {
                        Verdict::Refused(Refusal::NoSession)
                    }
                    Err(error) => {
                        tracing::warn!(%error, machine = machine.fingerprint(), "refused");
                        Verdict::Refused(Refusal::Malformed)
                    }
                }
            }
            (Message::Envelope(_), Some(line))
                if line.record.is_sealed_with || !self.shared.config.allow_clear =>
            {
                Verdict::Refused(Refusal::ClearRefused)
            }
            (Message::Envelope(text), Some(_)) => {
                if let Some(answer) =
                    self.take_envelope(machine, text.as_bytes(), Came::Clear).await
                {
                    self.send_clear(machine, answer.envelope, Sent::Unimportant).await;
                }
                Verdict::Received
            }
        };
        // The link has not ended: this holds its handle.
        let _ = self.link.answer(delivery.id, machine, verdict).await;
    }

    /// A message will not be carried, and its sender is told: with what it waits for, or later.
    pub(crate) fn give_up(&self, note: &Note, why: &str) {
        if let Some(id) = &note.id {
            self.shared.config.mesh.not_carried(&note.from, &note.to, id, why);
        }
    }

    /// A message cannot be carried now.
    async fn fail(&self, note: &Note, reason: TransportError, why: &str) {
        let Some(id) = note.id.as_deref().and_then(EnvelopeId::parse) else { return };
        if self.shared.config.mesh.is_refused(id, why) {
            return;
        }
        self.give_up(note, why);
        self.inject(&transport_error(&note.from, new_id(), id, reason)).await;
    }
}

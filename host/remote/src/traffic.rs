//! Envelopes to other machines.

use std::collections::BTreeSet;

use rp_link::Message;
use rp_mesh::{Stage, TraceStep};
use rp_protocol::courier::{Change, Effect};
use rp_protocol::key::PublicKey;
use rp_protocol::mesh::{EnvelopeId, TransportError};
use rp_protocol::relay::{Answer, MessageId, Refusal};
use rp_protocol::remote::{Kind, Outgoing, transport_error};
use rp_protocol::seal::session_of;

use crate::arrivals::{Came, NotHere};
use crate::door::Outbound;
use crate::files::wall_ms;
use crate::line::{Line, Path};
use crate::machine::{Answered, Machine, Session, new_id};
use crate::outbox::Note;

/// A message that may not wait is given up after this time when its machine does not answer:
/// whoever sent it waits no longer.
const SENDERS_PATIENCE_MS: u64 = 5_000;
/// How long nothing is tried again after the disk has failed, or when a machine of the old wire was
/// busy.
pub(crate) const REST_MS: u64 = 5_000;

const NOT_CONFIRMED: &str = "that machine has not said yet that it has it";
const NOT_CONNECTED: &str = "that machine is not connected";
const NOT_AUTHORISED: &str = "the relay does not know that both machines are one owner's";
const UNWANTED: &str = "that machine does not take part in a mesh with this one";

/// What was sent, for when the relay has answered.
pub(crate) enum Sent {
    /// Something sealed.
    Sealed(Session),
    /// An agent's message in the clear.
    Clear {
        body: Vec<u8>,
        note: Note,
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
            may_wait: carriage.may_wait,
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
                Kind::Message(id) => {
                    if let Some(line) = self.lines.get_mut(&one.to) {
                        line.awaited.note(id, &note.from, &note.to);
                    }
                    self.send_message(one, note.clone()).await;
                }
                Kind::Receipt | Kind::Inventory => self.send_inventories(vec![one]).await,
            }
        }
        touched
    }

    async fn send_message(&mut self, outgoing: Outgoing, note: Note) {
        let machine = outgoing.to;
        let Some(line) = self.lines.get_mut(&machine) else {
            return self.fail(&note, TransportError::Offline, "that machine is not known").await;
        };
        let body = outgoing.envelope;
        match line.path(self.shared.config.allow_clear) {
            // One that may wait stands in line behind those that do.
            Path::Clear if !(note.may_wait && line.waiting() > 0) => {
                self.trace(&note, Stage::Accepted, "in the clear");
                let sent = Sent::Clear { body: body.clone(), note, number: None };
                self.send_clear(machine, body, sent).await;
            }
            Path::None if !note.may_wait => {
                self.fail(&note, TransportError::Offline, NOT_CONNECTED).await;
            }
            Path::Sealed => match line.take_message(body, note.clone()) {
                // The rest is done for all that are sent at once.
                Ok(_) => self.trace(&note, Stage::Stored, "sealed"),
                Err(error) => {
                    self.fail(&note, TransportError::Offline, &error.to_string()).await;
                }
            },
            Path::Clear | Path::None => self.keep_for_later(machine, body, note).await,
        }
    }

    /// Takes a message for when its machine is there, and says so once it is on disk.
    async fn keep_for_later(&mut self, machine: PublicKey, body: Vec<u8>, note: Note) {
        let Some(line) = self.lines.get_mut(&machine) else { return };
        match line.take_message(body, note.clone()) {
            Ok(_) if self.work(machine).await => {
                self.trace(&note, Stage::Stored, "until that machine is connected");
                self.say_that_it_waits(&note, NOT_CONNECTED);
            }
            // Who waits for it has been told already.
            Ok(_) => {}
            Err(error) => self.fail(&note, TransportError::Offline, &error.to_string()).await,
        }
    }

    /// Whoever waits for word about a message is told that it is on disk for later.
    fn say_that_it_waits(&self, note: &Note, why: &str) {
        if let Some(id) = note.id.as_deref().and_then(EnvelopeId::parse) {
            self.shared.config.mesh.is_kept(id, why);
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

    pub(crate) async fn send_clear(&mut self, machine: PublicKey, body: Vec<u8>, sent: Sent) {
        let Ok(text) = String::from_utf8(body) else { return };
        self.send(machine, Message::Envelope(text), sent).await;
    }

    async fn send(&self, machine: PublicKey, message: Message, sent: Sent) {
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        if let Ok(answers) = self.link.send(id, machine, message).await {
            self.note_answer(machine, sent, answers);
        }
    }

    /// Sends the first message that waits for a machine of the old wire, unless one is under way:
    /// so they arrive in order, and none twice.
    pub(crate) async fn send_what_waits_in_the_clear(&mut self, machine: PublicKey) {
        let Some(line) = self.lines.get_mut(&machine) else { return };
        let is_free = line.clear_under_way.is_none() && line.rests_until_ms <= wall_ms();
        if !is_free || line.path(self.shared.config.allow_clear) != Path::Clear {
            return;
        }
        let Some((number, note)) = line.notes.iter().find(|(_, note)| note.id.is_some()) else {
            return;
        };
        let (number, note) = (*number, note.clone());
        match self.shared.outbox.body(&machine, number) {
            Ok(Some(body)) => {
                line.clear_under_way = Some(number);
                let sent = Sent::Clear { body: body.clone(), note, number: Some(number) };
                self.send_clear(machine, body, sent).await;
            }
            // It is not on disk yet, or the disk cannot be read.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a message that waits cannot be read");
                line.rests_until_ms = wall_ms() + REST_MS;
            }
        }
    }

    pub(crate) async fn on_answered(&mut self, answered: Answered) {
        let Answered { machine, sent, answer } = answered;
        if matches!(answer, Answer::Refused(Refusal::NotAuthorised | Refusal::Unwanted)) {
            // What an owner has changed shows in the next membership.
            self.hurry();
        }
        match sent {
            Sent::Unimportant => {}
            Sent::Sealed(session) => {
                let Some(line) = self.lines.get_mut(&machine) else { return };
                line.courier.on_answer(session, answer);
                self.on_sealed_answer(machine, answer).await;
            }
            Sent::Clear { note, number: Some(number), .. } => {
                self.on_waited_in_the_clear(machine, number, &note, answer);
            }
            Sent::Clear { note, body, number: None } => {
                self.on_clear_answer(machine, note, body, answer).await;
            }
        }
        self.work(machine).await;
        self.send_what_waits_in_the_clear(machine).await;
    }

    /// Tells those who wait for word about what is on its way to a machine that it is not there.
    async fn on_sealed_answer(&mut self, machine: PublicKey, answer: Answer) {
        let (reason, why) = match answer {
            Answer::Offline { .. } | Answer::Lost => (TransportError::Offline, NOT_CONNECTED),
            Answer::Refused(Refusal::NotAuthorised) => {
                (TransportError::NotAuthorized, NOT_AUTHORISED)
            }
            Answer::Refused(Refusal::Unwanted) => (TransportError::NotAuthorized, UNWANTED),
            _ => return,
        };
        let Some(line) = self.lines.get_mut(&machine) else { return };
        // What is lost may have arrived: whoever cannot wait is told when their time is over.
        let failed = match answer {
            Answer::Lost => Vec::new(),
            _ => line.take_back_impatient(),
        };
        let waiting: Vec<Note> =
            line.notes.values().filter(|note| note.may_wait).cloned().collect();
        if self.work(machine).await {
            for note in failed {
                self.fail(&note, reason, why).await;
            }
        }
        waiting.iter().for_each(|note| self.say_that_it_waits(note, why));
    }

    fn on_waited_in_the_clear(
        &mut self,
        machine: PublicKey,
        number: u64,
        note: &Note,
        answer: Answer,
    ) {
        let Some(line) = self.lines.get_mut(&machine) else { return };
        line.clear_under_way = None;
        match answer {
            Answer::Received | Answer::Handed => {
                line.notes.remove(&number);
                line.courier.withdraw(number);
                self.trace(note, Stage::Accepted, "in the clear");
            }
            Answer::Busy { retry_after_ms } => {
                line.rests_until_ms = wall_ms() + retry_after_ms.clamp(1_000, REST_MS);
            }
            // It goes on waiting.
            _ => line.rests_until_ms = wall_ms() + REST_MS,
        }
    }

    async fn on_clear_answer(
        &mut self,
        machine: PublicKey,
        note: Note,
        body: Vec<u8>,
        answer: Answer,
    ) {
        match answer {
            Answer::Accepted | Answer::Received | Answer::Handed => {}
            Answer::Offline { .. } | Answer::Lost | Answer::Busy { .. } if note.may_wait => {
                self.keep_for_later(machine, body, note).await;
            }
            Answer::Refused(Refusal::NotAuthorised) => {
                self.fail(&note, TransportError::NotAuthorized, NOT_AUTHORISED).await;
            }
            Answer::Refused(Refusal::TooLarge) => {
                let why = "it is too long for the relay";
                self.fail(&note, TransportError::BadEnvelope, why).await;
            }
            Answer::Refused(Refusal::ClearRefused) => {
                let why = "that machine takes nothing in the clear";
                self.fail(&note, TransportError::NotAuthorized, why).await;
            }
            Answer::Busy { .. } => {
                let why = "too much is on its way to that machine";
                self.fail(&note, TransportError::Offline, why).await;
            }
            Answer::Offline { .. } | Answer::Lost | Answer::Refused(_) => {
                self.fail(&note, TransportError::Offline, NOT_CONNECTED).await;
            }
        }
    }

    /// Does what a courier wants done: first on disk, then on the link. If that fails, all is as it
    /// is on disk.
    pub(crate) async fn work(&mut self, machine: PublicKey) -> bool {
        loop {
            let Ok(Wanted { changes, sealed }) = self.what_is_wanted(machine).await else {
                let before = self.lines.get(&machine).map(|line| line.notes.clone());
                self.reload(machine, before.unwrap_or_default()).await;
                return false;
            };
            if changes.is_empty() && sealed.is_empty() {
                return self.lines.contains_key(&machine);
            }
            if !changes.is_empty() && !self.keep_changes(machine, changes).await {
                return false;
            }
            for message in sealed {
                let session = session_of(&message);
                self.send(machine, Message::Sealed(message), Sent::Sealed(session)).await;
            }
        }
    }

    /// Hands over what was received, and collects everything that is to be kept and sent, receipts
    /// included, so that it is on disk at once.
    ///
    /// A message is with its recipient before it counts as received: whatever crashes in between
    /// brings it again, and a mailbox takes an id once.
    async fn what_is_wanted(&mut self, machine: PublicKey) -> Result<Wanted, NotHere> {
        let mut wanted = Wanted::default();
        loop {
            let Some(line) = self.lines.get_mut(&machine) else { return Ok(wanted) };
            let effects = line.courier.effects(&self.seals, wall_ms());
            if effects.is_empty() {
                return Ok(wanted);
            }
            for effect in effects {
                let change = match effect {
                    Effect::Send(message) => {
                        wanted.sealed.push(message);
                        continue;
                    }
                    Effect::Keep(change) => change,
                };
                if let Change::Received { body, .. } = &change {
                    let answer = self.take_envelope(machine, body, Came::Sealed).await?;
                    if let (Some(answer), Some(line)) = (answer, self.lines.get_mut(&machine)) {
                        // Without room for it the sender hears nothing, as when it is lost.
                        let _ = line.courier.take(answer.envelope);
                    }
                }
                wanted.changes.push(change);
            }
        }
    }

    async fn keep_changes(&mut self, machine: PublicKey, changes: Vec<Change>) -> bool {
        let Some(line) = self.lines.get_mut(&machine) else { return false };
        let before = line.notes.clone();
        line.note(&changes);
        let patient: Vec<EnvelopeId> = line.patient(&changes).collect();
        let kept = self.shared.outbox.keep(machine, &line.record, changes, &line.notes).await;
        let Err(error) = kept else {
            let mesh = &self.shared.config.mesh;
            patient.into_iter().for_each(|id| mesh.is_on_its_way(id, NOT_CONFIRMED));
            return true;
        };
        tracing::error!(%error, "messages for another machine cannot be put on disk");
        self.reload(machine, before).await;
        false
    }

    /// Goes back to what is on disk, where less may be than in `before`.
    async fn reload(&mut self, machine: PublicKey, before: Notes) {
        let Some(old) = self.lines.remove(&machine) else { return };
        let mut line = match Line::load(machine, &self.shared.outbox) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "what waits for a machine cannot be read");
                self.missing_until_ms = Some(self.now_ms() + REST_MS);
                return;
            }
        };
        line.presence = old.presence;
        line.awaited = old.awaited;
        line.rests_until_ms = wall_ms() + REST_MS;
        if line.path(self.shared.config.allow_clear) == Path::Sealed {
            line.courier.on_online();
        }
        let lost = before.into_iter().filter(|(number, _)| !line.notes.contains_key(number));
        let lost: Vec<Note> = lost.map(|(_, note)| note).collect();
        self.lines.insert(machine, line);
        for note in lost {
            self.fail(&note, TransportError::Offline, "it could not be put on disk").await;
        }
    }

    /// A message will not be carried, and its sender is told: with what it waits for, or later.
    pub(crate) fn give_up(&self, note: &Note, why: &str) {
        if let Some(id) = &note.id {
            self.shared.config.mesh.not_carried(&note.from, &note.to, id, why);
        }
    }

    /// The time of a message is over.
    pub(crate) async fn has_expired(&self, note: &Note) {
        match note.may_wait {
            true => self.give_up(note, "it expired before that machine confirmed it"),
            false => {
                let why = "that machine did not confirm it in time";
                self.fail(note, TransportError::Offline, why).await;
            }
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

/// What a courier wants done, in this order.
#[derive(Default)]
struct Wanted {
    changes: Vec<Change>,
    sealed: Vec<Vec<u8>>,
}

type Notes = std::collections::BTreeMap<u64, Note>;

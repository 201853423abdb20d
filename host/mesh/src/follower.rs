//! Taking part while another program leads: one connection to its broker for each agent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rp_protocol::mesh::{
    BROADCAST, BROKER, Destination, Envelope, EnvelopeId, Inbound, LineDecoder, Notice,
    RegisterAck, RegisterReply, RosterEntry, classify, is_drive_path, parse_roster, split_alias,
    write_roster_request,
};
use rp_protocol::routing::{self, Direction};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::agent::AgentId;
use crate::broker::Surroundings;
use crate::connection::{Appended, Connection, lock};
use crate::deliver::{Settled, incoming, released, stored};
use crate::event::MeshEvent;
use crate::judge::{Question, Verdict, judge};
use crate::mailbox::{HeldMessage, Origin, Refused};
use crate::member::Member;
use crate::receipt::{Delivery, Outcome};
use crate::roster::{Link, Peer};
use crate::serve::READ_BYTES;

/// How long the leader may take to register an agent.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(5);
/// How long the leader may take to tell the roster.
const ROSTER_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait for an acknowledgement.
pub(crate) const ACK_PATIENCE: Duration = Duration::from_secs(5);

/// What follows a leader.
pub(crate) struct Follower {
    around: Arc<Surroundings>,
    links: Mutex<HashMap<AgentId, Arc<Uplink>>>,
    /// The roster as the leader told it last.
    roster: Mutex<Vec<RosterEntry>>,
}

/// One agent's connection to the leader, registered.
struct Uplink {
    peer: Peer,
    connection: Arc<Connection>,
    roster_waits: Mutex<HashMap<EnvelopeId, oneshot::Sender<()>>>,
}

/// Takes an agent's link off when its task ends, whatever ended it.
struct LinkGuard<'a> {
    follower: &'a Follower,
    member: &'a Member,
    connection: Arc<Connection>,
}

impl Drop for LinkGuard<'_> {
    fn drop(&mut self) {
        self.connection.close();
        lock(&self.follower.links).remove(&self.member.agent);
        self.member.set_address(None);
    }
}

impl Follower {
    pub(crate) fn new(around: Arc<Surroundings>) -> Self {
        Follower { around, links: Mutex::new(HashMap::new()), roster: Mutex::new(Vec::new()) }
    }

    /// Registers an agent over a fresh connection and serves it until the connection ends.
    /// Returns whether it was registered.
    pub(crate) async fn run_link(&self, member: &Member, stream: UnixStream) -> bool {
        let limits = &self.around.config.limits;
        let (mut reader, writer) = stream.into_split();
        let connection = Arc::new(Connection::new(writer, limits.queue_bytes));
        let _guard = LinkGuard { follower: self, member, connection: Arc::clone(&connection) };
        let mut decoder = LineDecoder::new(limits.line_bytes);
        let drain = connection.drain();
        tokio::pin!(drain);
        send(&connection, |line| member.request.write(line));
        let registered = timeout(REGISTRATION_PATIENCE, async {
            tokio::select! {
                registered = read_register_ack(&mut reader, &mut decoder) => registered,
                () = &mut drain => None,
            }
        });
        let Ok(Some(assigned)) = registered.await else {
            return false;
        };
        let link = Arc::new(Uplink {
            peer: Peer::new(
                &assigned.address,
                &member.request.cwd,
                &assigned.name,
                member.harness.as_deref(),
                Link::Mailbox(member.agent.clone(), member.origin),
            ),
            connection: Arc::clone(&connection),
            roster_waits: Mutex::new(HashMap::new()),
        });
        lock(&self.links).insert(member.agent.clone(), Arc::clone(&link));
        member.set_address(Some(&assigned.address));
        self.ask_roster(&link);
        loop {
            if !self.take_lines(&link, member, &mut decoder) {
                return true;
            }
            tokio::select! {
                read = reader.read_buf(decoder.buffer(READ_BYTES)) => match read {
                    Ok(0) | Err(_) => return true,
                    Ok(_) => {}
                },
                () = &mut drain => return true,
            }
        }
    }

    /// Handles all complete lines. False when the connection is of no use any more.
    fn take_lines(&self, link: &Uplink, member: &Member, decoder: &mut LineDecoder) -> bool {
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => {
                    let line = String::from_utf8_lossy(line);
                    if let Ok(envelope) = Envelope::parse(&line) {
                        self.receive(link, member, envelope);
                    }
                }
                Ok(None) => return true,
                Err(error) => {
                    tracing::warn!(%error, "the leader's connection is of no use");
                    return false;
                }
            }
        }
    }

    fn receive(&self, link: &Uplink, member: &Member, envelope: Envelope<'_>) {
        let inbound = classify(&envelope);
        if inbound != Inbound::Message {
            return self.around.acks.settle(&inbound, &envelope.from);
        }
        if envelope.from == BROKER {
            return self.hear_router(link, member, &envelope);
        }
        self.deliver(link, envelope);
    }

    /// Handles what the leader itself says: the roster and its changes.
    fn hear_router(&self, link: &Uplink, member: &Member, envelope: &Envelope<'_>) {
        let kind = envelope.body.type_name();
        if kind.as_deref() == Some("list_peers_reply") {
            if let Some(entries) = parse_roster(envelope.body.as_str()) {
                *lock(&self.roster) = entries;
            }
            let waiting = envelope.re.and_then(|re| lock(&link.roster_waits).remove(&re));
            if let Some(told) = waiting {
                // The one who waited may have given up.
                let _ = told.send(());
            }
            return;
        }
        // Every agent's connection hears the same changes; one is enough.
        if member.origin != Origin::Person {
            return;
        }
        let joined = kind.as_deref() == Some(Notice::PeerJoined.type_name());
        let left = kind.as_deref() == Some(Notice::PeerLeft.type_name());
        let Some(address) =
            (joined || left).then(|| notice_address(envelope.body.as_str())).flatten()
        else {
            return;
        };
        self.ask_roster(link);
        self.around.tell(if joined {
            MeshEvent::PeerJoined { address }
        } else {
            MeshEvent::PeerLeft { address }
        });
    }

    /// Puts a message into the agent's mailbox, if the policy lets it. The leader has told its
    /// sender already that it arrived.
    fn deliver(&self, link: &Uplink, mut envelope: Envelope<'_>) {
        let now_ms = self.around.now_ms();
        let sibling = self.sibling(&envelope.from);
        let verdict = match &sibling {
            // Decided when it was sent; the leader vouches for the sender.
            Some(_) => Verdict::Deliver,
            None => self.judge_inbound(link, &envelope, now_ms),
        };
        let origin = sibling.map_or(Origin::Agent, |sibling| sibling.peer.origin());
        match verdict {
            Verdict::Deliver => self.store(link, &envelope, origin, None),
            Verdict::Rewrite(body) => {
                envelope.body = body;
                self.store(link, &envelope, origin, None);
            }
            Verdict::Deny(_) => tracing::debug!("the routing policy refused an envelope"),
            Verdict::Hold(held) => {
                let to = match &held.recipients {
                    Some(addresses) => addresses.join("\n"),
                    None => link.peer.address.to_string(),
                };
                let reason = held.put_into(&mut envelope);
                self.hold(&envelope, origin, &to, reason, drop);
            }
            Verdict::Redirect(addresses) => {
                for address in addresses {
                    match self.sibling(&address) {
                        Some(sibling) => self.store(&sibling, &envelope, origin, None),
                        None => self.hold(
                            &envelope,
                            origin,
                            &address,
                            "the routing policy redirected it to a peer that only the leading \
                             program can reach"
                                .to_owned(),
                            drop,
                        ),
                    }
                }
            }
        }
    }

    fn judge_inbound(&self, link: &Uplink, envelope: &Envelope<'_>, now_ms: u64) -> Verdict {
        let known = self.known(&envelope.from);
        let sender = facts_of(known.as_ref(), &envelope.from);
        let direction = match sender.pc {
            Some(_) => Direction::Inbound,
            None => Direction::Local,
        };
        judge(
            self.around.policy.as_ref(),
            self.around.config.limits.line_bytes,
            &Question {
                direction,
                sender,
                recipients: &[link.peer.facts()],
                envelope,
                sent_last_minute: self.around.strangers.count_sent(&envelope.from, now_ms),
                now_ms,
            },
        )
    }

    fn store(
        &self,
        link: &Uplink,
        envelope: &Envelope<'_>,
        origin: Origin,
        told: Option<oneshot::Sender<Outcome>>,
    ) {
        let Link::Mailbox(agent, _) = &link.peer.link else {
            return;
        };
        let sender = self.sibling(&envelope.from).and_then(|sibling| sibling.peer.agent());
        let Some(incoming) = incoming(envelope, &link.peer.address, origin, sender) else {
            return;
        };
        let now_ms = self.around.now_ms();
        self.around.mailboxes.accept(agent, incoming, now_ms, move |result| {
            if let Err(refused) = &result {
                tracing::warn!(%refused, "a message that the leader acknowledged is lost");
            }
            if let Some(told) = told {
                // The one who waited may have given up.
                let _ = told.send(stored(result));
            }
        });
    }

    fn hold(
        &self,
        envelope: &Envelope<'_>,
        origin: Origin,
        recipient: &str,
        reason: String,
        told: impl FnOnce(Result<(), Refused>) + Send + 'static,
    ) {
        let Some(message) = incoming(envelope, recipient, origin, None) else {
            return;
        };
        let held = HeldMessage {
            message,
            recipients: envelope_recipients(envelope, recipient),
            reason,
            held_at_ms: self.around.now_ms(),
        };
        let around = Arc::clone(&self.around);
        let event = MeshEvent::EnvelopeHeld { id: envelope.id, reason: held.reason.clone() };
        self.around.mailboxes.hold(held, move |result| {
            match &result {
                Ok(()) => around.tell(event),
                Err(refused) => tracing::warn!(%refused, "a message could not be held back"),
            }
            told(result);
        });
    }

    /// The link of the agent of this host that has this address.
    fn sibling(&self, address: &str) -> Option<Arc<Uplink>> {
        lock(&self.links).values().find(|link| &*link.peer.address == address).cloned()
    }

    fn known(&self, address: &str) -> Option<RosterEntry> {
        lock(&self.roster).iter().find(|entry| entry.address == address).cloned()
    }

    fn link(&self, agent: &AgentId) -> Option<Arc<Uplink>> {
        lock(&self.links).get(agent).cloned()
    }

    fn ask_roster(&self, link: &Uplink) -> EnvelopeId {
        let id = self.around.ids.next(self.around.now_ms());
        self.request_roster(link, id);
        id
    }

    fn request_roster(&self, link: &Uplink, id: EnvelopeId) {
        send(&link.connection, |line| {
            write_roster_request(line, &link.peer.address, id);
        });
    }

    async fn refresh_roster(&self, link: &Uplink) {
        let id = self.around.ids.next(self.around.now_ms());
        let (tell, told) = oneshot::channel();
        lock(&link.roster_waits).insert(id, tell);
        self.request_roster(link, id);
        if timeout(ROSTER_PATIENCE, told).await.is_err() {
            lock(&link.roster_waits).remove(&id);
        }
    }

    /// The roster, as the leader tells it now or told it last.
    pub(crate) async fn roster(&self) -> Vec<RosterEntry> {
        let any = lock(&self.links).values().next().cloned();
        if let Some(link) = any {
            self.refresh_roster(&link).await;
        }
        lock(&self.roster).clone()
    }

    /// The addresses of this host's agents.
    pub(crate) fn own(&self) -> Vec<(AgentId, String)> {
        lock(&self.links)
            .iter()
            .map(|(agent, link)| (agent.clone(), link.peer.address.to_string()))
            .collect()
    }

    pub(crate) fn address(&self, agent: &AgentId) -> Option<String> {
        self.link(agent).map(|link| link.peer.address.to_string())
    }

    /// Sends an agent's envelope through the leader. `None` when the agent is not registered.
    pub(crate) async fn send(
        &self,
        agent: &AgentId,
        mut envelope: Envelope<'static>,
    ) -> Option<Settled> {
        let link = self.link(agent)?;
        self.refresh_roster(&link).await;
        match self.judge_outbound(&link, &envelope) {
            Verdict::Deliver => {}
            Verdict::Rewrite(body) => envelope.body = body,
            Verdict::Redirect(addresses) => {
                let mut settled = Settled { redirected: true, ..Settled::default() };
                for address in addresses {
                    envelope.to = Destination::One(Cow::Owned(address));
                    settled.deliveries.extend(self.pass_on(&link, &envelope).await);
                }
                return Some(settled);
            }
            Verdict::Deny(reason) => return Some(for_each(&envelope, Outcome::denied(&reason))),
            Verdict::Hold(held) => {
                let reason = held.put_into(&mut envelope);
                return Some(self.hold_outbound(&link, &envelope, reason).await);
            }
        }
        Some(Settled { redirected: false, deliveries: self.pass_on(&link, &envelope).await })
    }

    async fn hold_outbound(
        &self,
        link: &Uplink,
        envelope: &Envelope<'_>,
        reason: String,
    ) -> Settled {
        let (tell, told) = oneshot::channel();
        let to = envelope.to.to_text();
        self.hold(envelope, link.peer.origin(), &to, reason.clone(), |result| {
            // The one who waited may have given up.
            let _ = tell.send(result);
        });
        let outcome = match told.await {
            Ok(Ok(())) => Outcome::Held { reason },
            Ok(Err(refused)) => Outcome::denied(&refused.to_string()),
            Err(_) => Outcome::Timeout,
        };
        for_each(envelope, outcome)
    }

    fn judge_outbound(&self, link: &Uplink, envelope: &Envelope<'_>) -> Verdict {
        let roster = lock(&self.roster).clone();
        let is_broadcast = envelope.to.addresses().eq([BROADCAST]);
        let recipients: Vec<routing::Peer<'_>> = roster
            .iter()
            .filter(|entry| {
                if is_broadcast {
                    entry.pc.is_none()
                        && entry.cwd == link.peer.cwd
                        && *entry.address != *link.peer.address
                } else {
                    envelope.to.addresses().any(|address| address == entry.address)
                }
            })
            .map(|entry| facts_of(Some(entry), &entry.address))
            .collect();
        let now_ms = self.around.now_ms();
        judge(
            self.around.policy.as_ref(),
            self.around.config.limits.line_bytes,
            &Question {
                direction: if recipients.iter().any(|peer| peer.pc.is_some()) {
                    Direction::Outbound
                } else {
                    Direction::Local
                },
                sender: link.peer.facts(),
                recipients: &recipients,
                envelope,
                sent_last_minute: link.peer.count_sent(now_ms),
                now_ms,
            },
        )
    }

    /// Writes an envelope to the leader. Waits for the acknowledgement where there will be one.
    async fn pass_on(&self, link: &Uplink, envelope: &Envelope<'_>) -> Vec<Delivery> {
        let delivery = |address: &str, outcome| Delivery { address: address.to_owned(), outcome };
        let destination = match &envelope.to {
            Destination::One(address) if address != BROADCAST => address,
            to => {
                let sent = send(&link.connection, |line| envelope.write(line));
                return to
                    .addresses()
                    .filter(|address| *address == BROADCAST || self.known(address).is_some())
                    .map(|address| {
                        delivery(address, if sent { Outcome::Sent } else { Outcome::Timeout })
                    })
                    .collect();
            }
        };
        if self.known(destination).is_none() && !may_be_remote(destination) {
            return Vec::new();
        }
        let wait = self.around.acks.expect(envelope.id, destination);
        if !send(&link.connection, |line| envelope.write(line)) {
            return vec![delivery(destination, Outcome::Timeout)];
        }
        let outcome = wait.outcome(ACK_PATIENCE).await;
        vec![delivery(destination, outcome)]
    }

    /// Delivers what a person has allowed.
    pub(crate) async fn release(&self, held: &HeldMessage) -> Settled {
        let mut settled = Settled::default();
        let Some(envelope) = released(held) else {
            return settled;
        };
        if let Some(sender) = self.sibling(&envelope.from) {
            settled.deliveries = self.pass_on(&sender, &envelope).await;
            return settled;
        }
        for address in &held.recipients {
            let Some(recipient) = self.sibling(address) else {
                continue;
            };
            let (tell, told) = oneshot::channel();
            self.store(&recipient, &envelope, held.message.origin, Some(tell));
            let address = address.clone();
            let outcome = match timeout(ACK_PATIENCE, told).await {
                Ok(Ok(outcome)) => outcome,
                _ => Outcome::Timeout,
            };
            settled.deliveries.push(Delivery { address, outcome });
        }
        settled
    }
}

/// Whom a held envelope is for: the one agent that received it, or all it was sent to.
fn envelope_recipients(envelope: &Envelope<'_>, recipient: &str) -> Vec<String> {
    if envelope.to.to_text() == recipient {
        envelope.to.addresses().map(str::to_owned).collect()
    } else {
        vec![recipient.to_owned()]
    }
}

/// Whether another machine could have the address: its roster need not be known here.
fn may_be_remote(destination: &str) -> bool {
    !destination.starts_with('/')
        && !is_drive_path(destination)
        && split_alias(destination).is_some()
}

fn facts_of<'a>(entry: Option<&'a RosterEntry>, address: &'a str) -> routing::Peer<'a> {
    routing::Peer {
        pc: entry.and_then(|entry| entry.pc.as_deref()),
        cwd: entry.map_or("", |entry| &entry.cwd),
        name: entry.map_or(address, |entry| &entry.name),
        address,
        harness: None,
        person: false,
    }
}

fn for_each(envelope: &Envelope<'_>, outcome: Outcome) -> Settled {
    Settled {
        redirected: false,
        deliveries: envelope
            .to
            .addresses()
            .map(|address| Delivery { address: address.to_owned(), outcome: outcome.clone() })
            .collect(),
    }
}

/// Appends a line and writes it. False when the connection is closed.
fn send(connection: &Connection, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    match connection.append(write) {
        Appended::FlushNeeded => connection.flush(),
        Appended::Queued => {}
        Appended::Overflowed | Appended::Closed => return false,
    }
    true
}

/// The answer to the registration: the first line that is JSON. `None` when it is of no use.
async fn read_register_ack(
    reader: &mut OwnedReadHalf,
    decoder: &mut LineDecoder,
) -> Option<RegisterAck> {
    loop {
        while let Some(line) = decoder.next_line().ok()? {
            match RegisterAck::parse(&String::from_utf8_lossy(line)) {
                RegisterReply::Registered(assigned) => return Some(assigned),
                RegisterReply::Failed => return None,
                RegisterReply::Noise => {}
            }
        }
        if reader.read_buf(decoder.buffer(READ_BYTES)).await.ok()? == 0 {
            return None;
        }
    }
}

/// The address in a notice; routers of old only name it.
fn notice_address(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let field = body.get("address").or_else(|| body.get("name"))?;
    field.as_str().map(str::to_owned)
}

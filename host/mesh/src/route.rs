//! How an envelope finds its way.

use std::borrow::Cow;
use std::sync::Arc;

use rp_protocol::mesh::{
    BROADCAST, BROKER, Destination, Envelope, Inbound, RosterEntry, asks_for_roster, classify,
    is_drive_path, split_alias,
};
use rp_protocol::routing::{self, Direction};
use tokio::sync::oneshot;

use crate::audit::Via;
use crate::bridge::{Bridge, Carriage};
use crate::broker::{Batch, Broker};
use crate::deliver::{Parcel, Reply, Settled, is_one, released};
use crate::judge::{Held, Question, Verdict, judge};
use crate::mailbox::HeldMessage;
use crate::receipt::{Delivery, Outcome};
use crate::roster::{Link, Peer};

const BRIDGE_FULL: &str = "too much waits for other machines; try again later";

impl Broker {
    /// Handles one line of a registered peer. What is not an envelope is ignored.
    pub(crate) fn route_line(
        self: &Arc<Self>,
        sender: &Arc<Peer>,
        line: &str,
        batch: &mut Batch<'_>,
    ) {
        let Ok(mut envelope) = Envelope::parse(line) else {
            return;
        };
        envelope.from = Cow::Borrowed(&sender.address);
        if is_one(&envelope.to, BROKER) {
            if let Link::Socket(connection) = &sender.link
                && asks_for_roster(&envelope)
            {
                self.answer_roster(connection, Some((&sender.address, envelope.id)), batch);
            }
            return;
        }
        self.route(sender, envelope, None, Reply::Wire(Arc::clone(sender)), batch);
    }

    /// Sends an envelope of a registered peer where it belongs. `from` is the peer's address.
    /// The time only counts in mailboxes of this host: everybody else has the message at once.
    pub(crate) fn route(
        self: &Arc<Self>,
        sender: &Arc<Peer>,
        envelope: Envelope<'_>,
        expires_at_ms: Option<u64>,
        reply: Reply,
        batch: &mut Batch<'_>,
    ) {
        if let Some(bridge) = self.bridge_for(&envelope.to) {
            let carriage = Carriage {
                may_wait: matches!(reply, Reply::Host(_))
                    && expires_at_ms.is_none_or(|at_ms| at_ms > batch.now_ms),
                expires_at_ms,
            };
            return self.route_outbound(sender, envelope, carriage, reply, bridge.as_ref(), batch);
        }
        let recipients = self.resolve(sender, &envelope.to);
        let about = About {
            direction: Direction::Local,
            sender: sender.facts(),
            sent_last_minute: sender.count_sent(batch.now_ms),
        };
        let verdict = self.verdict(&about, &recipients, &envelope, batch.now_ms);
        let parcel = Parcel {
            envelope,
            origin: sender.origin(),
            sender: sender.agent(),
            recipients,
            via: Via::Local,
            redirected: false,
            expires_at_ms,
            reply,
        };
        self.obey(verdict, parcel, &about, batch);
    }

    fn obey(
        self: &Arc<Self>,
        verdict: Verdict,
        mut parcel: Parcel<'_>,
        about: &About<'_>,
        batch: &mut Batch<'_>,
    ) {
        match verdict {
            Verdict::Deliver => self.dispatch(parcel, batch),
            Verdict::Rewrite(body) => {
                parcel.envelope.body = body;
                self.dispatch(parcel, batch);
            }
            Verdict::Redirect(addresses) => self.redirect(&addresses, None, parcel, about, batch),
            Verdict::Deny(reason) => self.deny(parcel, &reason, batch),
            Verdict::Hold(mut held) => match held.recipients.take() {
                None => self.hold(parcel, held, batch),
                Some(addresses) => self.redirect(&addresses, Some(held), parcel, about, batch),
            },
        }
    }

    /// Sends a parcel to others than those its sender named, or has it wait for a person with
    /// them as its recipients.
    fn redirect(
        self: &Arc<Self>,
        addresses: &[String],
        waits: Option<Held>,
        mut parcel: Parcel<'_>,
        about: &About<'_>,
        batch: &mut Batch<'_>,
    ) {
        let named = addresses.iter().map(String::as_str);
        parcel.recipients = self.exact(about.sender.address, named);
        parcel.redirected = true;
        if parcel.recipients.is_empty() {
            return self.deny(parcel, "the routing policy named nobody who is here", batch);
        }
        // Nobody has decided yet about those it goes to now.
        let again = self.verdict(about, &parcel.recipients, &parcel.envelope, batch.now_ms);
        let sent_on = match &again {
            Verdict::Redirect(to) => Some(to),
            Verdict::Hold(held) => held.recipients.as_ref(),
            _ => None,
        };
        if sent_on.is_some_and(|to| to != addresses) {
            return self.deny(parcel, "the routing policy sends it on and on", batch);
        }
        let verdict = match (again, waits) {
            (Verdict::Hold(held), waits) => {
                let body = held.body.or_else(|| waits.and_then(|waits| waits.body));
                Verdict::Hold(Held { body, recipients: None, ..held })
            }
            (Verdict::Rewrite(body), Some(waits)) => {
                Verdict::Hold(Held { body: Some(body), ..waits })
            }
            (Verdict::Deliver | Verdict::Redirect(_), Some(waits)) => Verdict::Hold(waits),
            // Those it is sent to are the recipients already.
            (Verdict::Redirect(_), None) => Verdict::Deliver,
            (again, _) => again,
        };
        self.obey(verdict, parcel, about, batch);
    }

    fn verdict(
        &self,
        about: &About<'_>,
        recipients: &[Arc<Peer>],
        envelope: &Envelope<'_>,
        now_ms: u64,
    ) -> Verdict {
        let one;
        let many: Vec<routing::Peer<'_>>;
        let recipients = match recipients {
            [peer] => {
                one = [peer.facts()];
                one.as_slice()
            }
            peers => {
                many = peers.iter().map(|peer| peer.facts()).collect();
                many.as_slice()
            }
        };
        judge(
            self.around.policy.as_ref(),
            self.around.config.limits.line_bytes,
            &Question {
                direction: about.direction,
                sender: about.sender,
                recipients,
                envelope,
                sent_last_minute: about.sent_last_minute,
                now_ms,
            },
        )
    }

    /// The peers that a destination means right now, never the sender itself.
    fn resolve(&self, sender: &Arc<Peer>, to: &Destination<'_>) -> Vec<Arc<Peer>> {
        if is_one(to, BROADCAST) {
            return self.with_roster(|roster| {
                roster
                    .peers()
                    .iter()
                    .filter(|peer| peer.cwd == sender.cwd && !Arc::ptr_eq(peer, sender))
                    .cloned()
                    .collect()
            });
        }
        self.exact(&sender.address, to.addresses())
    }

    fn exact<'a>(&self, sender: &str, addresses: impl Iterator<Item = &'a str>) -> Vec<Arc<Peer>> {
        self.with_roster(|roster| {
            addresses
                .filter(|address| *address != sender)
                .filter_map(|address| roster.get(address).cloned())
                .collect()
        })
    }

    /// Delivers what a person has allowed, to those of its recipients who are here.
    pub(crate) fn release(self: &Arc<Self>, held: &HeldMessage, told: oneshot::Sender<Settled>) {
        let Some(envelope) = released(held) else {
            return;
        };
        let mut batch = Batch::new(self);
        // One for another machine has no recipients here, unless a policy sent it to some.
        let to = match held.recipients.as_slice() {
            [] => Some(held.message.to.as_str()),
            [one] => Some(one.as_str()),
            _ => None,
        };
        let to = to.map(|to| Destination::One(Cow::Borrowed(to)));
        if let Some(to) = to
            && let Some(bridge) = self.bridge_for(&to)
        {
            let carriage = Carriage { may_wait: true, expires_at_ms: None };
            let envelope = Envelope { to, ..envelope };
            // If it takes it, the other machine's router answers.
            if !bridge.send(&envelope, carriage) {
                let outcome = Outcome::denied(BRIDGE_FULL);
                let deliveries = vec![Delivery { address: held.message.to.clone(), outcome }];
                // The one who waited may have given up.
                let _ = told.send(Settled { redirected: false, deliveries });
            }
            return;
        }
        let recipients = self.exact("", held.recipients.iter().map(String::as_str));
        let parcel = Parcel {
            envelope,
            origin: held.message.origin,
            sender: held.message.sender.clone(),
            recipients,
            via: Via::Local,
            redirected: false,
            expires_at_ms: None,
            reply: Reply::Host(told),
        };
        self.dispatch(parcel, &mut batch);
    }

    /// The bridge, when the destination is on a machine it knows.
    pub(crate) fn bridge_for(&self, to: &Destination<'_>) -> Option<Arc<dyn Bridge>> {
        let Destination::One(to) = to else {
            return None;
        };
        let (alias, _) = split_alias(to)?;
        let bridge = self.around.bridge()?;
        let is_local_drive = is_drive_path(to)
            && self
                .with_roster(|roster| roster.get(to).is_some_and(|peer| is_drive_path(&peer.cwd)));
        (!is_local_drive && bridge.knows(alias)).then_some(bridge)
    }

    fn route_outbound(
        self: &Arc<Self>,
        sender: &Arc<Peer>,
        mut envelope: Envelope<'_>,
        carriage: Carriage,
        reply: Reply,
        bridge: &dyn Bridge,
        batch: &mut Batch<'_>,
    ) {
        let to = envelope.to.to_text().into_owned();
        let roster = bridge.roster();
        let recipient = roster.iter().find(|entry| entry.address == to);
        let (pc, rest) = split_alias(&to).unwrap_or(("", &to));
        let recipient = routing::Peer {
            pc: Some(pc),
            cwd: recipient.map_or("", |entry| &entry.cwd),
            name: recipient.map_or(rest, |entry| &entry.name),
            address: &to,
            harness: None,
            person: false,
        };
        let about = About {
            direction: Direction::Outbound,
            sender: sender.facts(),
            sent_last_minute: sender.count_sent(batch.now_ms),
        };
        let verdict = judge(
            self.around.policy.as_ref(),
            self.around.config.limits.line_bytes,
            &Question {
                direction: about.direction,
                sender: about.sender,
                recipients: &[recipient],
                envelope: &envelope,
                sent_last_minute: about.sent_last_minute,
                now_ms: batch.now_ms,
            },
        );
        let verdict = match verdict {
            Verdict::Rewrite(body) => {
                envelope.body = body;
                Verdict::Deliver
            }
            other => other,
        };
        let verdict = match verdict {
            // From here on the other machine's router answers.
            Verdict::Deliver if bridge.send(&envelope, carriage) => return,
            Verdict::Deliver => Verdict::Deny(BRIDGE_FULL.to_owned()),
            other => other,
        };
        let parcel = Parcel {
            envelope,
            origin: sender.origin(),
            sender: sender.agent(),
            recipients: Vec::new(),
            via: Via::Local,
            redirected: false,
            expires_at_ms: carriage.expires_at_ms,
            reply,
        };
        self.obey(verdict, parcel, &about, batch);
    }

    /// Delivers an envelope from another machine. Nothing is told about: the answer is whether
    /// it was delivered.
    pub(crate) fn inject(self: &Arc<Self>, envelope: Envelope<'_>, told: oneshot::Sender<Settled>) {
        let Destination::One(to) = &envelope.to else {
            return;
        };
        let mut batch = Batch::new(self);
        let recipients = self.exact("", std::iter::once(to.as_ref()));
        let about_earlier = classify(&envelope);
        if about_earlier != Inbound::Message
            && let [peer] = recipients.as_slice()
            && let Link::Mailbox(..) = &peer.link
        {
            self.around.acks.settle(&about_earlier, &envelope.from);
            let outcomes = vec![Some(Outcome::Received)];
            let parcel = Parcel::from_remote(envelope, recipients, told);
            return self.conclude(parcel, outcomes, &mut batch);
        }
        let from = envelope.from.clone().into_owned();
        let roster = self.remote_roster();
        let about = self.about_remote(&from, &roster, batch.now_ms);
        let verdict = match about_earlier {
            Inbound::Ack { .. } | Inbound::TransportError { .. } => Verdict::Deliver,
            // What only looks like a router's word is somebody's message.
            Inbound::Message | Inbound::BadAck => {
                self.verdict(&about, &recipients, &envelope, batch.now_ms)
            }
        };
        let parcel = Parcel::from_remote(envelope, recipients, told);
        self.obey(verdict, parcel, &about, &mut batch);
    }

    /// What is known of a sender on another machine.
    fn about_remote<'a>(&self, from: &'a str, roster: &'a [RosterEntry], now_ms: u64) -> About<'a> {
        let known = roster.iter().find(|entry| entry.address == from);
        let (pc, rest) = split_alias(from).unwrap_or(("", from));
        About {
            direction: Direction::Inbound,
            sender: routing::Peer {
                pc: Some(pc),
                cwd: known.map_or("", |entry| &entry.cwd),
                name: known.map_or(rest, |entry| &entry.name),
                address: from,
                harness: None,
                person: false,
            },
            sent_last_minute: self.around.strangers.count_sent(from, now_ms),
        }
    }
}

/// Where an envelope comes from: what every question about it has in common.
struct About<'a> {
    direction: Direction,
    sender: routing::Peer<'a>,
    sent_last_minute: u32,
}

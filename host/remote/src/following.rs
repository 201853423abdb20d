//! Following the owners: asking the relay, and what the answers change.

use rp_link::{HttpError, Relay};
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Answer, Fetch, Followed, News, Request, SignedMembership, Tick};
use rp_protocol::remote::Topology;
use rp_store::StoreError;

use crate::line::Line;
use crate::machine::Machine;
use crate::publications;
use crate::traffic::REST_MS;

impl Machine<'_> {
    /// Asks the relay what is to be asked now.
    pub(crate) async fn follow(&mut self) {
        if self.is_off {
            return;
        }
        let requests = match self.follower.tick(self.now_ms()) {
            Tick::Wait => return,
            Tick::Ended(news) => return self.learn(news).await,
            Tick::Ask(requests) => requests,
        };
        for request in requests {
            let (relay, to) = (self.relay(), self.fetches.clone());
            let mut known = self.follower.memberships();
            let known = known.find(|signed| signed.membership().owner == request.owner).cloned();
            tokio::spawn(async move {
                let fetch = ask(&relay, &request, known).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "a membership could not be read");
                    Fetch::Unreachable
                });
                // The machine may have begun anew.
                let _ = to.send((request, fetch)).await;
            });
        }
    }

    /// Takes what a sweep over the owners found out. What is to be kept is on disk before it
    /// counts for others.
    pub(crate) async fn learn(&mut self, news: News) {
        self.keep(&news.accepted);
        self.troubles = news
            .troubles
            .iter()
            .map(|(owner, trouble)| format!("owner {}: {trouble}", owner.fingerprint()))
            .collect();
        for removal in news.removals {
            tracing::warn!(owner = removal.owner.fingerprint(), "an owner removed this machine");
            if let Err(error) = self.shared.pairings.remove(&removal) {
                tracing::warn!(%error, "the pairing with that owner stays");
                continue;
            }
            self.begin_anew = true;
            let removed = self.follower.removed(removal);
            self.keep(removed.as_slice());
        }
        if news.changed || self.begin_anew {
            self.renew_topology().await;
        }
    }

    fn keep(&self, accepted: &[Followed]) {
        if accepted.is_empty() {
            return;
        }
        if let Err(error) = self.shared.memberships.keep(accepted) {
            tracing::error!(%error, "a membership cannot be kept: after a restart an older one counts");
        }
    }

    /// Computes who the other machines are, and says hello to and good-bye to those that came and
    /// went.
    pub(crate) async fn renew_topology(&mut self) {
        let memberships = self.follower.memberships().map(|signed| signed.membership());
        let topology = Topology::new(self.key.public(), memberships);
        let siblings: Vec<PublicKey> = topology.siblings().iter().map(|one| one.key).collect();
        self.lines.retain(|machine, _| siblings.contains(machine));
        self.forget_strangers(&siblings).await;
        for machine in &siblings {
            if self.lines.contains_key(machine) {
                continue;
            }
            match Line::load(*machine, &self.shared.outbox) {
                Ok(line) => {
                    self.lines.insert(*machine, line);
                }
                Err(error) => {
                    tracing::error!(%error, "what waits for a machine cannot be read");
                    self.missing_until_ms = Some(self.now_ms() + REST_MS);
                }
            }
        }
        let outgoing = self.with_bridge(|bridge, around| bridge.set_topology(topology, around));
        let outgoing = outgoing.await.unwrap_or_default();
        // The relay may let through now what it refused before.
        for line in self.lines.values_mut() {
            if line.path(false) == crate::line::Path::Sealed {
                line.courier.on_online();
            }
        }
        // The link has not ended: this holds its handle.
        let _ = self.link.watch(siblings).await;
        self.send_inventories(outgoing).await;
    }

    /// Forgets the machines that share no owner with this one any more. While a membership is not
    /// known, a relay without it or a proxy in between must not make anything be forgotten.
    async fn forget_strangers(&self, siblings: &[PublicKey]) {
        if !self.follower.knows_every_membership() {
            return;
        }
        let kept = self.shared.outbox.machines().unwrap_or_default();
        for machine in kept.into_iter().filter(|machine| !siblings.contains(machine)) {
            if let Err(error) = self.forget(machine).await {
                tracing::warn!(%error, "what was kept of a machine could not be removed");
            }
        }
    }

    async fn forget(&self, machine: PublicKey) -> Result<(), StoreError> {
        let waiting = self.shared.outbox.load(&machine)?.notes;
        self.shared.outbox.forget(machine).await?;
        for note in waiting.values().filter(|note| note.id.is_some()) {
            self.give_up(note, "that machine is no longer one of its owner's");
        }
        Ok(())
    }
}

/// Asks the relay about one owner. A relay that has nothing or something older of an owner whose
/// membership is known here gets it: it is signed, so it does not matter who brings it.
async fn ask(
    relay: &Relay,
    request: &Request,
    known: Option<SignedMembership>,
) -> Result<Fetch, HttpError> {
    let (status, answer) = publications::read(relay, &request.owner, request.since).await?;
    let is_older = |than: &SignedMembership| match &answer {
        Answer::Membership(signed) => signed.membership().version < than.membership().version,
        _ => status == 404,
    };
    if let Some(known) = known.filter(is_older) {
        match publications::publish(relay, &known).await {
            Ok((status, _)) => tracing::info!(status, "brought the relay a membership it lacked"),
            Err(error) => tracing::warn!(%error, "the relay lacks a membership"),
        }
    }
    Ok(Fetch::Answered(answer))
}

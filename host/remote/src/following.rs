//! Following the owners: asking the relay, and what the answers change.

use rp_link::get;
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{
    Answer, FETCH_DEADLINE_MS, Fetch, Followed, MAX_ANSWER_BYTES, News, Tick,
};
use rp_protocol::remote::Topology;

use crate::line::Line;
use crate::machine::Machine;

impl Machine<'_> {
    /// Asks the relay what is to be asked now.
    pub(crate) async fn follow(&mut self) {
        let requests = match self.follower.tick(self.now_ms()) {
            Tick::Wait => return,
            Tick::Ended(news) => return self.learn(news).await,
            Tick::Ask(requests) => requests,
        };
        for request in requests {
            let (relay, to) = (self.relay().clone(), self.fetches.clone());
            tokio::spawn(async move {
                let since = request.since.map(|version| format!("?since={version}"));
                let path = format!("/mesh/{}{}", request.owner.hash(), since.unwrap_or_default());
                let deadline = std::time::Duration::from_millis(FETCH_DEADLINE_MS);
                let fetch = match get(&relay, &path, MAX_ANSWER_BYTES + 1, deadline).await {
                    Ok((status, body)) => Fetch::Answered(Answer::read(status, &body)),
                    Err(error) => {
                        tracing::debug!(%error, "a membership could not be read");
                        Fetch::Unreachable
                    }
                };
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
        if news.changed {
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
        let gone: Vec<PublicKey> =
            self.lines.keys().filter(|key| !siblings.contains(key)).copied().collect();
        for machine in gone {
            self.forget(machine).await;
        }
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

    /// Forgets a machine that shares no owner with this one any more.
    async fn forget(&mut self, machine: PublicKey) {
        if let Some(line) = self.lines.remove(&machine) {
            for note in line.notes.values().filter(|note| note.id.is_some()) {
                self.give_up(note, "that machine is no longer one of its owner's");
            }
        }
        if let Err(error) = self.shared.outbox.forget(machine).await {
            tracing::warn!(%error, "what was kept of a machine could not be removed");
        }
    }
}

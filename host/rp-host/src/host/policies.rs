//! What the routing policies would decide: about a message not sent, and about those that were.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use rp_mesh::{AgentId, PeerInfo};
use rp_protocol::{
    mesh::BROADCAST,
    routing::{Decision, Direction, Facts, Peer},
};
use serde::Deserialize;

use super::{Host, now_ms};
use crate::{
    api,
    components::{ChainSettings, Link, Rehearsal},
    problem::{Problem, While},
};

/// Changed messages that are told one by one.
const TOLD: usize = 200;

impl Host {
    /// What would happen to a message, and which policy says so.
    pub async fn explain_policies(
        &self,
        asked: &api::Explain,
    ) -> Result<api::Explanation, Problem> {
        let peers = self.mesh.peers().await;
        let sender = find(&peers, &asked.from).ok_or_else(|| {
            Problem::failed(format!("nobody on the mesh has the address {}", asked.from))
                .hint("`rp-host peers` lists the addresses")
        })?;
        let recipients = recipients_of(&peers, sender, &asked.to);
        let body = asked.body.to_string();
        let facts = Facts {
            direction: direction(sender, &recipients),
            sender: peer_of(sender),
            recipients: &recipients.iter().map(|peer| peer_of(peer)).collect::<Vec<_>>(),
            to: &asked.to,
            id: "00000000-0000-7000-8000-000000000000",
            re: None,
            body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_type: asked.body.get("type").and_then(serde_json::Value::as_str),
            body: Some(&body),
            sent_last_minute: 0,
            now_ms: now_ms(),
        };
        let links = self.components.chain();
        // It takes the time of some calls.
        let (said, together) = tokio::task::block_in_place(|| Rehearsal::of(&links).ask(&facts));
        let says = said.into_iter().map(|(policy, says)| {
            let (decision, reason) = in_words(says);
            api::PolicySays { policy, decision, reason }
        });
        let policies = says.collect();
        let (decision, reason) = in_words(together);
        let recipients = recipients.iter().map(|peer| peer.address.clone()).collect();
        Ok(api::Explanation { recipients, policies, decision, reason })
    }

    /// Asks the policies, in force or as drafted, about everything in the routing log since then,
    /// in its order, and lists what was delivered and would not be now.
    pub async fn replay_policies(
        &self,
        asked: &api::ReplayPolicies,
    ) -> Result<api::PolicyReplay, Problem> {
        let links = match &asked.settings {
            None => self.components.chain().to_vec(),
            Some(text) => {
                let settings = ChainSettings::parse(text).doing("use these settings")?;
                self.components.draft(&settings).await?
            }
        };
        let (readers, links) = without_readers(links)?;
        let log = self.root.audit();
        let after = now_ms().saturating_sub(asked.since_ms);
        let replay = move || {
            let mut rehearsal = Rehearsal::of(&links);
            let mut replay = api::PolicyReplay {
                messages: 0,
                would_change: 0,
                changed: Vec::new(),
                left_out: readers,
            };
            for file in oldest_first(&log) {
                for routed in read_log(&file).filter(|routed| routed.ts >= after) {
                    replay.messages += 1;
                    let Some(changed) = routed.decided_again(&mut rehearsal) else { continue };
                    replay.would_change += 1;
                    if replay.changed.len() < TOLD {
                        replay.changed.push(changed);
                    }
                }
            }
            replay
        };
        tokio::task::spawn_blocking(replay).await.doing("ask the policies again")
    }
}

/// The peer at an address.
fn find<'a>(peers: &'a [PeerInfo], address: &str) -> Option<&'a PeerInfo> {
    let is_meant = |peer: &&PeerInfo| match address {
        "person" => peer.agent == Some(AgentId::person()) || peer.address == address,
        address => peer.address == address,
    };
    peers.iter().find(is_meant)
}

/// Who gets a message; a broadcast stays on the machine.
fn recipients_of<'a>(peers: &'a [PeerInfo], sender: &PeerInfo, to: &str) -> Vec<&'a PeerInfo> {
    let hears = |peer: &&PeerInfo| {
        peer.pc.is_none() && peer.cwd == sender.cwd && peer.address != sender.address
    };
    match to {
        BROADCAST => peers.iter().filter(hears).collect(),
        to => find(peers, to).into_iter().collect(),
    }
}

fn direction(sender: &PeerInfo, recipients: &[&PeerInfo]) -> Direction {
    if sender.pc.is_some() {
        Direction::Inbound
    } else if recipients.iter().any(|peer| peer.pc.is_some()) {
        Direction::Outbound
    } else {
        Direction::Local
    }
}

/// The routing log has no texts, so nobody can tell what a policy that reads them would decide.
fn without_readers(links: Vec<Link>) -> Result<(Vec<String>, Vec<Link>), Problem> {
    let reads = |link: &Link| link.policy.as_ref().is_ok_and(|policy| policy.wants_bodies());
    let (readers, others): (Vec<Link>, Vec<Link>) = links.into_iter().partition(reads);
    if others.is_empty() && !readers.is_empty() {
        return Err(Problem::failed(
            "every policy reads what messages say, and the routing log does not have that",
        )
        .hint("`rp-host policy explain` says what would happen to one message"));
    }
    Ok((readers.into_iter().map(|link| link.id).collect(), others))
}

fn peer_of(peer: &PeerInfo) -> Peer<'_> {
    Peer {
        pc: peer.pc.as_deref(),
        cwd: &peer.cwd,
        name: &peer.name,
        address: &peer.address,
        harness: peer.harness.as_deref(),
        person: peer.agent == Some(AgentId::person()),
    }
}

/// A decision as its name and its reason.
fn in_words(decision: Result<Decision, String>) -> (String, Option<String>) {
    let (name, reason) = match decision {
        Ok(Decision::Deliver) => ("deliver", None),
        Ok(Decision::Deny(reason)) => ("deny", Some(reason)),
        Ok(Decision::Redirect(addresses)) => ("redirect", Some(addresses.join(", "))),
        Ok(Decision::Hold(reason)) => ("hold", Some(reason)),
        Ok(Decision::Rewrite(body)) => ("rewrite", Some(body)),
        Err(broken) => ("hold", Some(broken)),
    };
    (name.to_owned(), reason)
}

/// One line of the routing log.
#[derive(Deserialize)]
struct Routed {
    ts: u64,
    from: String,
    id: String,
    #[serde(default)]
    re: Option<String>,
    #[serde(default)]
    delivered: Vec<String>,
    #[serde(default)]
    via: String,
}

impl Routed {
    /// What the policies say now, if that is not to deliver what was delivered.
    fn decided_again(&self, rehearsal: &mut Rehearsal<'_>) -> Option<api::Changed> {
        let recipients: Vec<Peer<'_>> = self.delivered.iter().map(|to| peer_at(to)).collect();
        let to = self.delivered.join("\n");
        let facts = Facts {
            direction: if self.via == "relay" { Direction::Inbound } else { Direction::Local },
            sender: peer_at(&self.from),
            recipients: &recipients,
            to: &to,
            id: &self.id,
            re: self.re.as_deref(),
            body_bytes: 0,
            body_type: None,
            body: None,
            sent_last_minute: 0,
            now_ms: self.ts,
        };
        let (_, together) = rehearsal.ask(&facts);
        if self.delivered.is_empty() || matches!(together, Ok(Decision::Deliver)) {
            return None;
        }
        let (decision, reason) = in_words(together);
        Some(api::Changed {
            at_ms: self.ts,
            id: self.id.clone(),
            from: self.from.clone(),
            to: self.delivered.join(", "),
            decision,
            reason,
        })
    }
}

/// What an address alone tells of a peer.
fn peer_at(address: &str) -> Peer<'_> {
    let (pc, rest) = match rp_protocol::mesh::split_alias(address) {
        Some((pc, rest)) if !address.starts_with('/') => (Some(pc), rest),
        _ => (None, address),
    };
    let (cwd, name) = rest.rsplit_once('@').unwrap_or(("", rest));
    Peer { pc, cwd, name, address, harness: None, person: address == "person" }
}

/// The log and those set aside before it, the oldest first.
fn oldest_first(log: &Path) -> Vec<PathBuf> {
    const SET_ASIDE: usize = 9;
    let older = (1..=SET_ASIDE).rev().map(|number| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    older.chain([log.to_owned()]).filter(|path| path.exists()).collect()
}

/// The lines that can be read; others are not ours.
fn read_log(path: &Path) -> impl Iterator<Item = Routed> {
    let lines = File::open(path).ok().map(|file| BufReader::new(file).lines());
    lines
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, pc: Option<&str>) -> PeerInfo {
        PeerInfo {
            address: address.to_owned(),
            name: "scout".to_owned(),
            cwd: "/p".to_owned(),
            pc: pc.map(str::to_owned),
            harness: None,
            agent: None,
        }
    }

    #[test]
    fn a_broadcast_is_explained_as_it_is_routed_to_those_on_the_machine() {
        let peers = [peer("/p@a", None), peer("/p@b", None), peer("desk:/p@c", Some("desk"))];
        let [sender, near, _] = &peers;
        let recipients = recipients_of(&peers, sender, "broadcast");
        assert_eq!(recipients, [near]);
        assert_eq!(direction(sender, &recipients), Direction::Local);
    }

    #[test]
    fn what_comes_from_another_machine_is_explained_as_inbound() {
        let (here, away) = (peer("/p@a", None), peer("desk:/p@c", Some("desk")));
        assert_eq!(direction(&away, &[&here]), Direction::Inbound);
        assert_eq!(direction(&here, &[&away]), Direction::Outbound);
    }

    #[test]
    fn an_address_tells_folder_name_and_machine() {
        let told = |address| {
            let peer = peer_at(address);
            (peer.pc, peer.cwd, peer.name)
        };
        assert_eq!(told("/home/ann/p@scout"), (None, "/home/ann/p", "scout"));
        assert_eq!(told("scout"), (None, "", "scout"));
        assert_eq!(told("desk:/home/ann/p@scout"), (Some("desk"), "/home/ann/p", "scout"));
    }
}

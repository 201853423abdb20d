//! Following the owners: when to ask the relay for their memberships, and what an answer changes.
//!
//! An owner that this machine is paired with is asked about every minute. What is accepted only
//! ever gets newer: the version last accepted is a floor, which the caller keeps on disk together
//! with the membership, so that a relay cannot show an old one after a restart either.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, BadAnswer, SignedMembership};
use crate::key::PublicKey;

/// From the start of one sweep to the next, in milliseconds.
pub const POLL_INTERVAL_MS: u64 = 60_000;
/// How long a relay may take for an answer, headers and body together, in milliseconds.
pub const FETCH_DEADLINE_MS: u64 = 5_000;
/// How much later than the pairing a membership must be issued before it removes a machine that it
/// never listed, in milliseconds. An owner pairs first and publishes then, and the two clocks may
/// be a day apart.
pub const NEVER_LISTED_GRACE_MS: u64 = 24 * 60 * 60 * 1000;

/// A pairing of this machine with an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pairing {
    /// With whom.
    pub owner: PublicKey,
    /// When, in Unix milliseconds of this machine's clock. Two pairings with one owner differ in
    /// it.
    pub paired_at_ms: u64,
}

/// What a machine keeps on disk about an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Who it is.
    pub owner: PublicKey,
    /// The highest version accepted. Kept for good, also after the pairing is gone.
    pub floor: u64,
    /// The membership of that version, when it lists this machine.
    pub membership: Option<SignedMembership>,
}

/// A question to the relay: `GET /mesh/<hash>`, with `?since=` when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose membership.
    pub owner: PublicKey,
    /// The version that is here already.
    pub since: Option<u64>,
    sweep: u64,
}

/// What came back for a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// An answer.
    Answered(Answer),
    /// No connection, or no answer within [`FETCH_DEADLINE_MS`].
    Unreachable,
}

/// Why the answer about an owner changed nothing, or took something away; for the log and for
/// `peers`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nobody could be asked: what was known stays.
    #[error("the relay could not be asked for the membership")]
    Unavailable,
    /// The answer is void: this owner contributes nothing until there is a valid one.
    #[error(transparent)]
    Invalid(#[from] BadAnswer),
    /// The relay answered with the membership of somebody else: as [`Trouble::Invalid`].
    #[error("the relay answered with the membership of another owner")]
    WrongOwner,
    /// The relay showed an older membership than it did before: what was known stays.
    #[error("the relay went back to version {offered} of the membership; {floor} was accepted")]
    Rollback {
        /// What the relay showed.
        offered: u64,
        /// What was accepted before.
        floor: u64,
    },
    /// This machine is paired with the owner, whose membership does not list it yet.
    #[error("the owner does not list this machine")]
    NotListed,
}

/// What a sweep over all owners found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// The memberships that count are other ones than before: the topology is to be computed anew.
    pub changed: bool,
    /// To be written to disk.
    pub accepted: Vec<Followed>,
    /// Owners who removed this machine. The caller removes each pairing, if it is still that one,
    /// cuts the owner's connections, and then says so with [`Follower::removed`].
    pub removals: Vec<Pairing>,
    /// What else there is to say, by owner.
    pub troubles: Vec<(PublicKey, Trouble)>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tick {
    /// Nothing before [`Follower::due_ms`].
    Wait,
    /// The relay is to be asked all of this, and [`Follower::answered`] told what came back.
    Ask(Vec<Request>),
    /// The deadline ended a sweep.
    Ended(News),
}

#[derive(Debug)]
struct Owner {
    pairing: Pairing,
    floor: Option<u64>,
    membership: Option<SignedMembership>,
    /// Whether a membership that was accepted listed this machine since it was paired.
    listed: bool,
    /// The version that removed this machine, while the pairing is still there.
    removed_by: Option<u64>,
}

#[derive(Debug)]
struct Sweep {
    deadline_ms: u64,
    unanswered: BTreeSet<PublicKey>,
    news: News,
}

/// The memberships of the owners this machine is paired with.
///
/// Times are those of a clock that only goes forward, except where stated otherwise.
#[derive(Debug)]
pub struct Follower {
    machine: PublicKey,
    owners: BTreeMap<PublicKey, Owner>,
    /// Of owners that there is no pairing with.
    kept: BTreeMap<PublicKey, Followed>,
    due_ms: u64,
    /// The relay may have less than it said before: it is asked for all it has.
    asks_for_all: bool,
    sweeps: u64,
    sweep: Option<Sweep>,
}

impl Follower {
    /// Begins with what was kept on disk, for a machine without pairings. The first sweep is due
    /// at `now_ms`.
    #[must_use]
    pub fn new(machine: PublicKey, kept: impl IntoIterator<Item = Followed>, now_ms: u64) -> Self {
        let kept = kept.into_iter().map(|followed| (followed.owner, followed)).collect();
        Follower {
            machine,
            owners: BTreeMap::new(),
            kept,
            due_ms: now_ms,
            asks_for_all: false,
            sweeps: 0,
            sweep: None,
        }
    }

    /// Takes the pairings as they are now. Must not be called when they could not be read. Whether
    /// the memberships that count are other ones now.
    pub fn set_pairings(&mut self, pairings: impl IntoIterator<Item = Pairing>) -> bool {
        let mut before = std::mem::take(&mut self.owners);
        let mut changed = false;
        for pairing in pairings {
            let owner = match before.remove(&pairing.owner) {
                Some(owner) if owner.pairing == pairing => owner,
                Some(owner) => Owner::new(pairing, owner.floor, owner.membership),
                None => {
                    let kept = self.kept.remove(&pairing.owner);
                    let floor = kept.as_ref().map(|kept| kept.floor);
                    let membership = kept.and_then(|kept| kept.membership);
                    let lists_us =
                        |signed: &SignedMembership| signed.membership().lists(&self.machine);
                    let owner = Owner::new(pairing, floor, membership.filter(lists_us));
                    changed |= owner.membership.is_some();
                    owner
                }
            };
            self.owners.insert(pairing.owner, owner);
        }
        for (key, owner) in before {
            changed |= owner.membership.is_some();
            self.keep(key, owner.floor);
        }
        changed
    }

    /// The memberships that count: the newest of each owner, if it lists this machine.
    pub fn memberships(&self) -> impl Iterator<Item = &SignedMembership> {
        self.owners.values().filter_map(|owner| owner.membership.as_ref())
    }

    /// Whether the membership of every owner is known. If not, who shares an owner with this machine
    /// and who does not is not known either.
    #[must_use]
    pub fn knows_every_membership(&self) -> bool {
        self.owners.values().all(|owner| owner.membership.is_some())
    }

    /// When [`Follower::tick`] has something to do next.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        self.sweep.as_ref().map_or(self.due_ms, |sweep| sweep.deadline_ms)
    }

    /// Makes the next sweep due at once: this machine is connected, maybe to another relay than
    /// before or to one that has gone back. One that is asked only for what is newer would not show
    /// that it has something older, so it is asked for all it has.
    pub fn connected(&mut self, now_ms: u64) {
        self.asks_for_all = true;
        self.hurry(now_ms);
    }

    /// Makes the next sweep due at once: the relay said that something changed.
    pub fn hurry(&mut self, now_ms: u64) {
        self.due_ms = self.due_ms.min(now_ms);
    }

    /// Starts a sweep that is due, or ends one whose deadline has passed. There is never more than
    /// one.
    pub fn tick(&mut self, now_ms: u64) -> Tick {
        if now_ms < self.due_ms() {
            return Tick::Wait;
        }
        if let Some(mut sweep) = self.sweep.take() {
            let silent = std::mem::take(&mut sweep.unanswered).into_iter();
            sweep.news.troubles.extend(silent.map(|owner| (owner, Trouble::Unavailable)));
            return Tick::Ended(sweep.news);
        }
        self.due_ms = now_ms + POLL_INTERVAL_MS;
        if self.owners.is_empty() {
            return Tick::Wait;
        }
        self.sweeps += 1;
        self.sweep = Some(Sweep {
            deadline_ms: now_ms + FETCH_DEADLINE_MS,
            unanswered: self.owners.keys().copied().collect(),
            news: News::default(),
        });
        let asks_for_all = std::mem::take(&mut self.asks_for_all);
        let request = |owner: &Owner| Request {
            owner: owner.pairing.owner,
            since: owner.membership.as_ref().and(owner.floor).filter(|_| !asks_for_all),
            sweep: self.sweeps,
        };
        Tick::Ask(self.owners.values().map(request).collect())
    }

    /// Takes what came back for a request. The news come with the last answer of a sweep, so that
    /// the topology changes once for each; an answer to an earlier sweep counts for nothing.
    pub fn answered(&mut self, request: &Request, fetch: Fetch) -> Option<News> {
        let sweep = self.sweep.as_mut().filter(|_| request.sweep == self.sweeps)?;
        if !sweep.unanswered.remove(&request.owner) {
            return None;
        }
        if let Some(owner) = self.owners.get_mut(&request.owner) {
            owner.learn(&self.machine, fetch, &mut sweep.news);
        }
        if sweep.unanswered.is_empty() { self.sweep.take().map(|sweep| sweep.news) } else { None }
    }

    /// The caller has removed the pairing with an owner who removed this machine. What is returned
    /// is to be written to disk, after the pairing is gone from there: the other way round a crash
    /// between the two would keep a pairing that nothing removes any more.
    ///
    /// `None` when this machine was paired with the owner again in between.
    pub fn removed(&mut self, removal: Pairing) -> Option<Followed> {
        let owner = self.owners.get(&removal.owner).filter(|owner| owner.pairing == removal)?;
        let floor = owner.removed_by?;
        self.owners.remove(&removal.owner);
        self.keep(removal.owner, Some(floor));
        self.kept.get(&removal.owner).cloned()
    }

    fn keep(&mut self, owner: PublicKey, floor: Option<u64>) {
        if let Some(floor) = floor {
            self.kept.insert(owner, Followed { owner, floor, membership: None });
        }
    }
}

impl Owner {
    fn new(pairing: Pairing, floor: Option<u64>, membership: Option<SignedMembership>) -> Self {
        let listed = membership.is_some();
        Owner { pairing, floor, membership, listed, removed_by: None }
    }

    fn learn(&mut self, machine: &PublicKey, fetch: Fetch, news: &mut News) {
        let trouble = match fetch {
            Fetch::Unreachable | Fetch::Answered(Answer::Unavailable) => Some(Trouble::Unavailable),
            Fetch::Answered(Answer::NothingNew) => None,
            Fetch::Answered(Answer::Invalid(error)) => {
                news.changed |= self.membership.take().is_some();
                Some(Trouble::Invalid(error))
            }
            Fetch::Answered(Answer::Membership(signed)) => self.weigh(machine, signed, news),
        };
        news.troubles.extend(trouble.map(|trouble| (self.pairing.owner, trouble)));
    }

    /// Accepts a membership, or says why not.
    fn weigh(
        &mut self,
        machine: &PublicKey,
        signed: SignedMembership,
        news: &mut News,
    ) -> Option<Trouble> {
        let membership = signed.membership();
        if membership.owner != self.pairing.owner {
            news.changed |= self.membership.take().is_some();
            return Some(Trouble::WrongOwner);
        }
        let (offered, listed) = (membership.version, membership.lists(machine));
        match self.floor {
            Some(floor) if offered < floor => return Some(Trouble::Rollback { offered, floor }),
            // Known already, or what removed this machine before it was paired again. After a void
            // answer it counts once more.
            Some(floor) if offered == floor && (!listed || self.membership.is_some()) => {
                return None;
            }
            _ => {}
        }
        if listed {
            self.floor = Some(offered);
            self.membership = Some(signed);
            self.listed = true;
            self.removed_by = None;
            news.changed = true;
            news.accepted.push(Followed {
                owner: self.pairing.owner,
                floor: offered,
                membership: self.membership.clone(),
            });
            return None;
        }
        let settled = self.pairing.paired_at_ms.saturating_add(NEVER_LISTED_GRACE_MS);
        if !self.listed && membership.issued_at <= settled {
            return Some(Trouble::NotListed);
        }
        news.changed |= self.membership.take().is_some();
        self.removed_by = Some(offered);
        news.removals.push(self.pairing);
        None
    }
}

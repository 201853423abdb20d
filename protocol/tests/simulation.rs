//! Two hosts and a relay between them, in one thread, with a scheduler that is drawn from a seed: what
//! is taken arrives once, whatever crashes, is lost, comes twice, in another order, or changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rp_protocol::courier::{Change, Courier, Effect, Kept};
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::relay::{
    Answer, Content, Flight, Frame, MessageId, Presence, Refusal, Verdict, read_message,
};
use rp_protocol::seal::{OpenError, SealingKey, SessionId, session_of};

/// SplitMix64: the numbers of a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// What a crash can come between.
enum Step {
    /// Into the mailbox: before it is noted that the message was received.
    HandOver(Vec<u8>),
    Effect(Effect),
}

fn steps(effects: Vec<Effect>) -> Vec<Step> {
    let steps = effects.into_iter().flat_map(|effect| {
        let body = match &effect {
            Effect::Keep(Change::Received { body, .. }) => Some(Step::HandOver(body.clone())),
            _ => None,
        };
        body.into_iter().chain([Step::Effect(effect)])
    });
    steps.collect()
}

/// One host: what is on its disk, and what a crash takes away.
struct Host {
    keys: SealingKey,
    peer: PublicKey,
    kept: Kept,
    /// What has arrived, on disk. It takes a message once.
    mailbox: Vec<Vec<u8>>,
    /// What is in the mailbox and not yet noted as received: after a crash it may come again.
    doubtful: BTreeSet<Vec<u8>>,
    /// What whoever gave it was told is taken.
    acknowledged: BTreeSet<Vec<u8>>,
    courier: Courier,
    /// What waits for the relay's answer.
    sent: BTreeMap<MessageId, Option<SessionId>>,
    next_id: u128,
    is_connected: bool,
}

impl Host {
    fn new(own: u8, peer: u8, now: u64) -> Self {
        let peer = SecretKey::from_seed(&[peer; 32]).public();
        let kept = Kept { outbox: [own; 16], ..Kept::default() };
        Host {
            keys: SealingKey::certify(&SecretKey::from_seed(&[own; 32]), [own; 32], now),
            peer,
            courier: Courier::load(peer, kept.clone()).unwrap(),
            kept,
            mailbox: Vec::new(),
            doubtful: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            sent: BTreeMap::new(),
            next_id: u128::from(own) << 64,
            is_connected: false,
        }
    }

    fn crash(&mut self) {
        self.courier = Courier::load(self.peer, self.kept.clone()).unwrap();
        self.sent.clear();
        self.is_connected = false;
    }

    /// Does what the courier wants, up to a crash. The frames for the relay; whether it crashed.
    fn act(&mut self, steps: Vec<Step>, crash_after: Option<usize>) -> (Vec<Vec<u8>>, bool) {
        let mut frames = Vec::new();
        for (done, step) in steps.into_iter().enumerate() {
            if crash_after == Some(done) {
                self.crash();
                return (frames, true);
            }
            let effect = match step {
                Step::Effect(effect) => effect,
                Step::HandOver(body) => {
                    self.hand_over(body);
                    continue;
                }
            };
            match effect {
                Effect::Keep(change) => {
                    self.kept.apply(&change);
                    match change {
                        Change::Taken { body, .. } => drop(self.acknowledged.insert(body)),
                        Change::Received { body, .. } => drop(self.doubtful.remove(&body)),
                        Change::Confirmed(_) | Change::Channel(_) => {}
                    }
                }
                Effect::Send(sealed) if self.is_connected => {
                    self.next_id += 1;
                    let id = MessageId(self.next_id.to_be_bytes());
                    self.sent.insert(id, session_of(&sealed));
                    let content = Content::Sealed(&sealed);
                    frames.push(Frame::Send { id, to: self.peer, content }.to_bytes());
                }
                Effect::Send(_) => {}
            }
        }
        let crashed = crash_after.is_some();
        if crashed {
            self.crash();
        }
        (frames, crashed)
    }

    fn hand_over(&mut self, body: Vec<u8>) {
        if self.mailbox.contains(&body) {
            assert!(self.doubtful.contains(&body), "a message came twice without a crash");
        } else {
            self.mailbox.push(body.clone());
            self.doubtful.insert(body);
        }
    }

    /// Takes a frame of the relay, and gives the answer to it.
    fn receive(&mut self, frame: &[u8], now: u64, seen: &mut Seen) -> Option<Vec<u8>> {
        match read_message(frame).unwrap().unwrap() {
            Frame::Deliver { id, from, content: Content::Sealed(sealed) } => {
                let verdict = match self.courier.on_sealed(sealed, &self.keys, now) {
                    Ok(()) => Verdict::Received,
                    Err(error) => {
                        seen.refused += 1;
                        match error {
                            OpenError::NoSession => Verdict::Refused(Refusal::NoSession),
                            OpenError::Replayed | OpenError::TooOld => Verdict::Received,
                            _ => Verdict::Refused(Refusal::Malformed),
                        }
                    }
                };
                Some(Frame::Received { id, from, verdict }.to_bytes())
            }
            Frame::Answer { id, answer } => {
                if answer.is_final()
                    && let Some(session) = self.sent.remove(&id)
                {
                    self.courier.on_answer(session, answer);
                }
                None
            }
            Frame::Presence { presence: Presence::Online, .. } => {
                self.courier.on_online();
                None
            }
            Frame::Presence { .. } => {
                self.courier.on_offline();
                None
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// What happened in all runs, so that a simulation in which nothing happens fails.
#[derive(Debug, Default)]
struct Seen {
    crashes: usize,
    relay_crashes: usize,
    dropped: usize,
    doubled: usize,
    changed: usize,
    refused: usize,
    /// How many messages had arrived when nothing failed any more, and at the end.
    arrived_before: usize,
    arrived: usize,
}

struct World {
    random: Random,
    now: u64,
    hosts: [Host; 2],
    keys: [PublicKey; 2],
    flights: [Flight<()>; 2],
    to_relay: [VecDeque<Vec<u8>>; 2],
    to_host: [VecDeque<Vec<u8>>; 2],
    given: BTreeSet<Vec<u8>>,
    /// What each host has sealed, by session, epoch and counter.
    sealed: [BTreeMap<Vec<u8>, Vec<u8>>; 2],
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = 1_785_000_000_000;
        let hosts = [Host::new(1, 2, now), Host::new(2, 1, now)];
        World {
            random: Random(seed),
            now,
            keys: [hosts[1].peer, hosts[0].peer],
            hosts,
            flights: [Flight::new(1 << 20, 300), Flight::new(1 << 20, 300)],
            to_relay: Default::default(),
            to_host: Default::default(),
            given: BTreeSet::new(),
            sealed: Default::default(),
            seen: Seen::default(),
        }
    }

    /// One step that the seed chooses.
    fn step(&mut self) {
        let host = self.random.below(2);
        match self.random.below(200) {
            0..=19 => self.give(host),
            20..=84 => self.relay_takes(host),
            85..=159 => self.host_takes(host),
            160..=174 => self.connect(host),
            175..=182 => self.trick(host),
            183 => self.crash(host),
            184 => self.disconnect(host),
            185 if self.random.one_in(3) => self.relay_crashes(),
            _ => {
                self.now += self.random.next() % 2_000;
                self.act(host, true);
            }
        }
    }

    fn give(&mut self, host: usize) {
        let body = format!("message {} of host {host}", self.given.len()).into_bytes();
        self.given.insert(body.clone());
        self.hosts[host].courier.take(body).unwrap();
        self.act(host, true);
    }

    fn act(&mut self, host: usize, may_crash: bool) {
        let acting = &mut self.hosts[host];
        let steps = steps(acting.courier.effects(&acting.keys, self.now));
        let crash = may_crash && !steps.is_empty() && self.random.one_in(40);
        let crash_after = crash.then(|| self.random.below(steps.len() + 1));
        let (frames, crashed) = acting.act(steps, crash_after);
        self.to_relay[host].extend(frames);
        if crashed {
            self.seen.crashes += 1;
            // What was sent before may have arrived.
            (0..self.random.below(4)).for_each(|_| self.relay_takes(host));
            self.gone(host);
        }
    }

    fn relay_takes(&mut self, host: usize) {
        let Some(bytes) = self.to_relay[host].pop_front() else { return };
        let (own, other) = (self.keys[host], 1 - host);
        let answer = |id, answer| Frame::Answer { id, answer }.to_bytes();
        match read_message(&bytes).unwrap().unwrap() {
            Frame::Send { id, to, content } => {
                assert_eq!(to, self.keys[other]);
                self.note_sealed(host, &content);
                let started = self.flights[host].start(id, to, content.len() as u64, ());
                if !self.hosts[other].is_connected {
                    self.flights[host].settle(&id);
                    self.to_host[host].push_back(answer(id, Answer::Offline { since_ms: 0 }));
                } else if started.is_err() {
                    let busy = Answer::Busy { retry_after_ms: 100 };
                    self.to_host[host].push_back(answer(id, busy));
                } else {
                    self.to_host[host].push_back(answer(id, Answer::Accepted));
                    let deliver = Frame::Deliver { id, from: own, content };
                    self.to_host[other].push_back(deliver.to_bytes());
                }
            }
            Frame::Received { id, verdict, .. } => {
                if self.flights[other].settle(&id).is_some() {
                    self.to_host[other].push_back(answer(id, verdict.into()));
                }
            }
            other => panic!("a host sent {other:?}"),
        }
    }

    /// No counter of a session seals two contents, also after a crash.
    fn note_sealed(&mut self, host: usize, content: &Content<'_>) {
        let Content::Sealed(sealed) = content else { panic!("in the clear") };
        if session_of(sealed).is_some() {
            let before = self.sealed[host].insert(sealed[..29].to_vec(), sealed.to_vec());
            assert!(before.is_none_or(|before| before == *sealed), "a counter was used twice");
        }
    }

    fn host_takes(&mut self, host: usize) {
        let Some(frame) = self.to_host[host].pop_front() else { return };
        let answer = self.hosts[host].receive(&frame, self.now, &mut self.seen);
        self.act(host, true);
        // A host that crashed in between has not answered.
        if self.hosts[host].is_connected {
            self.to_relay[host].extend(answer);
        }
    }

    fn crash(&mut self, host: usize) {
        self.seen.crashes += 1;
        self.hosts[host].crash();
        self.gone(host);
    }

    fn disconnect(&mut self, host: usize) {
        self.hosts[host].is_connected = false;
        self.hosts[host].courier.on_offline();
        self.gone(host);
    }

    /// The relay notices that a host's connection has ended.
    fn gone(&mut self, host: usize) {
        let other = 1 - host;
        self.hosts[host].is_connected = false;
        self.hosts[host].sent.clear();
        self.to_relay[host].clear();
        self.to_host[host].clear();
        self.flights[host].take_all().for_each(drop);
        for (id, _) in self.flights[other].take_all() {
            let lost = Frame::Answer { id, answer: Answer::Lost };
            self.to_host[other].push_back(lost.to_bytes());
        }
        self.tell(other, host, Presence::Offline);
    }

    fn relay_crashes(&mut self) {
        self.seen.relay_crashes += 1;
        for host in 0..2 {
            self.disconnect(host);
        }
        self.to_host.iter_mut().for_each(VecDeque::clear);
    }

    fn connect(&mut self, host: usize) {
        let other = 1 - host;
        if self.hosts[host].is_connected {
            return;
        }
        self.hosts[host].is_connected = true;
        if self.hosts[other].is_connected {
            self.tell(host, other, Presence::Online);
            self.tell(other, host, Presence::Online);
        }
    }

    fn tell(&mut self, host: usize, about: usize, presence: Presence) {
        if self.hosts[host].is_connected {
            let presence = Frame::Presence { peer: self.keys[about], presence, since_ms: 0 };
            self.to_host[host].push_back(presence.to_bytes());
        }
    }

    /// The relay does to a message what it likes.
    fn trick(&mut self, host: usize) {
        let queue = &mut self.to_host[host];
        let is_message =
            |frame: &&Vec<u8>| matches!(read_message(frame), Ok(Some(Frame::Deliver { .. })));
        let messages = queue.iter().filter(is_message).count();
        if messages == 0 {
            return;
        }
        let chosen = self.random.below(messages);
        let places = queue.iter().enumerate().filter(|(_, frame)| is_message(frame));
        let place = places.map(|(place, _)| place).nth(chosen).unwrap();
        let Frame::Deliver { id, from, content: Content::Sealed(sealed) } =
            read_message(&queue[place]).unwrap().unwrap()
        else {
            return;
        };
        if sealed.is_empty() {
            return;
        }
        let mut changed = sealed.to_vec();
        match self.random.below(5) {
            0 => {
                self.seen.dropped += 1;
                queue.remove(place);
                return;
            }
            1 => {
                self.seen.doubled += 1;
                let again = queue[place].clone();
                return queue.push_back(again);
            }
            2 => return queue.swap(place, 0),
            3 => changed.truncate(self.random.below(sealed.len())),
            _ => {
                let byte = self.random.below(sealed.len());
                changed[byte] ^= 1 << self.random.below(8);
            }
        }
        self.seen.changed += 1;
        queue[place] = Frame::Deliver { id, from, content: Content::Sealed(&changed) }.to_bytes();
    }

    /// From now on nothing fails any more.
    fn heal(&mut self) {
        for _ in 0..1_500 {
            for host in 0..2 {
                self.connect(host);
                self.act(host, false);
                while !(self.to_relay[host].is_empty() && self.to_host[host].is_empty()) {
                    self.relay_takes(host);
                    if let Some(frame) = self.to_host[host].pop_front() {
                        let answer = self.hosts[host].receive(&frame, self.now, &mut self.seen);
                        self.act(host, false);
                        self.to_relay[host].extend(answer);
                    }
                }
            }
            let is_quiet = self.to_relay.iter().chain(&self.to_host).all(VecDeque::is_empty);
            if is_quiet && self.hosts.iter().all(|host| host.courier.waiting() == 0) {
                return;
            }
            if is_quiet {
                // Only what the couriers say they wait for may be needed to go on.
                let wakes = self.hosts.iter().filter_map(|host| host.courier.wakes_ms()).min();
                self.now = wakes.expect("nothing to wait for, and not done").max(self.now + 1);
            }
        }
        panic!("messages are stuck");
    }

    fn check(&mut self) {
        for (host, other) in [(0, 1), (1, 0)] {
            let arrived: BTreeSet<&Vec<u8>> = self.hosts[other].mailbox.iter().collect();
            assert_eq!(arrived.len(), self.hosts[other].mailbox.len(), "a message came twice");
            let acknowledged = &self.hosts[host].acknowledged;
            assert!(acknowledged.iter().all(|body| arrived.contains(body)), "a message is lost");
            let suffix = format!("of host {host}");
            let is_own = |body: &Vec<u8>| body.ends_with(suffix.as_bytes());
            assert!(arrived.iter().all(|body| self.given.contains(*body) && is_own(body)));
            self.seen.arrived += arrived.len();
        }
    }
}

#[test]
fn what_is_acknowledged_arrives_once_whatever_happens_between() {
    let mut seen = Seen::default();
    for seed in 0..2_000 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..600).for_each(|_| world.step());
            world.seen.arrived_before = world.hosts.iter().map(|host| host.mailbox.len()).sum();
            world.heal();
            world.check();
            world.seen
        });
        let Ok(run) = run else { panic!("seed {seed}") };
        seen.crashes += run.crashes;
        seen.relay_crashes += run.relay_crashes;
        seen.dropped += run.dropped;
        seen.doubled += run.doubled;
        seen.changed += run.changed;
        seen.refused += run.refused;
        seen.arrived_before += run.arrived_before;
        seen.arrived += run.arrived;
    }
    let counts = [
        seen.crashes,
        seen.relay_crashes,
        seen.dropped,
        seen.doubled,
        seen.changed,
        seen.refused,
        seen.arrived_before,
        seen.arrived - seen.arrived_before,
    ];
    assert!(counts.iter().all(|count| *count > 200), "too little has happened: {seen:?}");
}

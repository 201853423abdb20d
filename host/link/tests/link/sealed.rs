//! Hosts that seal, over real connections: couriers, links and a relay together.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use rp_protocol::courier::{Change, Courier, Effect, Kept};
use rp_protocol::seal::{OpenError, SealingKey, SessionId, session_of};

use super::*;

pub fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A host's messages to one other: what it gives, and what arrives.
pub struct Mail {
    give: mpsc::Sender<Vec<u8>>,
    arrived: mpsc::Receiver<Vec<u8>>,
    key: PublicKey,
    _task: tokio::task::JoinHandle<()>,
}

pub fn mail(own: u8, peer: u8, relay: Relay) -> Mail {
    let host = host(own, &[relay]);
    let key = host.key;
    let (give, given) = mpsc::channel(100);
    let (arrives, arrived) = mpsc::channel(100);
    let carrier = Carrier {
        keys: SealingKey::certify(&SecretKey::from_seed(&[own; 32]), [own; 32], now_ms()),
        peer: SecretKey::from_seed(&[peer; 32]).public(),
        kept: Kept { outbox: [own; 16], ..Kept::default() },
        arrives,
        next_id: u128::from(own) << 64,
        host,
    };
    Mail { give, arrived, key, _task: tokio::spawn(carrier.run(given)) }
}

struct Carrier {
    host: Host,
    keys: SealingKey,
    peer: PublicKey,
    kept: Kept,
    arrives: mpsc::Sender<Vec<u8>>,
    next_id: u128,
}

type Answered = (Option<SessionId>, Answer);

impl Carrier {
    async fn run(mut self, mut given: mpsc::Receiver<Vec<u8>>) {
        let mut courier = Courier::load(self.peer, self.kept.clone()).unwrap();
        let (answered, mut answers) = mpsc::channel::<Answered>(100);
        let mut peers = self.host.link.peers();
        self.host.link.watch(vec![self.peer]).await.unwrap();
        loop {
            self.act(&mut courier, &answered).await;
            let wait = courier.wakes_ms().map_or(60_000, |at| at.saturating_sub(now_ms()));
            tokio::select! {
                Some(body) = given.recv() => drop(courier.take(body).unwrap()),
                Some(delivery) = self.host.deliveries.recv() => {
                    let verdict = self.open(&mut courier, &delivery);
                    // What was received is kept before the sender hears of it.
                    self.act(&mut courier, &answered).await;
                    self.host.link.answer(delivery.id, delivery.from, verdict).await.unwrap();
                }
                Some((session, answer)) = answers.recv() => courier.on_answer(session, answer),
                Ok(()) = peers.changed() => {
                    let peer = peers.borrow_and_update().get(&self.peer).copied();
                    match peer.map(|peer| peer.presence) {
                        Some(Presence::Online) => courier.on_online(),
                        _ => courier.on_offline(),
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
        }
    }

    fn open(&self, courier: &mut Courier, delivery: &Delivery) -> Verdict {
        let Message::Sealed(sealed) = &delivery.message else { panic!("in the clear") };
        match courier.on_sealed(sealed, &self.keys, now_ms()) {
            Ok(()) | Err(OpenError::Replayed | OpenError::TooOld) => Verdict::Received,
            Err(OpenError::NoSession) => Verdict::Refused(Refusal::NoSession),
            Err(_) => Verdict::Refused(Refusal::Malformed),
        }
    }

    async fn act(&mut self, courier: &mut Courier, answered: &mpsc::Sender<Answered>) {
        for effect in courier.effects(&self.keys, now_ms()) {
            match effect {
                Effect::Keep(change) => {
                    self.kept.apply(&change);
                    if let Change::Received { body, .. } = change {
                        self.arrives.send(body).await.unwrap();
                    }
                }
                Effect::Send(sealed) => {
                    self.next_id += 1;
                    let id = MessageId(self.next_id.to_be_bytes());
                    let session = session_of(&sealed);
                    let message = Message::Sealed(sealed);
                    let answers = self.host.link.send(id, self.peer, message).await.unwrap();
                    let answered = answered.clone();
                    tokio::spawn(async move {
                        let _ = answered.send((session, answers.last().await)).await;
                    });
                }
            }
        }
    }
}

pub fn bodies(of: &str, count: usize) -> BTreeSet<Vec<u8>> {
    (0..count).map(|number| format!("the secret of {of}: {number}").into_bytes()).collect()
}

pub async fn give(mail: &Mail, bodies: &BTreeSet<Vec<u8>>) {
    for body in bodies {
        mail.give.send(body.clone()).await.unwrap();
    }
}

pub async fn arrive(mail: &mut Mail, bodies: &BTreeSet<Vec<u8>>) {
    let mut arrived = BTreeSet::new();
    while arrived.len() < bodies.len() {
        assert!(arrived.insert(within(mail.arrived.recv()).await.unwrap()), "a message came twice");
    }
    assert_eq!(&arrived, bodies);
}

#[tokio::test]
async fn what_hosts_give_arrives_once_and_the_relay_cannot_read_it() {
    let relay = SmallRelay::start(ALL).await;
    let (mut alice, mut bob) = (mail(1, 2, relay.address()), mail(2, 1, relay.address()));
    let (from_alice, from_bob) = (bodies("alice", 60), bodies("bob", 60));
    tokio::join!(give(&alice, &from_alice), give(&bob, &from_bob));
    tokio::join!(arrive(&mut bob, &from_alice), arrive(&mut alice, &from_bob));
    let carried = relay.carried();
    let contains = |text: &[u8]| carried.windows(text.len()).any(|window| window == text);
    assert!(contains(alice.key.as_bytes()));
    assert!(!contains(b"the secret"));
}

#[tokio::test]
async fn what_was_given_while_the_relay_is_away_or_goes_away_arrives_after() {
    let mut relay = SmallRelay::start(ALL).await;
    let (mut alice, mut bob) = (mail(1, 2, relay.address()), mail(2, 1, relay.address()));
    let bodies = bodies("alice", 90);
    let (first, second, third) = {
        let mut all = bodies.iter().cloned().collect::<Vec<_>>();
        let third = all.split_off(60).into_iter().collect();
        let second = all.split_off(30).into_iter().collect();
        (all.into_iter().collect(), second, third)
    };
    give(&alice, &first).await;
    let arrived = within(bob.arrived.recv()).await.unwrap();
    relay.kill().await;
    give(&alice, &second).await;
    relay.listen().await;
    give(&alice, &third).await;
    let rest = bodies.into_iter().filter(|body| *body != arrived).collect();
    arrive(&mut bob, &rest).await;
    give(&bob, &rest).await;
    arrive(&mut alice, &rest).await;
}

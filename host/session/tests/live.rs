//! The mail of an agent in a person's terminal: what is given is given once, whoever dies meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use rp_mesh::{AgentId, Incoming, MailboxLimits, Mailboxes, Origin, Stage};
use rp_session::{Given, HistoryLimits, LiveMail, Sessions, SessionsConfig, Timing, message_ids};
use rp_store::Database;
use serde_json::value::RawValue;

struct Bench {
    root: tempfile::TempDir,
    mailboxes: Mailboxes,
    sessions: Sessions,
    agent: AgentId,
}

impl Bench {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(root: tempfile::TempDir) -> Self {
        let database = Database::open(&root.path().join("host.redb")).unwrap();
        let mailboxes = Mailboxes::open(database.clone(), MailboxLimits::default()).unwrap();
        let config = SessionsConfig {
            database,
            mailboxes: mailboxes.clone(),
            run_dir: root.path().join("run"),
            host_program: "/bin/sh".into(),
            timing: Timing::default(),
            history: HistoryLimits::default(),
        };
        let (sessions, _) = Sessions::new(config).await.unwrap();
        Self { root, mailboxes, sessions, agent: "0123abcd".parse().unwrap() }
    }

    async fn mail(&self) -> LiveMail {
        self.sessions.live_mail(&self.agent).await.unwrap()
    }

    async fn receives(&self, number: u64, text: &str) {
        let incoming = Incoming {
            id: id(number),
            from: "/srv/api@api".to_owned(),
            to: "/srv/web@web".to_owned(),
            re: None,
            body: RawValue::from_string(serde_json::to_string(text).unwrap()).unwrap(),
            origin: Origin::Agent,
            sender: None,
            expires_at_ms: None,
        };
        let (done, stored) = tokio::sync::oneshot::channel();
        self.mailboxes.accept(&self.agent, incoming, 1, move |outcome| drop(done.send(outcome)));
        stored.await.unwrap().unwrap();
    }

    async fn stage(&self, number: u64) -> Stage {
        self.mailboxes.settled().await.unwrap();
        self.mailboxes.trace(&id(number)).unwrap().pop().unwrap().stage
    }
}

fn id(number: u64) -> String {
    format!("0199aaaa-0000-7000-8000-{number:012}")
}

/// The number and the ids of a batch.
fn batch(given: Given) -> (u64, Vec<String>) {
    match given {
        Given::Batch { number, text } => (number, message_ids(&text).map(str::to_owned).collect()),
        other => panic!("no batch: {other:?}"),
    }
}

/// What comes of asking when the conversation holds these messages.
fn give(mail: &LiveMail, holds: &[String]) -> Given {
    match mail.give(None) {
        Given::Doubt(ids) => {
            let held: Vec<_> = ids.into_iter().filter(|id| holds.contains(id)).collect();
            mail.give(Some(&held))
        }
        given => given,
    }
}

#[tokio::test]
async fn messages_come_in_order_and_each_once() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    assert_eq!(mail.give(None), Given::Nothing);
    bench.receives(1, "one").await;
    bench.receives(2, "two").await;
    let (number, ids) = batch(give(&mail, &[]));
    assert_eq!(ids, [id(1), id(2)]);
    assert_eq!(mail.give(None), Given::Nothing, "they are being given to somebody else");
    assert_eq!(bench.stage(1).await, Stage::Offered);
    assert!(mail.taken(number, false));
    assert!(!mail.taken(number, false), "that is no news");
    assert_eq!(bench.stage(1).await, Stage::Injected);
    mail.turn_ended();
    assert_eq!(bench.stage(2).await, Stage::TurnSeen);
    assert_eq!(mail.give(None), Given::Nothing);
}

#[tokio::test]
async fn what_was_not_acknowledged_is_given_again_unless_the_conversation_holds_it() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    bench.receives(1, "one").await;
    bench.receives(2, "two").await;
    let (number, _) = batch(give(&mail, &[]));
    mail.gone(number);
    assert!(!mail.taken(number, false), "whoever says so is gone");

    assert!(matches!(mail.give(None), Given::Doubt(ids) if ids.contains(&id(1))));
    // Whoever was to look into the conversation went away.
    let (number, ids) = batch(give(&mail, &[id(1)]));
    assert_eq!(ids, [id(2)]);
    assert_eq!(bench.stage(1).await, Stage::TurnSeen);
    assert!(mail.taken(number, true));
    assert_eq!(bench.stage(2).await, Stage::TurnSeen);
    mail.gone(number);
    assert_eq!(give(&mail, &[]), Given::Nothing);
}

#[tokio::test]
async fn a_turn_that_was_broken_off_has_told_what_stands_in_the_conversation() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    bench.receives(1, "one").await;
    let (number, _) = batch(give(&mail, &[]));
    mail.taken(number, false);
    mail.turn_begins();
    let (number, ids) = batch(give(&mail, &[]));
    assert_eq!(ids, [id(1)], "the prompt with it was not submitted");
    mail.taken(number, false);
    mail.turn_begins();
    assert_eq!(give(&mail, &[id(1)]), Given::Nothing);
}

#[tokio::test]
async fn a_host_that_was_killed_asks_what_the_conversation_holds() {
    let bench = Bench::new().await;
    bench.receives(1, "one").await;
    bench.receives(2, "two").await;
    let mail = bench.mail().await;
    let (number, _) = batch(give(&mail, &[]));
    mail.taken(number, false);
    bench.receives(3, "three").await;
    bench.mailboxes.settled().await.unwrap();

    let Bench { root, mailboxes, sessions, .. } = bench;
    drop((mail, sessions, mailboxes));
    let bench = Bench::at(root).await;
    let mail = bench.mail().await;
    let (number, ids) = batch(give(&mail, &[id(1)]));
    assert_eq!(ids, [id(2), id(3)]);
    assert!(mail.taken(number, true));
    assert!(bench.root.path().exists());
}

#[tokio::test]
async fn what_is_too_long_to_be_given_stays_for_the_tool_that_takes_it() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    bench.receives(1, "one").await;
    let (number, _) = batch(give(&mail, &[]));
    assert!(mail.left(number) && !mail.left(number));
    assert_eq!(bench.mailboxes.pending(&bench.agent, 9).unwrap()[0].stage, Stage::Stored);
    mail.turn_ended();
    let (number, ids) = batch(give(&mail, &[]));
    assert_eq!(ids, [id(1)]);
    assert!(mail.taken(number, true));
}

#[tokio::test]
async fn a_turn_goes_on_with_messages_only_so_often() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    mail.turn_ended();
    let went_on = (0..10).take_while(|_| mail.turn_ended_again()).count();
    assert_eq!(went_on, 4);
    mail.turn_ended();
    assert!(mail.turn_ended_again());
}

#[tokio::test]
async fn a_batch_is_as_long_as_a_hook_may_speak_and_a_longer_message_goes_alone() {
    let bench = Bench::new().await;
    let mail = bench.mail().await;
    for (number, length) in [(1, 5_000), (2, 5_000), (3, 20_000)] {
        bench.receives(number, &"x".repeat(length)).await;
    }
    for wanted in [1, 2, 3] {
        let (number, ids) = batch(give(&mail, &[]));
        assert_eq!(ids, [id(wanted)]);
        assert!(mail.taken(number, true));
    }
}

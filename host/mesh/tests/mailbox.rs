//! What senders, agents and the host may rely on in a mailbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rp_mesh::{
    Accepted, AgentId, HeldMessage, Incoming, MailboxLimits, Mailboxes, Origin, Refused, Stage,
    TraceStep,
};
use rp_store::Database;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

fn open(folder: &Path, limits: MailboxLimits) -> Mailboxes {
    let database = Database::open(&folder.join("host.redb")).unwrap();
    Mailboxes::open(database, limits).unwrap()
}

fn agent() -> AgentId {
    "3f9c02ab".parse().unwrap()
}

fn message(id: impl ToString) -> Incoming {
    Incoming {
        id: id.to_string(),
        from: "/srv/api#reviewer".to_owned(),
        to: "/srv/web#writer".to_owned(),
        re: None,
        body: RawValue::from_string(r#"{"text":"what about U+2028?"}"#.to_owned()).unwrap(),
        origin: Origin::Agent,
        sender: None,
        expires_at_ms: None,
    }
}

async fn accept(
    mailboxes: &Mailboxes,
    agent: &AgentId,
    message: Incoming,
    now_ms: u64,
) -> Result<Accepted, Refused> {
    let (tell, told) = oneshot::channel();
    mailboxes.accept(agent, message, now_ms, |result| drop(tell.send(result)));
    told.await.unwrap()
}

async fn accept_ids(mailboxes: &Mailboxes, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        accept(mailboxes, &agent(), message(id), NOW).await.unwrap();
    }
}

fn pending_ids(mailboxes: &Mailboxes) -> Vec<String> {
    let pending = mailboxes.pending(&agent(), usize::MAX).unwrap();
    pending.into_iter().map(|pending| pending.message.id).collect()
}

fn stages(steps: &[TraceStep]) -> Vec<String> {
    steps.iter().map(|step| step.stage.to_string()).collect()
}

#[tokio::test]
async fn messages_wait_in_the_order_they_were_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    let (tell, told) = mpsc::channel();
    for id in 0..1000u32 {
        let tell = tell.clone();
        mailboxes.accept(&agent(), message(id), NOW, move |result| {
            assert_eq!(result.unwrap(), Accepted::Stored);
            tell.send(id).unwrap();
        });
    }
    drop(tell);
    assert!(told.iter().is_sorted());
    let pending = mailboxes.pending(&agent(), 600).unwrap();
    assert_eq!(pending.len(), 600);
    for (position, pending) in pending.iter().enumerate() {
        assert_eq!(pending.message.id, position.to_string());
        assert_eq!(pending.stage, Stage::Stored);
        assert_eq!(pending.accepted_at_ms, NOW);
    }
    assert!(pending.is_sorted_by_key(|pending| pending.sequence));
    assert_eq!(mailboxes.waiting(&agent()), 1000);
}

#[tokio::test]
async fn a_message_comes_out_as_it_went_in_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sent = Incoming {
        re: Some("the question".to_owned()),
        origin: Origin::Person,
        expires_at_ms: Some(NOW + 5),
        body: RawValue::from_string("{ \"b\" : 1.50 , \"a\":\"\u{2028}\" }".to_owned()).unwrap(),
        ..message("one")
    };
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept(&mailboxes, &agent(), sent.clone(), NOW).await.unwrap();
    drop(mailboxes);
    let mailboxes = open(folder.path(), MailboxLimits::default());
    let pending = mailboxes.pending(&agent(), 10).unwrap();
    assert_eq!(format!("{:?}", pending[0].message), format!("{sent:?}"));
    assert_eq!(mailboxes.next_expiry(), Some(NOW + 5));
}

#[tokio::test]
async fn a_second_copy_is_recognised_while_the_first_waits_and_after_it_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [1]).await;
    let again = accept(&mailboxes, &agent(), message(1), NOW).await.unwrap();
    assert_eq!(again, Accepted::Duplicate);

    let sequence = mailboxes.pending(&agent(), 1).unwrap()[0].sequence;
    mailboxes.mark(&agent(), &[sequence], Stage::Injected, NOW);
    let again = accept(&mailboxes, &agent(), message(1), NOW).await.unwrap();
    assert_eq!(again, Accepted::Duplicate);
    assert_eq!(pending_ids(&mailboxes), Vec::<String>::new());

    let other = AgentId::random();
    let to_other = accept(&mailboxes, &other, message(1), NOW).await.unwrap();
    assert_eq!(to_other, Accepted::Stored);
}

#[tokio::test]
async fn a_full_mailbox_refuses_until_the_agent_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let limits = MailboxLimits { waiting: 3, ..MailboxLimits::default() };
    let mailboxes = open(folder.path(), limits);
    accept_ids(&mailboxes, [1, 2, 3]).await;
    let refused = accept(&mailboxes, &agent(), message(4), NOW).await.unwrap_err();
    assert!(matches!(refused, Refused::Full { waiting: 3, .. }), "{refused}");
    let other = AgentId::random();
    accept(&mailboxes, &other, message(4), NOW).await.unwrap();

    mailboxes.mark(&agent(), &[0], Stage::Injected, NOW);
    accept_ids(&mailboxes, [5]).await;
    assert_eq!(pending_ids(&mailboxes), ["2", "3", "5"]);
}

#[tokio::test]
async fn bytes_are_limited_per_message_and_per_mailbox() {
    let folder = tempfile::tempdir().unwrap();
    let limits =
        MailboxLimits { waiting_bytes: 2500, body_bytes: 1000, ..MailboxLimits::default() };
    let mailboxes = open(folder.path(), limits);
    let of_bytes = |id, bytes| Incoming {
        body: RawValue::from_string("1".repeat(bytes)).unwrap(),
        ..message(id)
    };
    let refused = accept(&mailboxes, &agent(), of_bytes(0, 1001), NOW).await;
    assert!(matches!(refused, Err(Refused::TooLarge { bytes: 1001, limit: 1000 })));
    accept(&mailboxes, &agent(), of_bytes(1, 1000), NOW).await.unwrap();
    accept(&mailboxes, &agent(), of_bytes(2, 1000), NOW).await.unwrap();
    let refused = accept(&mailboxes, &agent(), of_bytes(3, 1000), NOW).await;
    assert!(matches!(refused, Err(Refused::Full { .. })));
    mailboxes.mark(&agent(), &[0], Stage::Failed { reason: "no".to_owned() }, NOW);
    accept(&mailboxes, &agent(), of_bytes(4, 1000), NOW).await.unwrap();
}

#[tokio::test]
async fn a_trace_shows_every_stage_with_its_time_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [7]).await;
    mailboxes.mark(&agent(), &[0], Stage::Offered, NOW + 10_000);
    mailboxes.mark(&agent(), &[0], Stage::Injected, NOW + 20_000);
    mailboxes.mark(&agent(), &[0], Stage::TurnSeen, NOW + 30_000);
    mailboxes.answered(Some(&agent()), "7", "8", NOW + 40_000);
    mailboxes.settled().await.unwrap();
    for restart in [false, true] {
        let mailboxes = match restart {
            false => mailboxes.clone(),
            true => {
                let file = "host.redb";
                std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
                open(copy.path(), MailboxLimits::default())
            }
        };
        let steps = mailboxes.trace("7").unwrap();
        assert_eq!(
            stages(&steps),
            ["accepted", "stored", "offered", "injected", "turn-seen", "answered"]
        );
        let times: Vec<u64> = steps.iter().map(|step| step.at_ms - NOW).collect();
        assert_eq!(times[0], 0);
        assert!(times[1] < 10_000, "stored after {} ms", times[1]);
        assert_eq!(times[2..], [10_000, 20_000, 30_000, 40_000]);
        assert!(steps.iter().all(|step| step.agent == Some(agent())));
        assert_eq!(steps[5].detail.as_deref(), Some("8"));
    }
}

#[tokio::test]
async fn a_mark_that_makes_no_sense_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [1]).await;
    mailboxes.mark(&agent(), &[0], Stage::TurnSeen, NOW);
    mailboxes.mark(&agent(), &[0, 99], Stage::Offered, NOW);
    mailboxes.mark(&AgentId::random(), &[0], Stage::Injected, NOW);
    mailboxes.settled().await.unwrap();
    assert_eq!(pending_ids(&mailboxes), ["1"]);
    assert_eq!(stages(&mailboxes.trace("1").unwrap()), ["accepted", "stored", "offered"]);
}

#[tokio::test]
async fn a_message_that_no_turn_saw_can_go_back_and_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [1, 2, 3]).await;
    mailboxes.mark(&agent(), &[0, 1], Stage::Offered, NOW);
    mailboxes.mark(&agent(), &[0, 1], Stage::Injected, NOW);
    mailboxes.mark(&agent(), &[0], Stage::TurnSeen, NOW);
    assert_eq!(pending_ids(&mailboxes), ["3"]);
    mailboxes.mark(&agent(), &[0, 1], Stage::Stored, NOW);
    mailboxes.settled().await.unwrap();
    assert_eq!(pending_ids(&mailboxes), ["2", "3"]);
}

#[tokio::test]
async fn an_agent_that_answers_early_is_not_handed_the_question_again() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [1, 2]).await;
    mailboxes.answered(Some(&agent()), "1", "its answer", NOW);
    mailboxes.answered(Some(&agent()), "unknown", "x", NOW);
    mailboxes.settled().await.unwrap();
    assert_eq!(pending_ids(&mailboxes), ["2"]);
}

#[tokio::test]
async fn an_overdue_message_fails_once_and_its_sender_can_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    for (id, expires_at_ms) in
        [(1, Some(NOW + 50)), (2, None), (3, Some(NOW + 10)), (4, Some(NOW + 20))]
    {
        let message = Incoming { expires_at_ms, ..message(id) };
        accept(&mailboxes, &agent(), message, NOW).await.unwrap();
    }
    assert_eq!(mailboxes.next_expiry(), Some(NOW + 10));
    assert!(mailboxes.expire(NOW + 9).unwrap().is_empty());
    // What a harness is being handed does not expire under its hands.
    mailboxes.mark(&agent(), &[3], Stage::Offered, NOW + 12);
    let expired = mailboxes.expire(NOW + 30).unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].id, "3");
    assert_eq!(expired[0].from, "/srv/api#reviewer");
    assert!(mailboxes.expire(NOW + 30).unwrap().is_empty());
    assert_eq!(mailboxes.next_expiry(), Some(NOW + 50));
    assert_eq!(pending_ids(&mailboxes), ["1", "2", "4"]);
    // Once the offer is withdrawn its time is up after all.
    mailboxes.mark(&agent(), &[3], Stage::Stored, NOW + 31);
    assert_eq!(mailboxes.expire(NOW + 31).unwrap()[0].id, "4");
    mailboxes.settled().await.unwrap();
    let steps = mailboxes.trace("3").unwrap();
    assert!(steps[2].stage.to_string().starts_with("failed: expired"));
}

#[tokio::test]
async fn the_oldest_taken_messages_are_forgotten_first_their_bodies_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let limits = MailboxLimits { kept: 10, kept_bytes: 500, ..MailboxLimits::default() };
    let mailboxes = open(folder.path(), limits);
    accept_ids(&mailboxes, 0..30).await;
    let all: Vec<u64> = (0..25).collect();
    mailboxes.mark(&agent(), &all, Stage::Injected, NOW);
    mailboxes.settled().await.unwrap();
    let inbox = mailboxes.inbox(&agent(), None, 1000).unwrap();
    let ids: Vec<&str> = inbox.iter().map(|letter| letter.id.as_str()).collect();
    let expected: Vec<String> = (15..30).rev().map(|id| id.to_string()).collect();
    assert_eq!(ids, expected);
    let with_body: Vec<bool> = inbox.iter().map(|letter| letter.body.is_some()).collect();
    assert_eq!(with_body.iter().filter(|with| **with).count(), 5 + 7);
    assert!(with_body[..12].iter().all(|with| *with));
    assert!(mailboxes.trace("3").unwrap().is_empty());
    let page = mailboxes.inbox(&agent(), Some(20), 2).unwrap();
    assert_eq!([page[0].sequence, page[1].sequence], [19, 18]);
    // Forgotten is forgotten: the id can be used again.
    let again = accept(&mailboxes, &agent(), message(3), NOW).await.unwrap();
    assert_eq!(again, Accepted::Stored);
}

#[tokio::test]
async fn taken_messages_are_forgotten_after_a_week_and_waiting_ones_never() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    accept_ids(&mailboxes, [1, 2, 3]).await;
    mailboxes.mark(&agent(), &[1], Stage::Injected, NOW);
    let later = NOW + 8 * DAY;
    accept(&mailboxes, &agent(), message(4), later).await.unwrap();
    let inbox = mailboxes.inbox(&agent(), None, 10).unwrap();
    let ids: Vec<&str> = inbox.iter().map(|letter| letter.id.as_str()).collect();
    assert_eq!(ids, ["4", "3", "1"]);
}

#[tokio::test]
async fn messages_to_other_programs_are_traced_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let limits = MailboxLimits { kept: 100, ..MailboxLimits::default() };
    let mailboxes = open(folder.path(), limits);
    for id in 0..150u64 {
        let step = TraceStep {
            stage: Stage::Accepted,
            at_ms: NOW + id,
            agent: None,
            detail: Some("/srv/web#legacy".to_owned()),
        };
        mailboxes.trace_only(&id.to_string(), step);
    }
    mailboxes.answered(None, "149", "the answer", NOW + 1000);
    mailboxes.settled().await.unwrap();
    let steps = mailboxes.trace("149").unwrap();
    assert_eq!(stages(&steps), ["accepted", "answered"]);
    assert_eq!(steps[1].detail.as_deref(), Some("the answer"));
    let known = (0..150).filter(|id| !mailboxes.trace(&id.to_string()).unwrap().is_empty());
    assert_eq!(known.count(), 100);
}

#[tokio::test]
async fn held_messages_survive_a_restart_and_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let limits = MailboxLimits { held: 2, ..MailboxLimits::default() };
    let held = |id: &str, held_at_ms| HeldMessage {
        message: message(id),
        recipients: vec!["/srv/web#writer".to_owned()],
        reason: "first message of a new sender".to_owned(),
        held_at_ms,
    };
    let mailboxes = open(folder.path(), limits);
    let (tell, told) = mpsc::channel();
    for (id, at_ms) in [("b", NOW), ("a", NOW + 1), ("a", NOW + 2), ("c", NOW + 3)] {
        let tell = tell.clone();
        mailboxes.hold(held(id, at_ms), move |result| {
            tell.send(result.is_ok()).unwrap();
        });
    }
    let outcomes: Vec<bool> = told.iter().take(4).collect();
    assert_eq!(outcomes, [true, true, true, false]);
    drop(mailboxes);

    let mailboxes = open(folder.path(), limits);
    let ids: Vec<String> =
        mailboxes.held().unwrap().into_iter().map(|held| held.message.id).collect();
    assert_eq!(ids, ["b", "a"]);
    assert!(mailboxes.held_message("a").unwrap().is_some());
    accept(&mailboxes, &agent(), message("a"), NOW + 9).await.unwrap();
    mailboxes.drop_held("a");
    mailboxes.settled().await.unwrap();
    assert!(mailboxes.held_message("a").unwrap().is_none());
    assert_eq!(
        stages(&mailboxes.trace("a").unwrap())[..2],
        ["held: first message of a new sender", "accepted"]
    );
    let (tell, told) = oneshot::channel();
    mailboxes.hold(held("d", NOW), |result| drop(tell.send(result)));
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_waiter_is_woken_by_an_arrival_and_by_what_waited_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    let arrivals = mailboxes.arrivals(&agent());
    let waiter = tokio::spawn(async move { arrivals.notified().await });
    accept_ids(&mailboxes, [1]).await;
    waiter.await.unwrap();
    drop(mailboxes);
    let mailboxes = open(folder.path(), MailboxLimits::default());
    mailboxes.arrivals(&agent()).notified().await;
}

#[tokio::test]
async fn a_removed_mailbox_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mailboxes = open(folder.path(), MailboxLimits::default());
    let other = AgentId::random();
    accept_ids(&mailboxes, 0..5).await;
    accept(&mailboxes, &other, message(1), NOW).await.unwrap();
    mailboxes.mark(&agent(), &[0, 1], Stage::Injected, NOW);
    mailboxes.remove(&agent()).await.unwrap();
    assert_eq!(mailboxes.waiting(&agent()), 0);
    assert!(mailboxes.inbox(&agent(), None, 10).unwrap().is_empty());
    assert!(mailboxes.trace("0").unwrap().is_empty());
    assert_eq!(mailboxes.waiting(&other), 1);
    assert_eq!(mailboxes.inbox(&other, None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn a_thousand_messages_to_a_busy_agent_are_taken_once_each_in_order_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut taken = Vec::new();
    let mut accepted = 0;
    for round in 0..10u64 {
        let mailboxes = open(folder.path(), MailboxLimits::default());
        for id in accepted..accepted + 100 {
            mailboxes.accept(&agent(), message(id), NOW, |result| assert!(result.is_ok()));
            // Senders that are unsure send again.
            mailboxes.accept(&agent(), message(id), NOW, |result| assert!(result.is_ok()));
        }
        accepted += 100;
        mailboxes.settled().await.unwrap();
        let turns = if round == 9 { usize::MAX } else { 7 };
        for _ in 0..turns {
            let pending = mailboxes.pending(&agent(), 9).unwrap();
            if pending.is_empty() {
                break;
            }
            let sequences: Vec<u64> = pending.iter().map(|pending| pending.sequence).collect();
            mailboxes.mark(&agent(), &sequences, Stage::Offered, NOW);
            mailboxes.mark(&agent(), &sequences, Stage::Injected, NOW);
            taken.extend(pending.into_iter().map(|pending| pending.message.id));
        }
    }
    let expected: Vec<String> = (0..1000).map(|id: u64| id.to_string()).collect();
    assert_eq!(taken, expected);
}

const FOLDER_VARIABLE: &str = "RP_MESH_TEST_MAILBOX";

/// Not a test by itself: the host that is killed. It accepts messages for ever and prints each
/// that is stored; at the same time it takes messages and prints each that was offered, before,
/// and each whose injection is on disk, after.
#[test]
fn helper_takes_messages_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        return;
    };
    let mailboxes = open(Path::new(&folder), MailboxLimits::default());
    let say = |line: String| writeln!(std::io::stdout(), "{line}").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let accepting = mailboxes.clone();
        tokio::spawn(async move {
            for number in 0u64.. {
                let id = format!("{}-{number}", std::process::id());
                let stored = format!("stored {id}");
                let (tell, told) = oneshot::channel();
                accepting.accept(&agent(), message(id), NOW, |result| drop(tell.send(result)));
                if told.await.unwrap().is_ok() {
                    writeln!(std::io::stdout(), "{stored}").unwrap();
                }
            }
        });
        let arrivals = mailboxes.arrivals(&agent());
        loop {
            let pending = mailboxes.pending(&agent(), 5).unwrap();
            if pending.is_empty() {
                arrivals.notified().await;
                continue;
            }
            let sequences: Vec<u64> = pending.iter().map(|pending| pending.sequence).collect();
            for pending in &pending {
                say(format!("offered {}", pending.message.id));
            }
            mailboxes.mark(&agent(), &sequences, Stage::Offered, NOW);
            mailboxes.mark(&agent(), &sequences, Stage::Injected, NOW);
            mailboxes.settled().await.unwrap();
            for pending in &pending {
                say(format!("injected {}", pending.message.id));
            }
        }
    });
}

#[tokio::test]
async fn messages_survive_kill_minus_nine_and_none_that_was_injected_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stored, mut offered, mut injected) = (HashSet::new(), HashSet::new(), HashSet::new());
    for round in 0..6usize {
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_takes_messages_until_killed", "--nocapture"])
            .env(FOLDER_VARIABLE, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(helper.stdout.take().unwrap());
        let mut printed = String::new();
        for _ in 0..60 + 331 * round {
            output.read_line(&mut printed).unwrap();
        }
        helper.kill().unwrap();
        output.read_to_string(&mut printed).unwrap();
        helper.wait().unwrap();
        // What has no end was torn by the kill. A whole line counts: what it says has happened.
        let whole = printed.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
        for line in whole.lines() {
            match line.split_once(' ') {
                Some(("stored", id)) => drop(stored.insert(id.to_owned())),
                Some(("injected", id)) => {
                    assert!(injected.insert(id.to_owned()), "{id} came again");
                }
                Some(("offered", id)) if id.contains('-') => {
                    assert!(!injected.contains(id), "{id} came again");
                    offered.insert(id.to_owned());
                }
                _ => {}
            }
        }
    }
    let mailboxes = open(folder.path(), MailboxLimits::default());
    let left: HashSet<String> = pending_ids(&mailboxes).into_iter().collect();
    for id in &stored {
        let is_taken = injected.contains(id) || offered.contains(id);
        assert!(is_taken || left.contains(id), "{id} was lost");
    }
    assert!(injected.is_disjoint(&left), "an injected message waits again");
    assert!(stored.len() > 200, "only {} messages", stored.len());
}

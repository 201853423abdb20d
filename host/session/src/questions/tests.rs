#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use rp_protocol::session::{Answer, QuestionKind};

use super::*;

fn agent() -> AgentId {
    "0123abcd".parse().unwrap()
}

fn question(title: &str) -> Question {
    Question {
        id: "its own id".to_owned(),
        title: title.to_owned(),
        detail: String::new(),
        kind: QuestionKind::Confirm,
        expires_ms: None,
    }
}

fn yes() -> QuestionEnd {
    let answer = Answer::Confirm { yes: true };
    QuestionEnd::Answered { by: "attach".to_owned(), answer, words: "yes".to_owned() }
}

/// A question as it is once it ended like this.
fn over(mut asked: AskedQuestion, how: QuestionEnd) -> AskedQuestion {
    asked.settled = Some(Settled { at_ms: 1_000, how });
    asked
}

fn ids(asked: &[AskedQuestion]) -> Vec<&str> {
    asked.iter().map(|asked| asked.question.id.as_str()).collect()
}

async fn ask(questions: &Questions, title: &str) -> AskedQuestion {
    let asked = questions.number(&agent(), question(title));
    questions.write(vec![Change::Open(asked.clone())]).await.unwrap();
    asked
}

#[tokio::test]
async fn what_a_killed_host_left_open_is_lost_and_an_answer_it_had_noted_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.redb");
    let database = Database::open(&path).unwrap();
    let questions = Questions::open(database.clone()).await.unwrap();
    let open = ask(&questions, "open").await;
    let answered = ask(&questions, "answered").await;
    questions.write(vec![Change::Open(over(answered, yes()))]).await.unwrap();
    assert_eq!(ids(&questions.list(false).unwrap()), ["q1"]);
    drop((questions, database));

    let questions = Questions::open(Database::open(&path).unwrap()).await.unwrap();
    assert_eq!(questions.list(false).unwrap(), []);
    let ends: Vec<_> = questions
        .list(true)
        .unwrap()
        .into_iter()
        .map(|asked| (asked.question.id, asked.settled.unwrap().how))
        .collect();
    assert_eq!(ends, [("q1".to_owned(), QuestionEnd::Lost), ("q2".to_owned(), yes())]);
    assert_eq!(questions.left_open(&agent()), [open.question.id]);
    assert_eq!(questions.left_open(&agent()), [""; 0], "it is told once");
    let refused = questions.refusal("q1").message;
    assert!(refused.starts_with("question q1 was lost at "), "{refused}");
    assert_eq!(ask(&questions, "new").await.question.id, "q3", "no id is given twice");
}

#[tokio::test]
async fn whoever_is_late_is_told_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("host.redb")).unwrap();
    let questions = Questions::open(database).await.unwrap();
    for (how, message) in [
        (yes(), "question q1 was already answered by attach at 1970-01-01T00:00:01Z: yes"),
        (
            QuestionEnd::Withdrawn,
            "question q2 was withdrawn by its harness at 1970-01-01T00:00:01Z",
        ),
        (QuestionEnd::Expired, "question q3 expired at 1970-01-01T00:00:01Z"),
        (QuestionEnd::Lost, "question q4 was lost at 1970-01-01T00:00:01Z: what asked it ended"),
    ] {
        let asked = ask(&questions, "?").await;
        let id = asked.question.id.clone();
        questions.write(vec![Change::Settle(over(asked, how))]).await.unwrap();
        assert_eq!(questions.refusal(&id).message, message);
    }
    for unknown in ["q9", "q01", "q+1", "1", "q", ""] {
        let refused = questions.refusal(unknown);
        assert_eq!(refused.kind, FailureKind::NotFound);
        assert_eq!(refused.message, format!("no question has the id {unknown}"));
    }
}

#[tokio::test]
async fn the_newest_thousand_that_are_over_are_kept_and_no_more_bytes_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("host.redb")).unwrap();
    let questions = Questions::open(database).await.unwrap();
    let open = ask(&questions, "open").await;
    let settle = |title: &str| {
        Change::Settle(over(questions.number(&agent(), question(title)), QuestionEnd::Expired))
    };
    let many = (0..KEPT + 5).map(|_| settle("short")).collect();
    questions.write(many).await.unwrap();
    let kept = questions.list(true).unwrap();
    assert_eq!(kept.len() as u64, KEPT + 1);
    assert_eq!(kept[0], open, "what is open stays, however old it is");
    assert_eq!(kept[1].question.id, "q7");

    let large = "x".repeat(usize::try_from(KEPT_BYTES / 2).unwrap());
    for _ in 0..3 {
        questions.write(vec![settle(&large)]).await.unwrap();
    }
    let kept = questions.list(true).unwrap();
    assert_eq!(kept.len(), 2, "one of them, because two and their other fields are too large");

    questions.forget(&agent()).await.unwrap();
    assert_eq!(questions.list(true).unwrap(), []);
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_written_with_what_comes_next() {
    const BROKEN: TableDefinition<&str, u64> = TableDefinition::new("questions_open");
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("host.redb")).unwrap();
    let questions = Questions::open(database.clone()).await.unwrap();
    // As a full disk, this lets no question in until it is mended.
    let breaking = |transaction: &WriteTransaction| {
        transaction.delete_table(OPEN)?;
        transaction.open_table(BROKEN)?;
        Ok(())
    };
    database.write(breaking).await.unwrap();
    let first = questions.number(&agent(), question("first"));
    let mut changes = vec![Change::Open(first)];
    questions.write_out(&mut changes).await.unwrap_err();
    assert_eq!(changes.len(), 1);
    let mending = |transaction: &WriteTransaction| {
        transaction.delete_table(BROKEN)?;
        transaction.open_table(OPEN)?;
        Ok(())
    };
    database.write(mending).await.unwrap();
    changes.push(Change::Open(questions.number(&agent(), question("second"))));
    questions.write_out(&mut changes).await.unwrap();
    assert!(changes.is_empty());
    assert_eq!(ids(&questions.list(false).unwrap()), ["q1", "q2"]);

    database.write(breaking).await.unwrap();
    let settle = |_| Change::Settle(over(questions.number(&agent(), question("?")), yes()));
    let mut changes: Vec<_> = (0..UNWRITTEN + 1).map(settle).collect();
    questions.write_out(&mut changes).await.unwrap_err();
    assert_eq!(changes.len(), UNWRITTEN, "the oldest is given up");
}

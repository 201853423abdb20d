#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use super::*;

fn text(message: &str, piece: &str) -> Event {
    Event::Text { message: message.to_owned(), piece: piece.to_owned() }
}

fn thinking(message: &str, piece: &str) -> Event {
    Event::Thinking { message: message.to_owned(), piece: piece.to_owned() }
}

/// Event number `sequence` of the tests' logs.
fn numbered(sequence: u64) -> Event {
    text("m", &sequence.to_string())
}

struct Bench {
    database: Database,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("host.redb")).unwrap();
        Self { database, _folder: folder }
    }

    async fn open(&self, limits: HistoryLimits) -> History {
        History::open(self.database.clone(), "0123abcd", limits).await.unwrap()
    }

    async fn open_large(&self) -> History {
        self.open(HistoryLimits::default()).await
    }
}

async fn append(history: &History, sequences: std::ops::RangeInclusive<u64>) {
    history.append(sequences.map(numbered).collect(), 7).await;
}

/// Reads up to and with this number, and checks that each event is its own.
async fn read_to(reader: &mut HistoryReader, last: u64) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.last() != Some(&last) {
        match reader.next().await.unwrap() {
            HistoryItem::Event(recorded) => {
                assert_eq!(recorded.event, numbered(recorded.sequence));
                assert_eq!(recorded.at_ms, 7);
                sequences.push(recorded.sequence);
            }
            HistoryItem::Dropped { first } => panic!("dropped up to {first}"),
        }
    }
    sequences
}

fn all(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn only_neighbouring_pieces_of_the_same_thing_are_joined() {
    let events = vec![
        text("1", "a"),
        text("1", "b"),
        thinking("1", "c"),
        thinking("1", "d"),
        text("1", "e"),
        text("2", "f"),
        Event::TurnStarted,
        Event::TurnStarted,
        text("2", "g"),
    ];
    let expected = vec![
        text("1", "ab"),
        thinking("1", "cd"),
        text("1", "e"),
        text("2", "f"),
        Event::TurnStarted,
        Event::TurnStarted,
        text("2", "g"),
    ];
    assert_eq!(join_pieces(events), expected);
}

#[tokio::test]
async fn a_reader_gets_what_is_stored_then_what_comes_each_once() {
    let bench = Bench::new();
    let history = bench.open_large().await;
    append(&history, 1..=3000).await;
    let mut from_start = history.after(0);
    let mut from_middle = history.after(2500);
    let mut live = history.after(history.last());

    let writer = tokio::spawn({
        let history = history.clone();
        async move {
            for sequence in 3001..=9000 {
                append(&history, sequence..=sequence).await;
            }
        }
    });
    assert_eq!(read_to(&mut from_start, 9000).await, all(1..=9000));
    assert_eq!(read_to(&mut from_middle, 9000).await, all(2501..=9000));
    assert_eq!(read_to(&mut live, 9000).await, all(3001..=9000));
    writer.await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_closed_goes_on_where_it_ended() {
    let bench = Bench::new();
    let history = bench.open_large().await;
    append(&history, 1..=10).await;
    let mut reader = history.after(0);
    history.close().await;
    assert_eq!(read_to(&mut reader, 10).await, all(1..=10));
    assert_eq!(reader.next().await, None);

    let history = bench.open_large().await;
    assert_eq!(history.last(), 10);
    append(&history, 11..=12).await;
    assert_eq!(read_to(&mut history.after(8), 12).await, all(9..=12));
}

#[tokio::test]
async fn after_a_crash_no_number_is_given_twice() {
    let bench = Bench::new();
    let history = bench.open_large().await;
    append(&history, 1..=10).await;
    drop(history);

    let history = bench.open_large().await;
    let first = history.last() + 1;
    assert!(first > 10);
    append(&history, first..=first + 1).await;
    let mut expected = all(1..=10);
    expected.extend([first, first + 1]);
    assert_eq!(read_to(&mut history.after(0), first + 1).await, expected);
    assert_eq!(read_to(&mut history.after(10), first + 1).await, [first, first + 1]);
}

#[tokio::test]
async fn the_oldest_events_are_dropped_and_who_asks_for_them_is_told() {
    let bench = Bench::new();
    let history = bench.open(HistoryLimits { events: 100, bytes: u64::MAX }).await;
    for start in (1..5000).step_by(50) {
        append(&history, start..=start + 49).await;
    }
    history.close().await;
    // What is in memory is not dropped; a new start has nothing in memory.
    let history = bench.open(HistoryLimits { events: 100, bytes: u64::MAX }).await;
    let mut reader = history.after(0);
    assert_eq!(reader.next().await, Some(HistoryItem::Dropped { first: 4901 }));
    assert_eq!(read_to(&mut reader, 5000).await, all(4901..=5000));
    assert_eq!(read_to(&mut history.after(4900), 5000).await, all(4901..=5000));
}

#[tokio::test]
async fn a_log_is_bounded_in_bytes_but_keeps_its_newest_event() {
    let bench = Bench::new();
    let limits = HistoryLimits { events: 1000, bytes: 1000 };
    let history = bench.open(limits).await;
    for piece in ["a".repeat(600), "b".repeat(600), "c".repeat(5000)] {
        history.append(vec![text("m", &piece)], 7).await;
    }
    history.close().await;
    let history = bench.open(limits).await;
    let mut reader = history.after(0);
    assert_eq!(reader.next().await, Some(HistoryItem::Dropped { first: 3 }));
    let Some(HistoryItem::Event(newest)) = reader.next().await else { panic!("no event") };
    assert_eq!(newest.event, text("m", &"c".repeat(5000)));
}

#[tokio::test]
async fn a_forgotten_log_begins_anew() {
    let bench = Bench::new();
    let history = bench.open_large().await;
    append(&history, 1..=10).await;
    history.close().await;
    History::forget(&bench.database, "0123abcd").await.unwrap();
    let history = bench.open_large().await;
    assert_eq!(history.last(), 0);
    append(&history, 1..=1).await;
    assert_eq!(read_to(&mut history.after(0), 1).await, [1]);
}

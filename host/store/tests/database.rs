//! What callers of the database may rely on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use rp_store::{Database, OpenError, StoreError};

const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");
const WRONG_TYPE: TableDefinition<u64, &str> = TableDefinition::new("numbers");

struct Root {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn root() -> Root {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/host/host.redb");
    Root { _folder: folder, path }
}

fn insert(number: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send {
    move |transaction| {
        transaction.open_table(NUMBERS)?.insert(number, number)?;
        Ok(())
    }
}

fn numbers(database: &Database) -> Vec<u64> {
    database
        .read(|transaction| {
            let mut numbers = Vec::new();
            for entry in transaction.open_table(NUMBERS)?.iter()? {
                numbers.push(entry?.0.value());
            }
            Ok(numbers)
        })
        .unwrap()
}

/// Holds the writer's thread inside a batch until the returned sender is used or dropped. The
/// batch is a closed one: what is handed in meanwhile goes into the next.
fn hold_writer(database: &Database) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    database.write_then(
        |_| Ok(()),
        move |_| {
            entered.send(()).unwrap();
            let _ = released.recv();
        },
    );
    inside.recv().unwrap();
    release
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening_in_files_only_the_owner_can_read() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    database.write(insert(1)).await.unwrap();
    database.write_relaxed(insert(2));
    drop(database);
    assert_eq!(numbers(&Database::open(&root.path).unwrap()), [1, 2]);
    assert_eq!(mode(&root.path), 0o600);
    assert_eq!(mode(root.path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_result_of_the_closure_reaches_the_caller() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    database.write(insert(1)).await.unwrap();
    let count =
        database.write(|transaction| Ok(transaction.open_table(NUMBERS)?.len()?)).await.unwrap();
    assert_eq!(count, 1);
}

#[test]
fn a_database_in_use_is_reported_as_locked_with_its_path() {
    let root = root();
    let _database = Database::open(&root.path).unwrap();
    let refused = Database::open(&root.path).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { path } if *path == root.path));
    assert!(refused.to_string().contains("in use by another process"));
}

#[test]
fn files_that_are_no_database_are_reported_as_damaged_and_left_alone() {
    for content in [&b"hello"[..], &[0u8; 300_000], &[0xff; 300_000]] {
        let root = root();
        std::fs::create_dir_all(root.path.parent().unwrap()).unwrap();
        std::fs::write(&root.path, content).unwrap();
        let refused = Database::open(&root.path).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        assert!(std::fs::read(&root.path).unwrap() == content);
    }
}

#[tokio::test]
async fn a_database_overwritten_in_the_middle_is_an_error_never_a_panic() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    for number in 0..200 {
        database.write_relaxed(insert(number));
    }
    drop(database);
    let whole = std::fs::read(&root.path).unwrap();
    for start in (0..whole.len() - 512).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[start..start + 512].fill(0xa5);
        std::fs::write(&root.path, &damaged).unwrap();
        let Ok(database) = Database::open(&root.path) else {
            continue;
        };
        // The damage may lie in space that is free.
        drop(database.read(|transaction| {
            for entry in transaction.open_table(NUMBERS)?.iter()? {
                entry?;
            }
            Ok(())
        }));
        drop(database.write(insert(1000)).await);
    }
}

#[tokio::test]
async fn work_is_applied_in_the_order_of_the_calls() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    let (tell, told) = mpsc::channel();
    for number in 0..1000u64 {
        let append = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(NUMBERS)?;
            let position = table.len()?;
            table.insert(position, number)?;
            Ok(())
        };
        if number % 3 == 0 {
            database.write_relaxed(append);
        } else {
            let tell = tell.clone();
            database.write_then(append, move |outcome| {
                outcome.unwrap();
                tell.send(number).unwrap();
            });
        }
    }
    database.write(|_| Ok(())).await.unwrap();
    drop(tell);
    assert!(told.iter().is_sorted());
    let stored = database
        .read(|transaction| {
            let mut stored = Vec::new();
            for entry in transaction.open_table(NUMBERS)?.iter()? {
                stored.push(entry?.1.value());
            }
            Ok(stored)
        })
        .unwrap();
    assert_eq!(stored, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_thousand_concurrent_writers_share_a_few_commits() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    let release = hold_writer(&database);
    let before = database.counters();
    let writers: Vec<_> = (0..1000)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move { database.write(insert(number)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let after = database.counters();
    assert_eq!(after.works - before.works, 1000);
    let commits = after.durable_commits - before.durable_commits;
    assert!(commits < 100, "{commits} commits for 1000 writers");
    assert_eq!(numbers(&database).len(), 1000);
}

#[tokio::test]
async fn relaxed_work_is_visible_before_it_is_durable_and_durable_soon_after() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    let (tell, told) = mpsc::channel();
    database.write_relaxed_then(insert(1), move |outcome| tell.send(outcome).unwrap());
    told.recv().unwrap().unwrap();
    assert_eq!(numbers(&database), [1]);
    let counters = database.counters();
    assert_eq!((counters.relaxed_commits, counters.durable_commits), (1, 0));

    let flushed = async {
        while database.counters().durable_commits == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), flushed)
        .await
        .expect("flushed by the deadline of a second");
}

#[tokio::test]
async fn a_failing_closure_fails_its_batch_and_tells_everybody_in_it() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    database.write(insert(0)).await.unwrap();
    let release = hold_writer(&database);
    let (tell, told) = mpsc::channel();
    for number in 1..=3u64 {
        let tell = tell.clone();
        database.write_then(
            move |transaction| match number {
                2 => {
                    transaction.open_table(WRONG_TYPE)?;
                    Ok(())
                }
                _ => insert(number)(transaction),
            },
            move |outcome| tell.send((number, outcome)).unwrap(),
        );
    }
    release.send(()).unwrap();
    let (first, outcome) = told.recv().unwrap();
    assert!(matches!((first, outcome), (1, Err(StoreError::Batch(_)))));
    let (second, outcome) = told.recv().unwrap();
    assert!(matches!((second, outcome), (2, Err(StoreError::Storage(_)))));
    let (third, outcome) = told.recv().unwrap();
    assert!(matches!((third, outcome), (3, Ok(()))));
    assert_eq!(numbers(&database), [0, 3]);
}

#[tokio::test]
async fn a_panicking_closure_fails_its_batch_and_the_writer_goes_on() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    database.write(insert(0)).await.unwrap();
    let refused = database
        .write(|transaction| -> Result<(), redb::Error> {
            let mut table = transaction.open_table(NUMBERS)?;
            table.insert(5, 5)?;
            panic!("lost my way");
        })
        .await
        .unwrap_err();
    assert!(matches!(&refused, StoreError::Panicked(reason) if reason.contains("lost my way")));
    database.write_then(insert(1), |_| panic!("after the commit"));
    database.write(insert(2)).await.unwrap();
    drop(database);
    assert_eq!(numbers(&Database::open(&root.path).unwrap()), [0, 1, 2]);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_patient_writer_gets_its_place() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    let release = hold_writer(&database);
    let (tell, told) = mpsc::channel();
    for number in 0..9000 {
        let tell = tell.clone();
        database.write_then(insert(number), move |outcome| {
            let _ = tell.send(outcome.is_ok());
        });
    }
    // The job that holds the writer has a place as well.
    let refused = told.try_iter().filter(|is_ok| !is_ok).count();
    assert_eq!(refused, 9000 - 8191);
    let patient = {
        let database = database.clone();
        tokio::spawn(async move { database.write(insert(10_000)).await })
    };
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    patient.await.unwrap().unwrap();
    assert_eq!(numbers(&database).len(), 8192);
}

#[tokio::test]
async fn the_last_handle_may_be_dropped_by_the_writer_itself() {
    let root = root();
    let database = Database::open(&root.path).unwrap();
    let (tell, told) = mpsc::channel();
    let last = database.clone();
    let release = hold_writer(&database);
    database.write_then(insert(1), move |outcome| {
        outcome.unwrap();
        drop(last);
        tell.send(()).unwrap();
    });
    drop(database);
    drop(release);
    told.recv().unwrap();
    let reopened = loop {
        match Database::open(&root.path) {
            Ok(database) => break database,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(numbers(&reopened), [1]);
}

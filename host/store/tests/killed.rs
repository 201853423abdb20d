//! What a killed process had acknowledged is there when the next one opens the database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use redb::TableDefinition;
use rp_store::Database;

const NUMBERS: TableDefinition<u64, &[u8]> = TableDefinition::new("numbers");
const PATH_VARIABLE: &str = "RP_STORE_TEST_DATABASE";

/// Not a test by itself: the process that is killed. It writes numbers for ever and prints each
/// once it is on disk.
#[test]
fn helper_writes_until_killed() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else {
        return;
    };
    let database = Database::open(Path::new(&path)).unwrap();
    let first = u64::from(std::process::id()) << 32;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for number in first.. {
            if running.len() >= 64 {
                running.join_next().await;
            }
            let database = database.clone();
            running.spawn(async move {
                let insert = move |transaction: &redb::WriteTransaction| {
                    let mut table = transaction.open_table(NUMBERS)?;
                    table.insert(number, [1u8; 300].as_slice())?;
                    Ok(())
                };
                if number % 5 == 0 {
                    database.write_relaxed(insert);
                } else {
                    database.write(insert).await.unwrap();
                    writeln!(std::io::stdout(), "stored {number}").unwrap();
                }
            });
        }
    });
}

#[test]
fn every_acknowledged_write_survives_kill_minus_nine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.redb");
    let mut acknowledged = Vec::new();
    for round in 0..8u64 {
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_writes_until_killed", "--nocapture"])
            .env(PATH_VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
        // A prime step: the kill meets a batch at ever different places.
        let enough = 50 + round * 397;
        let mut seen = 0;
        for line in lines.by_ref() {
            if let Some(number) = stored(&line.unwrap()) {
                acknowledged.push(number);
                seen += 1;
                if seen == enough {
                    break;
                }
            }
        }
        helper.kill().unwrap();
        // What it had printed before it died counts as acknowledged too; the last line may be torn.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        acknowledged.extend(rest[..whole].iter().filter_map(|line| stored(line)));
        helper.wait().unwrap();

        let database = Database::open(&path).unwrap();
        let missing = database
            .read(|transaction| {
                let table = transaction.open_table(NUMBERS)?;
                let mut missing = Vec::new();
                for number in &acknowledged {
                    if table.get(number)?.is_none() {
                        missing.push(*number);
                    }
                }
                Ok(missing)
            })
            .unwrap();
        assert!(missing.is_empty(), "round {round}: lost {missing:?}");
    }
    assert!(acknowledged.len() > 1000);
}

fn stored(line: &str) -> Option<u64> {
    line.strip_prefix("stored ")?.parse().ok()
}

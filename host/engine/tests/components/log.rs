//! What a component writes to its log.

use crate::fixture::{Guest, LOG, Place, request};

/// A session that logs `lines` lines of `bytes` bytes each time it is woken.
fn logging(lines: usize, bytes: usize) -> Guest {
    Guest::adapter()
        .import(LOG)
        .item(r#"(data (i32.const 8192) "hello from the guest\nfake")"#)
        .body(
            "[method]session.wake",
            &format!(
                "(local $count i32)
             (drop (memory.grow $memory (i32.const 1)))
             (loop $next
                (call $log (i32.const 3) (i32.const 8192) (i32.const {bytes})
                    (i32.const 0) (i32.const 0))
                (local.set $count (i32.add (local.get $count) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $count) (i32.const {lines}))))
             (i32.const 1024)"
            ),
        )
}

#[tokio::test]
async fn a_line_names_its_session_and_cannot_forge_another() {
    let place = Place::new();
    let mut session = place.session(&logging(1, 25)).await;
    session.wake().await.unwrap();
    assert_eq!(place.log(), ["WARN scout hello from the guest\\nfake"]);
}

#[tokio::test]
async fn a_flood_is_cut_off_and_counted() {
    let place = Place::new();
    let adapter = place.adapter(&logging(5000, 20)).await.unwrap();
    let mut session = adapter.session(&request()).await.unwrap();
    session.wake().await.unwrap();
    assert!(place.log().len() <= 400, "a flood of 5000 lines in an instant or two");
    // What was dropped is told when the log is closed, at the latest.
    drop((session, adapter));
    let told: u64 = place
        .log()
        .iter()
        .filter_map(|line| line.strip_prefix("WARN - dropped ")?.strip_suffix(" lines"))
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    let written = place.log().iter().filter(|line| line.ends_with("hello from the guest")).count();
    assert_eq!(told + written as u64, 5000);
}

#[tokio::test]
async fn a_long_message_is_cut() {
    let place = Place::new();
    let mut session = place.session(&logging(1, 20_000)).await;
    session.wake().await.unwrap();
    let log = place.log();
    assert_eq!(log.len(), 1);
    assert!(log[0].len() <= 4096 + "WARN scout ".len(), "{}", log[0].len());
}

//! The life of a routing policy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rp_engine::{CallError, Code, KeyValue, Limits, StoreFailure};
use rp_protocol::routing::Decision;

use crate::fixture::{FACTS, Guest, Place};

/// Returns `deny` with the text at `address`.
fn deny(address: &str, length: &str) -> String {
    format!(
        "(i32.store (i32.const 4096) (i32.const 1))
         (i32.store (i32.const 4100) {address})
         (i32.store (i32.const 4104) {length})
         (i32.const 4096)"
    )
}

#[tokio::test]
async fn a_policy_decides_and_sees_the_facts() {
    let place = Place::new();
    let policy = place.policy(&Guest::policy()).await.unwrap();
    assert_eq!(policy.id(), "test");
    assert!(!policy.wants_bodies());
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deliver));

    // The facts' `to` is at 64: after the direction, the sender of 52 bytes and the list.
    let echo = deny("(i32.load offset=64 (local.get $0))", "(i32.load offset=68 (local.get $0))");
    let policy = place.policy(&Guest::policy().body("decide", &echo)).await.unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("reviewer".into())));
}

#[tokio::test]
async fn a_policy_can_ask_for_bodies() {
    let wants = "(i32.store8 (i32.const 4096) (i32.const 0)) (i32.store8 offset=4 (i32.const 4096) (i32.const 1)) (i32.const 4096)";
    let policy = Place::new().policy(&Guest::policy().body("configure", wants)).await.unwrap();
    assert!(policy.wants_bodies());
}

#[tokio::test]
async fn a_policy_that_refuses_its_settings_is_not_loaded() {
    let guest = Guest::policy().item(r#"(data (i32.const 8192) "no such field")"#).body(
        "configure",
        "(i32.store (i32.const 4096) (i32.const 1))
         (i32.store (i32.const 4100) (i32.const 8192))
         (i32.store (i32.const 4104) (i32.const 13))
         (i32.const 4096)",
    );
    let error = Place::new().policy(&guest).await.err().unwrap();
    assert_eq!(error.to_string(), "the policy refused its settings: no such field");
}

/// A policy that denies with the number of calls its instance has had.
fn counting() -> Guest {
    Guest::policy().item("(global $calls (mut i32) (i32.const 48))").body(
        "decide",
        &format!(
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
             (i32.store8 (i32.const 8192) (global.get $calls))
             {}",
            deny("(i32.const 8192)", "(i32.const 1)")
        ),
    )
}

#[tokio::test]
async fn an_instance_is_retired_after_its_calls_and_made_anew() {
    let place = Place::with(Limits { policy_calls: 3, ..Limits::default() });
    let policy = place.policy(&counting()).await.unwrap();
    for expected in ["1", "2", "3", "1", "2", "3", "1"] {
        assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny(expected.into())));
    }
}

#[tokio::test]
async fn after_three_crashes_a_policy_stays_off_until_it_is_restarted() {
    let policy = Place::new().policy(&Guest::policy().body("decide", "unreachable")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(policy.failed(), None);
        assert!(matches!(policy.decide(&FACTS), Err(CallError::Trap { .. })));
    }
    assert_eq!(
        policy.decide(&FACTS).unwrap_err().to_string(),
        "the component failed three times within a minute and stays off; last: the component \
         crashed: wasm trap: wasm `unreachable` instruction executed\n\n\
         hint: run `rp-host component restart`"
    );
    assert!(policy.failed().is_some());
    policy.restart();
    assert!(matches!(policy.decide(&FACTS), Err(CallError::Trap { .. })));
}

#[tokio::test]
async fn a_policy_that_crashed_once_goes_on_with_a_fresh_instance() {
    // The second call of an instance crashes.
    let guest = Guest::policy().item("(global $calls (mut i32) (i32.const 0))").body(
        "decide",
        "(if (global.get $calls) (then unreachable))
         (global.set $calls (i32.const 1)) (i32.const 1024)",
    );
    let policy = Place::new().policy(&guest).await.unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deliver));
    policy.decide(&FACTS).unwrap_err();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deliver));
}

#[tokio::test]
async fn a_policy_that_computes_too_long_is_ended() {
    let guest = Guest::policy().body("decide", "(loop $forever (br $forever)) unreachable");
    let policy = Place::new().policy(&guest).await.unwrap();
    let error = policy.decide(&FACTS).unwrap_err();
    assert_eq!(error, CallError::Timeout { limit: Duration::from_millis(50) });
    assert_eq!(error.to_string(), "the component took too long: it was ended after 50 ms");
}

#[tokio::test]
async fn a_policy_has_less_memory_than_an_adapter() {
    let guest = Guest::policy()
        .body("decide", "(drop (memory.grow $memory (i32.const 512))) (i32.const 1024)");
    let policy = Place::new().policy(&guest).await.unwrap();
    assert_eq!(
        policy.decide(&FACTS),
        Err(CallError::Memory { wanted: 513 << 16, limit: 32 << 20 })
    );
}

#[tokio::test]
async fn a_policy_that_recurses_too_deeply_is_ended() {
    let guest = Guest::policy()
        .item("(func $deeper (call $deeper) (drop (i32.const 0)))")
        .body("decide", "(call $deeper) (i32.const 1024)");
    let policy = Place::new().policy(&guest).await.unwrap();
    assert_eq!(policy.decide(&FACTS), Err(CallError::StackOverflow));
}

#[tokio::test]
async fn a_decision_is_bounded_in_size() {
    let reason = |bytes: usize| {
        let body = deny("(i32.const 65536)", &format!("(i32.const {bytes})"));
        Guest::policy()
            .body("decide", &format!("(drop (memory.grow $memory (i32.const 200))) {body}"))
    };
    let place = Place::new();
    let policy = place.policy(&reason(64 << 10)).await.unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("\0".repeat(64 << 10))));
    let policy = place.policy(&reason((64 << 10) + 1)).await.unwrap();
    assert_eq!(
        policy.decide(&FACTS).unwrap_err().to_string(),
        "the component returned too much: a reason of 65537 bytes, and 65536 are allowed"
    );
    let policy = place.policy(&reason(9 << 20)).await.unwrap();
    assert_eq!(
        policy.decide(&FACTS).unwrap_err().to_string(),
        "the component returned too much: more than 8388608 bytes in one call"
    );
}

/// Denies with `stored`, or with the case of the store's error: 0 denied, 1 full, 2 other.
fn storing() -> Guest {
    Guest::policy()
        .import(
            r#"(import "rp:plugin/store@0.1.0" "set"
                (func $set (param i32 i32 i32 i32 i32)))"#,
        )
        .item(r#"(data (i32.const 8192) "keyvaluestored")"#)
        .body(
            "decide",
            &format!(
                "(call $set (i32.const 8192) (i32.const 3) (i32.const 8195) (i32.const 5)
                    (i32.const 16384))
                 (i32.store8 (i32.const 8300)
                    (i32.add (i32.const 48) (i32.load8_u (i32.const 16388))))
                 (if (result i32) (i32.load8_u (i32.const 16384))
                    (then {})
                    (else {}))",
                deny("(i32.const 8300)", "(i32.const 1)"),
                deny("(i32.const 8200)", "(i32.const 6)")
            ),
        )
}

/// Storage with room for a number of keys.
pub struct Shelf {
    pub room: usize,
    pub items: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl KeyValue for Shelf {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.items.lock().unwrap().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFailure> {
        let mut items = self.items.lock().unwrap();
        if items.len() == self.room {
            return Err(StoreFailure::Full);
        }
        items.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreFailure> {
        self.items.lock().unwrap().remove(key);
        Ok(())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreFailure> {
        let items = self.items.lock().unwrap();
        Ok(items.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}

#[tokio::test]
async fn a_policy_stores_what_its_owner_lets_it_store() {
    let place = Place::new();
    let shelf = Arc::new(Shelf { room: 1, items: Mutex::default() });
    let storage: Arc<dyn KeyValue> = shelf.clone();
    let policy = place
        .engine
        .load_policy(Code::new("test", storing().build()), "{}", storage)
        .await
        .unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("stored".into())));
    assert_eq!(shelf.get("key"), Ok(Some(b"value".to_vec())));
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("1".into())), "it is full");
}

/// Storage that takes its time, as everything does on a busy machine.
struct Slow;

impl KeyValue for Slow {
    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(None)
    }

    fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreFailure> {
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    fn delete(&self, _: &str) -> Result<(), StoreFailure> {
        Ok(())
    }

    fn keys(&self, _: &str) -> Result<Vec<String>, StoreFailure> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn time_in_which_a_policy_does_not_compute_is_not_held_against_it() {
    let place = Place::new();
    let policy = place
        .engine
        .load_policy(Code::new("test", storing().build()), "{}", Arc::new(Slow))
        .await
        .unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("stored".into())));
}

#[tokio::test]
async fn without_permission_a_policy_is_told_so() {
    let policy = Place::new().policy(&storing()).await.unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deny("0".into())));
}

//! Rooms and their metadata.

use serde_json::{Value, json};

use crate::client::{Client, TestRelay, key};

fn subscribe(number: u8) -> Value {
    json!({ "type": "subscribe_rooms", "peers": [key(number)] })
}

fn check(number: u8) -> Value {
    json!({ "type": "rooms_check", "peers": [key(number)] })
}

fn update(meta: Value) -> Value {
    json!({ "type": "room_meta_update", "meta": meta })
}

/// A watcher of the rooms of peer 2.
async fn watcher(relay: &TestRelay) -> Client {
    let mut watcher = Client::connect(relay, 1, "main").await;
    watcher.say(subscribe(2)).await;
    watcher.expect_silence().await;
    watcher
}

#[tokio::test]
async fn who_watches_is_told_when_a_room_opens() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let _peer = Client::connect(&relay, 2, "atlas").await;
    let told = watcher.hear().await;
    assert_eq!((&told["type"], &told["peer"]), (&json!("room_announced"), &json!(key(2))));
    assert_eq!((&told["room_id"], &told["working"]), (&json!("atlas"), &json!(false)));
    assert!(told["started_at"].is_u64());
    for unknown in ["name", "cwd", "model", "thinking"] {
        assert!(told.get(unknown).is_none(), "{unknown}");
    }
}

#[tokio::test]
async fn who_watches_is_told_when_a_room_ends_and_nothing_about_rooms_that_were_open_before() {
    let relay = TestRelay::start().await;
    let peer = Client::connect(&relay, 2, "atlas").await;
    let mut watcher = watcher(&relay).await;
    peer.vanish();
    let told = watcher.hear().await;
    assert_eq!((&told["type"], &told["peer"]), (&json!("room_ended"), &json!(key(2))));
    assert_eq!(told["room_id"], "atlas");
    assert!(told["since_ts"].is_u64());
}

#[tokio::test]
async fn a_check_about_an_offline_peer_is_answered_with_no_rooms() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(check(2)).await;
    assert_eq!(client.hear().await, json!({ "type": "rooms", "peer": key(2), "rooms": [] }));
    client.say(json!({ "type": "rooms_check", "peers": [] })).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_check_is_answered_with_all_rooms_in_the_order_in_which_they_were_opened() {
    let relay = TestRelay::start().await;
    let _one = Client::connect(&relay, 2, "zebra").await;
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let _two = Client::connect(&relay, 2, "ant").await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(check(2)).await;
    let rooms = client.hear().await["rooms"].clone();
    assert_eq!((&rooms[0]["room_id"], &rooms[1]["room_id"]), (&json!("zebra"), &json!("ant")));
}

#[tokio::test]
async fn a_check_about_several_peers_is_answered_for_each_in_the_order_asked() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(json!({ "type": "rooms_check", "peers": [key(3), "?", key(1)] })).await;
    assert_eq!(client.hear().await["peer"], key(3));
    assert_eq!(client.hear().await["peer"], "?");
    assert_eq!(client.hear().await["rooms"][0]["room_id"], "main");
}

#[tokio::test]
async fn an_announcement_and_a_check_show_what_the_login_said() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let meta = json!({
        "name": "atlas", "cwd": "/srv/demo/atlas", "model": "demo-model-2", "thinking": "low",
        "working": true, "other": 1
    });
    let _peer = Client::connect_with_meta(&relay, 2, "atlas", meta).await;
    let mut told = watcher.hear().await;
    assert_eq!((&told["model"], &told["name"]), (&json!("demo-model-2"), &json!("atlas")));
    assert_eq!((&told["thinking"], &told["working"]), (&json!("low"), &json!(true)));
    assert_eq!(told["cwd"], "/srv/demo/atlas");
    assert!(told.get("other").is_none());
    watcher.say(check(2)).await;
    let listed = watcher.hear().await["rooms"][0].clone();
    let told = told.as_object_mut().unwrap();
    told.remove("type");
    told.remove("peer");
    assert_eq!(&listed, &json!(told));
}

#[tokio::test]
async fn metadata_of_another_type_counts_as_absent() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let meta = json!({ "name": 7, "cwd": null, "model": [], "working": "yes" });
    let _peer = Client::connect_with_meta(&relay, 2, "atlas", meta).await;
    let told = watcher.hear().await;
    assert_eq!(told["working"], false);
    assert!(told.get("name").is_none() && told.get("cwd").is_none());
    let _other = Client::connect_with_meta(&relay, 2, "other", json!("none")).await;
    assert_eq!(watcher.hear().await["room_id"], "other");
}

#[tokio::test]
async fn a_change_of_metadata_is_told_with_all_that_can_change() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    watcher.hear().await;
    peer.say(update(json!({ "model": "demo-model-2" }))).await;
    assert_eq!(
        watcher.hear().await,
        json!({
            "type": "room_meta_updated", "peer": key(2), "room_id": "atlas",
            "meta": { "model": "demo-model-2", "working": false }
        })
    );
    peer.expect_silence().await;
}

#[tokio::test]
async fn a_change_of_thinking_is_told_and_one_of_the_model_keeps_it() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    watcher.hear().await;
    peer.say(update(json!({ "thinking": "high" }))).await;
    assert_eq!(watcher.hear().await["meta"], json!({ "thinking": "high", "working": false }));
    peer.say(update(json!({ "model": "m" }))).await;
    assert_eq!(
        watcher.hear().await["meta"],
        json!({ "model": "m", "thinking": "high", "working": false })
    );
    peer.say(update(json!({ "model": null, "thinking": 7 }))).await;
    assert_eq!(watcher.hear().await["meta"], json!({ "working": false }));
}

#[tokio::test]
async fn working_is_told_true_and_false_and_kept_by_other_changes() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    watcher.hear().await;
    peer.say(update(json!({ "working": true }))).await;
    assert_eq!(watcher.hear().await["meta"]["working"], true);
    peer.say(update(json!({ "model": "m" }))).await;
    assert_eq!(watcher.hear().await["meta"], json!({ "model": "m", "working": true }));
    peer.say(update(json!({ "working": false }))).await;
    assert_eq!(watcher.hear().await["meta"]["working"], false);
}

#[tokio::test]
async fn a_change_of_nothing_or_of_a_closed_room_or_of_the_name_is_not_told() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    watcher.hear().await;
    peer.say(update(json!({}))).await;
    peer.say(update(json!("none"))).await;
    peer.say(json!({ "type": "room_meta_update" })).await;
    peer.say(update(json!({ "name": "new", "cwd": "/", "working": "yes" }))).await;
    peer.say(json!({ "type": "room_meta_update", "room_id": "closed", "meta": { "model": "m" } }))
        .await;
    peer.settle().await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_connection_can_change_another_room_of_its_own_key() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    let _other = Client::connect(&relay, 2, "scribe").await;
    watcher.hear().await;
    watcher.hear().await;
    peer.say(json!({ "type": "room_meta_update", "room_id": "scribe", "meta": { "model": "m" } }))
        .await;
    assert_eq!(watcher.hear().await["room_id"], "scribe");
    peer.say(json!({ "type": "room_meta_update", "room_id": 7, "meta": { "model": "m" } })).await;
    assert_eq!(watcher.hear().await["room_id"], "atlas");
}

#[tokio::test]
async fn a_check_with_the_same_answer_as_before_is_not_answered_until_something_changes() {
    let relay = TestRelay::start().await;
    let mut peer = Client::connect(&relay, 2, "atlas").await;
    let _second = Client::connect(&relay, 2, "scribe").await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(check(2)).await;
    client.hear().await;
    for _ in 0..5 {
        client.say(check(2)).await;
    }
    client.expect_silence().await;
    peer.say(update(json!({ "model": "demo-model-2" }))).await;
    peer.settle().await;
    client.say(check(2)).await;
    assert_eq!(client.hear().await["rooms"][0]["model"], "demo-model-2");
}

#[tokio::test]
async fn rooms_are_still_told_to_a_second_device_when_the_first_one_is_gone() {
    let relay = TestRelay::start().await;
    let mut phone = Client::connect(&relay, 1, "main").await;
    let mut tablet = Client::connect(&relay, 1, "main").await;
    phone.say(subscribe(2)).await;
    phone.settle().await;
    phone.vanish();
    crate::client::until("the phone is gone", || relay.relay.hub().registry().connections() == 1)
        .await;
    let _peer = Client::connect(&relay, 2, "atlas").await;
    assert_eq!(tablet.hear().await["type"], "room_announced");
}

#[tokio::test]
async fn unsubscribing_over_the_wire_ends_the_news() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    watcher.say(json!({ "type": "unsubscribe_rooms", "peers": [key(2)] })).await;
    watcher.settle().await;
    let _peer = Client::connect(&relay, 2, "atlas").await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn of_a_text_that_is_too_long_only_the_beginning_is_kept() {
    let relay = TestRelay::start().await;
    let mut watcher = watcher(&relay).await;
    // A character of two bytes lies across the end of what is kept.
    let long = format!("x{}", "é".repeat(10_000));
    let kept = format!("x{}", "é".repeat(6_143));
    let meta = json!({ "name": long, "cwd": "/a" });
    let mut machine = Client::connect_with_meta(&relay, 2, "a", meta).await;
    let announced = watcher.hear().await;
    assert_eq!((&announced["name"], &announced["cwd"]), (&json!(kept), &json!("/a")));
    machine.say(update(json!({ "model": long.repeat(50), "thinking": "high" }))).await;
    let meta = json!({ "model": kept, "thinking": "high", "working": false });
    assert_eq!(watcher.hear().await["meta"], meta);
}

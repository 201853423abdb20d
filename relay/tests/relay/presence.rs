//! Who is online.

use serde_json::{Value, json};

use crate::client::{Client, TestRelay, key};

fn subscribe(peers: &[u8]) -> Value {
    let peers: Vec<_> = peers.iter().map(|number| key(*number)).collect();
    json!({ "type": "subscribe_presence", "peers": peers })
}

fn check(peers: &[u8]) -> Value {
    let peers: Vec<_> = peers.iter().map(|number| key(*number)).collect();
    json!({ "type": "presence_check", "peers": peers })
}

fn online(number: u8) -> Value {
    json!({ "type": "peer_online", "peer": key(number) })
}

#[tokio::test]
async fn who_watches_is_told_when_a_peer_connects() {
    let relay = TestRelay::start().await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    watcher.say(subscribe(&[2])).await;
    watcher.expect_silence().await;
    let _peer = Client::connect(&relay, 2, "main").await;
    assert_eq!(watcher.hear().await, online(2));
}

#[tokio::test]
async fn who_watches_is_told_when_a_peer_is_gone_and_since_when() {
    let relay = TestRelay::start().await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    let peer = Client::connect(&relay, 2, "main").await;
    watcher.say(subscribe(&[2])).await;
    assert_eq!(watcher.hear().await, online(2));
    peer.vanish();
    let told = watcher.hear().await;
    assert_eq!((&told["type"], &told["peer"]), (&json!("peer_offline"), &json!(key(2))));
    let since = told["since_ts"].as_u64().unwrap();
    watcher.say(check(&[2])).await;
    assert_eq!(
        watcher.hear().await["states"][0],
        json!({ "peer": key(2), "online": false, "since_ts": since })
    );
}

#[tokio::test]
async fn a_check_tells_of_an_unknown_peer_that_it_is_offline_since_nobody_knows_when() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(check(&[9])).await;
    assert_eq!(
        client.hear().await,
        json!({ "type": "presence", "states": [{ "peer": key(9), "online": false, "since_ts": null }] })
    );
}

#[tokio::test]
async fn a_check_tells_of_a_connected_peer_that_it_is_online() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let _peer = Client::connect(&relay, 2, "main").await;
    client.say(check(&[2])).await;
    assert_eq!(
        client.hear().await["states"],
        json!([{ "peer": key(2), "online": true, "since_ts": null }])
    );
}

#[tokio::test]
async fn who_subscribes_late_is_told_who_is_online_already_without_asking() {
    let relay = TestRelay::start().await;
    let _peer = Client::connect(&relay, 2, "main").await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    watcher.say(subscribe(&[2, 9])).await;
    assert_eq!(watcher.hear().await, online(2));
    watcher.expect_silence().await;
    watcher.say(subscribe(&[2])).await;
    assert_eq!(watcher.hear().await, online(2));
}

#[tokio::test]
async fn a_second_connection_of_a_peer_is_not_told() {
    let relay = TestRelay::start().await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    watcher.say(subscribe(&[2])).await;
    let first = Client::connect(&relay, 2, "main").await;
    assert_eq!(watcher.hear().await, online(2));
    let mut second = Client::connect(&relay, 2, "other").await;
    watcher.expect_silence().await;
    first.vanish();
    crate::client::until("the first is gone", || relay.relay.hub().registry().connections() == 2)
        .await;
    second.expect_silence().await;
    watcher.expect_silence().await;
    assert_eq!(relay.metric(|metrics| metrics.peer_online_emitted.get()), 1);
    assert_eq!(relay.metric(|metrics| metrics.peer_online_suppressed.get()), 1);
}

#[tokio::test]
async fn a_check_with_the_same_answer_as_before_is_not_answered() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let mut other = Client::connect(&relay, 1, "main").await;
    client.say(check(&[2])).await;
    client.hear().await;
    client.say(check(&[2])).await;
    client.expect_silence().await;
    // What another connection was answered does not count.
    other.say(check(&[2])).await;
    other.hear().await;
}

#[tokio::test]
async fn a_check_with_another_list_is_answered_with_a_line_for_each() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(check(&[2])).await;
    client.hear().await;
    client.say(check(&[2, 1])).await;
    let states = client.hear().await["states"].clone();
    assert_eq!(states.as_array().unwrap().len(), 2);
    assert_eq!(states[1]["online"], true);
}

#[tokio::test]
async fn an_empty_or_missing_list_gets_an_empty_answer() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    client.say(json!({ "type": "presence_check", "peers": [7, null, {}] })).await;
    assert_eq!(client.hear().await, json!({ "type": "presence", "states": [] }));
    client.say(json!({ "type": "presence_check" })).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_peer_that_is_spelled_in_another_way_is_unknown() {
    let relay = TestRelay::start().await;
    let mut client = Client::connect(&relay, 1, "main").await;
    let unpadded = key(1).trim_end_matches('=').to_owned();
    client.say(json!({ "type": "presence_check", "peers": [unpadded, key(1)] })).await;
    let states = client.hear().await["states"].clone();
    assert_eq!((&states[0]["online"], &states[0]["peer"]), (&json!(false), &json!(unpadded)));
    assert_eq!(states[1]["online"], true);
}

#[tokio::test]
async fn unsubscribing_over_the_wire_ends_the_news() {
    let relay = TestRelay::start().await;
    let mut watcher = Client::connect(&relay, 1, "main").await;
    watcher.say(subscribe(&[2, 3])).await;
    watcher.say(json!({ "type": "unsubscribe_presence", "peers": [key(2)] })).await;
    watcher.settle().await;
    let _two = Client::connect(&relay, 2, "main").await;
    let _three = Client::connect(&relay, 3, "main").await;
    assert_eq!(watcher.hear().await, online(3));
}

#[tokio::test]
async fn a_second_device_of_a_key_shares_its_subscriptions() {
    let relay = TestRelay::start().await;
    let mut phone = Client::connect(&relay, 1, "main").await;
    let mut tablet = Client::connect(&relay, 1, "main").await;
    phone.say(subscribe(&[2])).await;
    phone.settle().await;
    let _two = Client::connect(&relay, 2, "main").await;
    assert_eq!(phone.hear().await, online(2));
    assert_eq!(tablet.hear().await, online(2));
    phone.vanish();
    crate::client::until("the phone is gone", || relay.relay.hub().registry().connections() == 2)
        .await;
    drop(_two);
    assert_eq!(tablet.hear().await["type"], "peer_offline");
}

//! What the wire promises to programs on the socket. These tests see nothing but the socket, so
//! they are run against the router in this process and against the whole program.

use serde_json::{Value, json};

use crate::client::{Client, id};
use crate::fixture::start;

#[tokio::test]
async fn the_registration_answer_comes_first_and_has_both_fields() {
    let mesh = start().await;
    let mut client = Client::connect(&mesh.socket).await;
    client.write("{\"type\":\"register\",\"name\":\" a//b \",\"cwd\":\"/srv/x\"}\n").await;
    assert_eq!(
        client.raw_line().await.unwrap(),
        "{\"type\":\"register_ack\",\"address_assigned\":\"/srv/x@a-b\",\"name_assigned\":\"a-b\"}\n"
    );
}

#[tokio::test]
async fn a_peer_without_a_folder_is_addressed_by_its_name() {
    let mesh = start().await;
    let first = mesh.peer("api", "").await;
    let second = mesh.peer("api", "").await;
    let third = mesh.peer("api", "").await;
    assert_eq!((first.address.as_str(), first.name.as_str()), ("api", "api"));
    assert_eq!((second.address.as_str(), second.name.as_str()), ("api#2", "api#2"));
    assert_eq!(third.address, "api#3");
    let empty =
        Client::register_with(&mesh.socket, &json!({"type": "register", "name": "web", "cwd": ""}))
            .await;
    assert_eq!(empty.address, "web");
}

#[tokio::test]
async fn names_collide_within_a_folder_only() {
    let mesh = start().await;
    let here = mesh.peer("api", "/a").await;
    let there = mesh.peer("api", "/b").await;
    let again = mesh.peer("api", "/a").await;
    let slash = mesh.peer("api", "/a/").await;
    assert_eq!(here.address, "/a@api");
    assert_eq!(there.address, "/b@api");
    assert_eq!((again.address.as_str(), again.name.as_str()), ("/a@api#2", "api#2"));
    assert_eq!(slash.address, "/a/@api", "folders are compared as they are");
}

#[tokio::test]
async fn everybody_but_the_newcomer_is_told_of_joins_and_leaves() {
    let mesh = start().await;
    let mut first = mesh.peer("first", "/a").await;
    let mut second = mesh.peer("second", "/b").await;
    assert_eq!(first.notice().await, ("peer_joined".into(), "/b@second".into()));
    second.hears_nothing().await;
    drop(second);
    assert_eq!(first.notice().await, ("peer_left".into(), "/b@second".into()));
}

#[tokio::test]
async fn the_roster_lists_addresses_and_details_in_the_order_of_registration() {
    let mesh = start().await;
    let mut client = mesh.peer("zed", "/a").await;
    let _drive = mesh.peer("api", "C:\\work").await;
    let _plain = mesh.peer("bob", "").await;
    let roster = client.roster().await;
    assert_eq!(roster["peers"], json!(["person", "/a@zed", "C:\\work@api", "bob"]));
    assert_eq!(
        roster["peers_detailed"],
        json!([
            {"cwd": "", "name": "person", "address": "person"},
            {"cwd": "/a", "name": "zed", "address": "/a@zed"},
            {"cwd": "C:\\work", "name": "api", "address": "C:\\work@api"},
            {"cwd": "", "name": "bob", "address": "bob"},
        ])
    );
}

#[tokio::test]
async fn an_observer_sees_the_roster_and_disturbs_nobody() {
    let mesh = start().await;
    let mut peer = mesh.peer("peer", "/a").await;
    let mut observer = Client::connect(&mesh.socket).await;
    for _ in 0..2 {
        observer.write("{\"type\":\"list_peers\"}\n").await;
        let line = observer.line().await;
        assert_eq!((&line["from"], &line["to"]), (&json!("broker"), &json!("observer")));
        assert_eq!(line["re"], Value::Null);
        assert_eq!(line["body"]["peers"], json!(["person", "/a@peer"]));
    }
    peer.hears_nothing().await;
    observer.write("{\"type\":\"register\",\"name\":\"late\"}\n").await;
    assert_eq!(observer.line().await["address_assigned"], "late");
}

#[tokio::test]
async fn a_message_is_delivered_with_its_senders_address_and_acknowledged() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/b").await;
    let id = api.send("/b@web", json!({"ask": "theme?", "n": 1e3})).await;
    let line = web.message().await;
    assert_eq!(
        line,
        json!({"from": "/a@api", "to": "/b@web", "id": id, "re": null, "body": {"ask": "theme?", "n": 1e3}})
    );
    assert_eq!(api.received_by(&id).await, "/b@web");
    let answer = web.send_answer("/a@api", json!("dark"), json!(id)).await;
    assert_eq!(api.message().await["re"], id);
    assert_eq!(web.received_by(&answer).await, "/a@api");
}

#[tokio::test]
async fn bodies_pass_as_they_are() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/a").await;
    for body in
        ["null", "12345678901234567890123", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "[ 1 ]", "1e999"]
    {
        let id = id();
        api.write(&format!(
            "{{\"id\":\"{id}\",\"body\":{body},\"re\":null,\"to\":\"/a@web\",\"from\":\"x\",\"more\":1}}\r\n"
        ))
        .await;
        loop {
            let line = web.raw_line().await.unwrap();
            if line.contains("peer_joined") {
                continue;
            }
            assert_eq!(
                line,
                format!(
                    "{{\"from\":\"/a@api\",\"to\":\"/a@web\",\"id\":\"{id}\",\"re\":null,\"body\":{body}}}\n"
                )
            );
            break;
        }
        api.received_by(&id).await;
    }
}

#[tokio::test]
async fn a_broadcast_reaches_the_senders_folder_and_is_not_acknowledged() {
    let mesh = start().await;
    let mut sender = mesh.peer("sender", "/a").await;
    let mut here = mesh.peer("here", "/a").await;
    let mut elsewhere = mesh.peer("elsewhere", "/b").await;
    let mut plain = mesh.peer("plain", "").await;
    let id = sender.send("broadcast", json!("hello")).await;
    let line = here.message().await;
    assert_eq!((&line["from"], &line["to"]), (&json!("/a@sender"), &json!("broadcast")));
    assert_eq!(line["id"], id);
    sender.hears_nothing().await;
    elsewhere.hears_nothing().await;
    plain.hears_nothing().await;
    let mut other = mesh.peer("other", "").await;
    plain.send("broadcast", json!("hi")).await;
    assert_eq!(other.message().await["from"], "plain");
    here.hears_nothing().await;
}

#[tokio::test]
async fn a_list_reaches_each_exact_address_and_is_not_acknowledged() {
    let mesh = start().await;
    let mut sender = mesh.peer("sender", "/a").await;
    let mut one = mesh.peer("one", "/a").await;
    let mut two = mesh.peer("two", "/b").await;
    let to = json!(["/a@one", "/b@two", "/a@one", "/a@sender", "broker", "broadcast", "lab:/x@y"]);
    sender.send(to.clone(), json!(1)).await;
    assert_eq!(one.message().await["to"], to, "the list stays whole");
    assert_eq!(one.message().await["to"], to, "named twice, delivered twice");
    assert_eq!(two.message().await["to"], to);
    sender.hears_nothing().await;
    one.hears_nothing().await;
}

#[tokio::test]
async fn messages_to_oneself_nobody_and_the_router_meet_silence() {
    let mesh = start().await;
    let mut client = mesh.peer("api", "/a").await;
    for to in ["/a@api", "api", "/a@ap", "lab:/a@api", "broker#2", "Broadcast"] {
        client.send(to, json!(1)).await;
    }
    for body in [json!({"type": "turn_state", "busy": true}), json!("list_peers"), Value::Null] {
        client.send("broker", body).await;
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn a_peer_that_says_it_is_busy_still_receives() {
    let mesh = start().await;
    let mut busy = mesh.peer("busy", "/b").await;
    let mut api = mesh.peer("api", "/a").await;
    busy.send("broker", json!({"type": "turn_state", "busy": true})).await;
    busy.hears_nothing().await;
    let id = api.send("/b@busy", json!("hello")).await;
    assert_eq!(api.received_by(&id).await, "/b@busy");
    assert_eq!(busy.message().await["id"], id);
}

#[tokio::test]
async fn addresses_with_colons_of_this_machine_are_local() {
    let mesh = start().await;
    let mut client = mesh.peer("api", "/a").await;
    let _posix = mesh.peer("web", "/srv/x:y").await;
    let _drive = mesh.peer("web", "C:/x").await;
    for to in ["/srv/x:y@web", "C:/x@web"] {
        let id = client.send(to, json!(1)).await;
        assert_eq!(client.received_by(&id).await, to);
    }
}

#[tokio::test]
async fn messages_of_a_pair_keep_their_order() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/a").await;
    let mut burst = String::new();
    for number in 0..5000 {
        let envelope = json!({"from": "x", "to": "/a@web", "id": id(), "re": null, "body": number});
        burst.push_str(&format!("{envelope}\n"));
    }
    let (head, tail) = burst.split_at(burst.len() / 3);
    api.write(head).await;
    api.write(tail).await;
    for number in 0..5000 {
        assert_eq!(web.message().await["body"], number);
    }
    for _ in 0..5000 {
        assert_eq!(api.message().await["body"]["status"], "received");
    }
}

#[tokio::test]
async fn a_takeover_replaces_the_peer_of_that_address() {
    let mesh = start().await;
    let mut watcher = mesh.peer("watcher", "/w").await;
    let mut old = mesh.peer("api", "/a").await;
    assert_eq!(watcher.notice().await.0, "peer_joined");
    let request = json!({"type": "register", "name": "api", "cwd": "/a", "takeover": true});
    let mut new = Client::register_with(&mesh.socket, &request).await;
    assert_eq!(new.address, "/a@api");
    assert_eq!(watcher.notice().await, ("peer_joined".into(), "/a@api".into()));
    old.closed().await;
    assert_eq!(watcher.peers().await, ["person", "/w@watcher", "/a@api"]);
    let id = watcher.send("/a@api", json!(1)).await;
    watcher.received_by(&id).await;
    assert_eq!(new.message().await["id"], id);
}

#[tokio::test]
async fn a_takeover_that_is_refused_leaves_the_old_peer() {
    let mesh = start().await;
    let cwd = format!("/{}", "x".repeat(4096));
    let mut old = mesh.peer("api", "/a").await;
    for request in [
        json!({"type": "register", "name": "api", "cwd": cwd, "takeover": true}),
        json!({"type": "register", "name": "n".repeat(257), "cwd": "/a", "takeover": true}),
    ] {
        let mut refused = Client::connect(&mesh.socket).await;
        refused.write(&format!("{request}\n")).await;
        refused.closed().await;
    }
    let plain = json!({"type": "register", "name": "api", "takeover": true});
    let first = Client::register_with(&mesh.socket, &plain).await;
    assert_eq!(first.address, "api");
    let again = Client::register_with(&mesh.socket, &plain).await;
    assert_eq!(again.address, "api#2", "no takeover without a folder");
    assert!(old.peers().await.contains(&"/a@api".to_owned()));
}

#[tokio::test]
async fn a_rename_leaves_one_entry() {
    let mesh = start().await;
    let mut watcher = mesh.peer("watcher", "/w").await;
    let old = mesh.peer("old", "/a").await;
    drop(old);
    let _new = mesh.peer("new", "/a").await;
    assert_eq!(watcher.notice().await, ("peer_joined".into(), "/a@old".into()));
    let mut rest = vec![watcher.notice().await, watcher.notice().await];
    rest.sort();
    let joined_new = ("peer_joined".to_owned(), "/a@new".to_owned());
    assert_eq!(rest, [joined_new, ("peer_left".into(), "/a@old".into())]);
    assert_eq!(watcher.peers().await, ["person", "/w@watcher", "/a@new"]);
}

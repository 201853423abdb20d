//! What the wire promises to programs on the socket.

use std::os::unix::fs::PermissionsExt;

use rp_mesh::{Bridge, Injection};
use rp_protocol::mesh::{Envelope, RosterEntry};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

use crate::client::{Client, id};
use crate::fixture::{agent, start};

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
async fn an_agent_of_this_host_is_never_evicted() {
    let mesh = start().await;
    let address = mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    let request = json!({"type": "register", "name": "api", "cwd": "/a", "takeover": true});
    let newcomer = Client::register_with(&mesh.socket, &request).await;
    assert_eq!((address.as_str(), newcomer.address.as_str()), ("/a@api", "/a@api#2"));
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

#[tokio::test]
async fn the_socket_and_its_folder_are_closed_to_others() {
    let mesh = start().await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&mesh.socket), 0o600);
    assert_eq!(mode(mesh.socket.parent().unwrap()), 0o700);
    mesh.mesh.shutdown().await;
    assert!(!mesh.socket.exists());
}

#[tokio::test]
async fn the_audit_log_tells_what_was_routed_and_never_what_was_said() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let mut web = mesh.peer("web", "/a").await;
    let unicast = api.send("/a@web", json!("secret")).await;
    api.received_by(&unicast).await;
    let nobody = api.send("/a@nobody", json!("secret")).await;
    let own = api.send_answer("/a@api", json!("secret"), json!(unicast)).await;
    let list = api.send(json!(["/a@web", "/x@y"]), json!("secret")).await;
    let broadcast = api.send("broadcast", json!("secret")).await;
    api.hears_nothing().await;
    for _ in 0..3 {
        web.message().await;
    }
    let log = mesh.audit_after_shutdown().await;
    let expected = [
        json!({"from": "/a@api", "to": "/a@web", "id": unicast, "re": null, "delivered": ["/a@web"], "ack_status": "received", "via": "uds"}),
        json!({"from": "/a@api", "to": "/a@nobody", "id": nobody, "re": null, "delivered": [], "ack_status": "none", "via": "uds"}),
        json!({"from": "/a@api", "to": "/a@api", "id": own, "re": unicast, "delivered": [], "ack_status": "none", "via": "uds"}),
        json!({"from": "/a@api", "to": ["/a@web", "/x@y"], "id": list, "re": null, "delivered": ["/a@web"], "ack_status": "none", "via": "uds"}),
        json!({"from": "/a@api", "to": "broadcast", "id": broadcast, "re": null, "delivered": ["/a@web"], "ack_status": "none", "via": "uds"}),
    ];
    assert_eq!(log.len(), expected.len());
    for (mut entry, expected) in log.into_iter().zip(expected) {
        let time = entry.as_object_mut().unwrap().remove("ts").unwrap();
        assert!(time.as_u64().unwrap() > 1_700_000_000_000);
        assert_eq!(entry, expected);
    }
}

#[derive(Default)]
struct OtherMachine {
    sent: Mutex<Vec<Envelope<'static>>>,
}

impl Bridge for OtherMachine {
    fn roster(&self) -> Vec<RosterEntry> {
        vec![RosterEntry {
            pc: Some("lab".into()),
            cwd: "/k".into(),
            name: "web".into(),
            address: "lab:/k@web".into(),
        }]
    }

    fn knows(&self, alias: &str) -> bool {
        alias == "lab" || alias == "C"
    }

    fn send(&self, envelope: &Envelope<'_>) {
        self.sent.lock().unwrap().push(envelope.clone().into_owned());
    }
}

#[tokio::test]
async fn a_bridge_gets_what_is_for_other_machines_and_shows_their_peers() {
    let mesh = start().await;
    let bridge = Arc::new(OtherMachine::default());
    mesh.mesh.attach_bridge(Some(bridge.clone()));
    let mut api = mesh.peer("api", "/a").await;
    let _drive = mesh.peer("web", "C:/x").await;
    let roster = api.roster().await;
    assert_eq!(roster["peers"], json!(["person", "/a@api", "C:/x@web", "lab:/k@web"]));
    let detailed = roster["peers_detailed"].as_array().unwrap();
    let with_pc: Vec<&Value> = detailed.iter().filter(|entry| entry.get("pc").is_some()).collect();
    assert_eq!(
        with_pc,
        [&json!({"pc": "lab", "cwd": "/k", "name": "web", "address": "lab:/k@web"})]
    );

    let remote = api.send("lab:/k@web", json!(1)).await;
    api.send("lab:unknown", json!(2)).await;
    api.send("other:/k@web", json!(3)).await;
    let local = api.send("C:/x@web", json!(4)).await;
    assert_eq!(api.received_by(&local).await, "C:/x@web", "a local drive beats an alias");
    let sent = bridge.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].from.as_ref(), sent[0].id.as_str()), ("/a@api", remote.as_str()));
    assert_eq!(sent[0].to.to_text(), "lab:/k@web");
}

#[tokio::test]
async fn what_comes_from_other_machines_is_delivered_to_exact_addresses() {
    let mesh = start().await;
    let mut api = mesh.peer("api", "/a").await;
    let inject = async |to: Value, body: Value, re: Value| {
        let id = id();
        let line = json!({"from": "lab:/k@web", "to": to, "id": id, "re": re, "body": body});
        (mesh.mesh.inject(&line.to_string()).await, id)
    };
    for re in [Value::Null, json!(id())] {
        let (outcome, id) = inject(json!("/a@api"), json!("hello"), re).await;
        assert_eq!(outcome, Injection::Received);
        let line = api.message().await;
        assert_eq!((&line["id"], &line["from"]), (&json!(id), &json!("lab:/k@web")));
    }
    for to in
        [json!("broadcast"), json!("broker"), json!("/a@nobody"), json!(["/a@api"]), json!("")]
    {
        assert_eq!(inject(to, json!(1), Value::Null).await.0, Injection::Denied);
    }
    assert_eq!(mesh.mesh.inject("not an envelope").await, Injection::Denied);
    api.hears_nothing().await;
    let log = mesh.audit_after_shutdown().await;
    assert_eq!(log.len(), 2, "what was denied is not logged");
    assert_eq!((&log[0]["via"], &log[0]["ack_status"]), (&json!("relay"), &json!("received")));
}

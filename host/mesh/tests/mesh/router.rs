//! What only a program with the router inside it can do or see.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use rp_mesh::{Bridge, Carriage, Injection};
use rp_protocol::mesh::{Envelope, RosterEntry};
use serde_json::{Value, json};

use crate::client::{Client, id};
use crate::fixture::{agent, start};

#[tokio::test]
async fn an_agent_of_this_host_is_never_evicted() {
    let mesh = start().await;
    let address = mesh.mesh.join(agent("0a0a0a0a", "/a", "api")).await.unwrap();
    let request = json!({"type": "register", "name": "api", "cwd": "/a", "takeover": true});
    let newcomer = Client::register_with(&mesh.socket, &request).await;
    assert_eq!((address.as_str(), newcomer.address.as_str()), ("/a@api", "/a@api#2"));
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

    fn send(&self, envelope: &Envelope<'_>, carriage: Carriage) -> bool {
        assert!(!carriage.may_wait, "the wire knows no waiting");
        self.sent.lock().unwrap().push(envelope.clone().into_owned());
        true
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

//! Envelopes between machines, and who may send them to whom.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Stored, write_publication};
use rp_relay::membership::{ForeignRow, Import};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, TestRelay, key, secret};
use crate::mesh::{blob, membership, publish, sign};

const ID: &str = "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
const FROM: &str = "bureau:/srv/demo/atlas@atlas";

fn envelope() -> Value {
    json!({
        "from": FROM, "to": "p/bfr484:/home/eve/lab@lab", "id": ID, "re": null,
        "body": { "kind": "note", "text": "hi" }
    })
}

fn request(target: &str) -> Value {
    json!({ "type": "pi_envelope", "to_pc": target, "envelope": envelope() })
}

/// That `client` is told that its envelope was not passed on, and why.
async fn expect_error(client: &mut Client, reason: &str) -> Value {
    let frame = client.hear().await;
    assert_eq!((&frame["type"], &frame["from_pc"]), (&json!("pi_envelope_in"), &json!("_relay")));
    let mut inner = frame["envelope"].clone();
    let id = inner["id"].take();
    let id = Uuid::parse_str(id.as_str().unwrap()).unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
    assert_eq!(frame["envelope"]["id"], id.hyphenated().to_string());
    assert_eq!(inner["body"], json!({ "type": "transport_error", "reason": reason }));
    assert_eq!(inner["from"], "_relay");
    inner
}

#[tokio::test]
async fn an_envelope_between_machines_of_one_owner_arrives_with_the_sender_beside_it() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    one.say(request(&key(2))).await;
    assert_eq!(
        two.hear().await,
        json!({ "type": "pi_envelope_in", "from_pc": key(1), "envelope": envelope() })
    );
    one.expect_silence().await;
}

#[tokio::test]
async fn an_envelope_is_passed_on_as_it_was_written_but_on_one_line() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    let raw = r#"{"z":1.0,"a":123456789012345678901234567890,"b":1e999,"d":1,"d":2,"s":"\u0041\ud800\/","n":"a\nb"}"#;
    one.say_text(format!(r#"{{"envelope":{raw},"to_pc":"{}","type":"pi_envelope"}}"#, key(2)))
        .await;
    let expected =
        format!(r#"{{"type":"pi_envelope_in","from_pc":"{}","envelope":{raw}}}"#, key(1));
    assert_eq!(two.hear_text().await, expected);
    // A reader that cuts at line ends must not see one.
    let pretty = "{\r\n  \"body\": [\n1 ]\n}";
    one.say_text(format!(r#"{{"type":"pi_envelope","to_pc":"{}","envelope":{pretty}}}"#, key(2)))
        .await;
    let heard = two.hear_text().await;
    assert!(!heard.contains(['\n', '\r']), "{heard}");
    assert_eq!(serde_json::from_str::<Value>(&heard).unwrap()["envelope"], json!({ "body": [1] }));
}

#[tokio::test]
async fn every_pair_that_an_owner_lists_can_write_in_both_directions() {
    let relay = TestRelay::start().await;
    publish(&relay, 8, 1, &[1, 2]).await;
    publish(&relay, 9, 1, &[2, 3]).await;
    let mut machines = [
        Client::connect(&relay, 1, "a").await,
        Client::connect(&relay, 2, "b").await,
        Client::connect(&relay, 3, "c").await,
    ];
    for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        machines[from - 1].say(request(&key(u8::try_from(to).unwrap()))).await;
        let heard = machines[to - 1].hear().await;
        assert_eq!(heard["from_pc"], key(u8::try_from(from).unwrap()));
    }
    // But it is not passed along a chain.
    machines[0].say(request(&key(3))).await;
    expect_error(&mut machines[0], "not_authorized").await;
    machines[2].expect_silence().await;
}

#[tokio::test]
async fn members_and_targets_in_another_spelling_are_the_same_machines() {
    let relay = TestRelay::start().await;
    let spelled = |number: u8| URL_SAFE_NO_PAD.encode(secret(number).public().as_bytes());
    let text = blob(9, 1, &[&spelled(1), &spelled(2)]);
    assert_eq!(crate::mesh::post(&relay, 9, &sign(9, text.as_bytes())).await.status, 200);
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    for spelling in [spelled(2), key(2)] {
        one.say(request(&spelling)).await;
        assert_eq!(two.hear().await["from_pc"], key(1));
    }
}

#[tokio::test]
async fn a_target_that_is_no_key_is_a_bad_envelope() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "a").await;
    for target in ["%%%", &URL_SAFE_NO_PAD.encode([1; 31]), &URL_SAFE_NO_PAD.encode([1; 33]), ""] {
        one.say(request(target)).await;
        let error = expect_error(&mut one, "bad_envelope").await;
        assert_eq!((&error["re"], &error["to"]), (&json!(ID), &json!(FROM)), "{target}");
    }
}

#[tokio::test]
async fn a_target_without_a_connection_is_offline() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    one.say(request(&key(2))).await;
    let error = expect_error(&mut one, "offline").await;
    assert_eq!((&error["re"], &error["to"]), (&json!(ID), &json!(FROM)));
}

#[tokio::test]
async fn machines_of_different_owners_may_not_write_to_each_other() {
    let relay = TestRelay::start().await;
    publish(&relay, 8, 1, &[1]).await;
    publish(&relay, 9, 1, &[2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    one.say(request(&key(2))).await;
    expect_error(&mut one, "not_authorized").await;
    two.expect_silence().await;
}

#[tokio::test]
async fn who_may_not_write_does_not_learn_whether_the_target_is_there() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "a").await;
    one.say(request(&key(2))).await;
    let absent = expect_error(&mut one, "not_authorized").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    one.say(request(&key(2))).await;
    let there = expect_error(&mut one, "not_authorized").await;
    assert_eq!(absent, there);
    two.expect_silence().await;
}

#[tokio::test]
async fn a_stored_membership_with_a_bad_member_allows_nobody_anything() {
    let good = |number: u8| json!({ "remote_epk": key(number), "relay_url": "https://r", "paired_at": "t" });
    let mut without_url = good(2);
    without_url.as_object_mut().unwrap().remove("relay_url");
    let mut bad_nickname = good(2);
    bad_nickname["nickname"] = json!(7);
    let mut bad_key = good(3);
    bad_key["remote_epk"] = json!("short");
    for bad in [without_url, bad_nickname, bad_key] {
        let relay = TestRelay::start().await;
        let owner = secret(9).public();
        let blob = json!({
            "version": 1, "issued_at": 1, "owner_pk": owner.to_string(),
            "members": [good(1), good(2), bad]
        })
        .to_string()
        .into_bytes();
        // The relay refuses such a membership, but an older one may have stored it.
        let stored = Stored { blob, signature: [0; 64], version: 1, updated_at: 1 };
        let rows = vec![ForeignRow { owner, stored }];
        let imported = relay.relay.hub().memberships.import(rows).await.unwrap();
        assert_eq!(imported, [Import::StoredVoid]);
        let mut one = Client::connect(&relay, 1, "a").await;
        let mut two = Client::connect(&relay, 2, "b").await;
        one.say(request(&key(2))).await;
        expect_error(&mut one, "not_authorized").await;
        two.expect_silence().await;
    }
}

#[tokio::test]
async fn a_malformed_request_is_answered_as_a_bad_envelope() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let deep = format!("{}{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let deep = deep.replace("\"a\":}", "\"a\":1}");
    for frame in [
        json!({ "type": "pi_envelope" }).to_string(),
        json!({ "type": "pi_envelope", "to_pc": key(2) }).to_string(),
        json!({ "type": "pi_envelope", "to_pc": key(2), "envelope": "text" }).to_string(),
        json!({ "type": "pi_envelope", "to_pc": key(2), "envelope": [envelope()] }).to_string(),
        format!(r#"{{"type":"pi_envelope","to_pc":"{}","envelope":{deep}}}"#, key(2)),
    ] {
        one.say_text(frame).await;
        let error = expect_error(&mut one, "bad_envelope").await;
        assert_eq!((&error["re"], &error["to"]), (&Value::Null, &json!("_unknown")));
    }
    one.say(json!({ "type": "pi_envelope", "to_pc": 7, "envelope": envelope() })).await;
    let error = expect_error(&mut one, "bad_envelope").await;
    assert_eq!((&error["re"], &error["to"]), (&json!(ID), &json!(FROM)));
}

#[tokio::test]
async fn an_error_names_the_envelope_only_by_what_looks_like_an_id() {
    let relay = TestRelay::start().await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let upper = ID.to_uppercase();
    for (id, from, re, to) in [
        (json!(upper), json!("x:y"), json!(upper), "x:y"),
        (json!(ID.replace('-', "")), json!(""), Value::Null, "_unknown"),
        (json!("0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g"), json!(7), Value::Null, "_unknown"),
        (json!(7), Value::Null, Value::Null, "_unknown"),
    ] {
        let mut frame = request(&key(2));
        frame["envelope"]["id"] = id;
        frame["envelope"]["from"] = from;
        one.say(frame).await;
        let error = expect_error(&mut one, "not_authorized").await;
        assert_eq!((&error["re"], error["to"].as_str().unwrap()), (&re, to));
    }
}

#[tokio::test]
async fn an_envelope_reaches_every_room_of_a_machine_and_its_sender_too_if_it_is_for_itself() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut again = Client::connect(&relay, 1, "b").await;
    one.say(request(&key(1))).await;
    assert_eq!(one.hear().await["from_pc"], key(1));
    assert_eq!(again.hear().await["from_pc"], key(1));
}

#[tokio::test]
async fn nothing_in_an_envelope_changes_who_sent_it() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    let mut frame = request(&key(2));
    frame["from_pc"] = json!("_relay");
    frame["envelope"]["from"] = json!("_relay");
    one.say(frame).await;
    let heard = two.hear().await;
    assert_eq!((&heard["from_pc"], &heard["envelope"]["from"]), (&json!(key(1)), &json!("_relay")));
}

#[tokio::test]
async fn a_machine_that_is_revoked_is_cut_off_at_once_and_a_new_one_reached_at_once() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1, 2]).await;
    let mut one = Client::connect(&relay, 1, "a").await;
    let mut two = Client::connect(&relay, 2, "b").await;
    let mut three = Client::connect(&relay, 3, "c").await;
    one.say(request(&key(2))).await;
    two.hear().await;
    one.say(request(&key(3))).await;
    expect_error(&mut one, "not_authorized").await;
    publish(&relay, 9, 2, &[1, 3]).await;
    one.say(request(&key(2))).await;
    expect_error(&mut one, "not_authorized").await;
    one.say(request(&key(3))).await;
    assert_eq!(three.hear().await["from_pc"], key(1));
    publish(&relay, 9, 3, &[]).await;
    one.say(request(&key(3))).await;
    expect_error(&mut one, "not_authorized").await;
    two.expect_silence().await;
}

fn number(number: u64) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

/// A membership as it is stored, without the cost of signing thousands of them.
fn row(owner: u64, version: u64, members: &[PublicKey]) -> ForeignRow {
    let owner_key = secret(1).public();
    let mut membership = membership(1, version, &[]);
    membership.owner = owner_key;
    let members: Vec<Value> = members
        .iter()
        .map(|key| json!({ "remote_epk": key.to_string(), "relay_url": "r", "paired_at": "t" }))
        .collect();
    let blob = json!({
        "version": version, "issued_at": 0, "owner_pk": owner_key.to_string(), "members": members
    });
    let stored =
        Stored { blob: blob.to_string().into_bytes(), signature: [0; 64], version, updated_at: 1 };
    ForeignRow { owner: number(owner), stored }
}

#[tokio::test]
async fn the_owners_of_two_machines_are_compared_whatever_their_number_and_order() {
    let relay = TestRelay::start().await;
    let memberships = &relay.relay.hub().memberships;
    let (a, b, c) = (number(1), number(2), number(3));
    let mut rows = Vec::new();
    // Hundreds of owners list one of them, alternately, and one in the middle lists both.
    for owner in 0..400 {
        let members = if owner % 2 == 0 { vec![a, c] } else { vec![b] };
        rows.push(row(owner, 1, &members));
    }
    memberships.import(rows).await.unwrap();
    assert!(!memberships.list_together(&a, &b).unwrap());
    assert!(!memberships.list_together(&b, &a).unwrap());
    assert!(memberships.list_together(&a, &c).unwrap());
    assert!(memberships.list_together(&a, &a).unwrap());
    assert!(!memberships.list_together(&number(7), &number(7)).unwrap());
    for owner in [0, 133, 399] {
        memberships.import(vec![row(owner, 2, &[a, b])]).await.unwrap();
        assert!(memberships.list_together(&a, &b).unwrap());
        assert!(memberships.list_together(&b, &a).unwrap());
        memberships.import(vec![row(owner, 3, &[b])]).await.unwrap();
        let outcome = memberships.import(vec![row(owner, 3, &[a, b])]).await.unwrap();
        assert_eq!(outcome, [Import::NotNewer]);
        assert!(!memberships.list_together(&a, &b).unwrap());
        memberships.import(vec![row(owner, 4, &[a, c])]).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_sender_may_do_is_found_out_as_fast_with_many_owners_as_with_few() {
    let relay = TestRelay::start().await;
    let memberships = &relay.relay.hub().memberships;
    let measure = || {
        let mut best = std::time::Duration::MAX;
        for _ in 0..200 {
            let started = std::time::Instant::now();
            assert!(memberships.list_together(&number(10), &number(11)).unwrap());
            best = best.min(started.elapsed());
        }
        best
    };
    memberships.import(vec![row(0, 1, &[number(10), number(11)])]).await.unwrap();
    let few = measure();
    for thousand in 0..5u64 {
        let rows = (1..=1000)
            .map(|at| thousand * 1000 + at)
            .map(|owner| row(owner, 1, &[number(owner * 100), number(owner * 100 + 1)]))
            .collect();
        memberships.import(rows).await.unwrap();
    }
    let many = measure();
    // A scan would take a thousand times as long.
    assert!(many < few * 20 + std::time::Duration::from_micros(50), "{few:?} -> {many:?}");
}

#[tokio::test]
async fn a_publication_as_an_owner_writes_it_is_what_the_relay_takes() {
    let relay = TestRelay::start().await;
    let signed = membership(9, 1, &[1, 2]).sign(&secret(9));
    let path = format!("/mesh/{}", secret(9).public().hash());
    let answer = relay.request("POST", &path, write_publication(&signed).as_bytes()).await;
    assert_eq!(answer.status, 200);
}

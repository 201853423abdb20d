//! Publishing and reading memberships.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rp_protocol::membership::{Member, Membership};
use serde_json::{Value, json};

use crate::client::{TestRelay, key, secret};
use crate::http::Answer;

/// What owner `owner` says about these machines.
pub fn membership(owner: u8, version: u64, machines: &[u8]) -> Membership {
    let member = |number: &u8| Member {
        key: secret(*number).public(),
        relay_url: "https://relay.example.org".to_owned(),
        paired_at: "2026-07-25T17:20:00.000Z".to_owned(),
        nickname: None,
    };
    Membership {
        version,
        issued_at: 1_785_000_000_000,
        owner: secret(owner).public(),
        members: machines.iter().map(member).collect(),
    }
}

/// A blob with members in whatever spelling.
pub fn blob(owner: u8, version: u64, members: &[&str]) -> String {
    let members: Vec<Value> = members
        .iter()
        .map(|key| json!({ "remote_epk": key, "relay_url": "https://r", "paired_at": "t" }))
        .collect();
    json!({ "version": version, "issued_at": 1, "owner_pk": key(owner), "members": members })
        .to_string()
}

/// A publication of these bytes.
pub fn sign(owner: u8, blob: &[u8]) -> Value {
    json!({ "blob": STANDARD.encode(blob), "sig": secret(owner).sign(blob).to_string() })
}

pub fn path(owner: u8) -> String {
    format!("/mesh/{}", secret(owner).public().hash())
}

pub async fn post(relay: &TestRelay, owner: u8, publication: &Value) -> Answer {
    relay.request("POST", &path(owner), publication.to_string().as_bytes()).await
}

/// Publishes a membership that is accepted.
pub async fn publish(relay: &TestRelay, owner: u8, version: u64, machines: &[u8]) -> Value {
    let blob = membership(owner, version, machines).sign(&secret(owner)).blob().to_vec();
    let answer = post(relay, owner, &sign(owner, &blob)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn get(relay: &TestRelay, owner: u8, query: &str) -> Answer {
    relay.request("GET", &(path(owner) + query), b"").await
}

#[tokio::test]
async fn what_was_published_is_read_back_byte_for_byte() {
    let relay = TestRelay::start().await;
    let blob = blob(9, 1, &[&key(1)]).replace("\":", "\" : ");
    let publication = sign(9, blob.as_bytes());
    let answer = post(&relay, 9, &publication).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let published = answer.json();
    assert_eq!(published["version"], 1);
    assert!(published["updated_at"].is_u64());
    let answer = get(&relay, 9, "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let expected = json!({
        "blob": publication["blob"], "sig": publication["sig"], "version": 1,
        "updated_at": published["updated_at"]
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_newer_version_takes_the_place_of_the_older_one() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1]).await;
    publish(&relay, 9, 2, &[1, 2]).await;
    assert_eq!(get(&relay, 9, "").await.json()["version"], 2);
}

#[tokio::test]
async fn an_older_or_the_same_version_is_refused_with_the_one_that_is_there() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 5, &[1]).await;
    for version in [0, 4, 5] {
        let blob = membership(9, version, &[1]).sign(&secret(9)).blob().to_vec();
        let answer = post(&relay, 9, &sign(9, &blob)).await;
        assert_eq!((answer.status, answer.text()), (409, "stale_version (current=5)"));
    }
    assert_eq!(get(&relay, 9, "").await.json()["version"], 5);
}

#[tokio::test]
async fn a_reader_who_has_the_version_is_told_so_and_one_who_has_an_older_one_gets_it() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 3, &[1]).await;
    assert_eq!(get(&relay, 9, "?since=2").await.status, 200);
    for since in ["3", "4", "18446744073709551615"] {
        let answer = get(&relay, 9, &format!("?since={since}")).await;
        assert_eq!((answer.status, answer.text()), (304, ""));
    }
    assert_eq!(get(&relay, 9, "?other=1").await.status, 200);
    for since in ["", "x", "-1", "1.0", "18446744073709551616", "2&since=2"] {
        let answer = get(&relay, 9, &format!("?since={since}")).await;
        assert_eq!(answer.status, 400, "{since}");
        assert!(answer.text().starts_with("Failed to deserialize query string"));
    }
}

#[tokio::test]
async fn an_owner_who_has_not_published_is_not_found() {
    let relay = TestRelay::start().await;
    let answer = get(&relay, 9, "").await;
    assert_eq!((answer.status, answer.text()), (404, "not_found"));
    for hash in ["x", "00", "%20", &"+".repeat(64), &"g".repeat(64), "é"] {
        let answer = relay.request("GET", &format!("/mesh/{hash}"), b"").await;
        assert_eq!((answer.status, answer.text()), (404, "not_found"), "{hash}");
    }
}

#[tokio::test]
async fn the_address_of_an_owner_may_be_in_capitals() {
    let relay = TestRelay::start().await;
    let path = format!("/mesh/{}", secret(9).public().hash().to_uppercase());
    let publication = sign(9, blob(9, 1, &[]).as_bytes()).to_string();
    assert_eq!(relay.request("POST", &path, publication.as_bytes()).await.status, 200);
    assert_eq!(relay.request("GET", &path, b"").await.status, 200);
    assert_eq!(get(&relay, 9, "").await.status, 200);
}

#[tokio::test]
async fn a_signature_that_does_not_fit_is_refused() {
    let relay = TestRelay::start().await;
    let mut publication = sign(9, blob(9, 1, &[]).as_bytes());
    publication["sig"] = json!(STANDARD.encode([0; 64]));
    let answer = post(&relay, 9, &publication).await;
    assert_eq!((answer.status, answer.text()), (403, "sig_invalid"));
    publication["sig"] = sign(9, blob(9, 2, &[]).as_bytes())["sig"].clone();
    assert_eq!(post(&relay, 9, &publication).await.status, 403);
    publication["sig"] = sign(8, blob(9, 1, &[]).as_bytes())["sig"].clone();
    assert_eq!(post(&relay, 9, &publication).await.status, 403);
    publication["sig"] = json!(STANDARD.encode([0; 63]));
    let answer = post(&relay, 9, &publication).await;
    assert_eq!((answer.status, answer.text()), (403, "sig is not 64 bytes"));
    assert_eq!(get(&relay, 9, "").await.status, 404);
}

#[tokio::test]
async fn a_membership_posted_to_the_address_of_another_owner_is_refused() {
    let relay = TestRelay::start().await;
    let answer = post(&relay, 8, &sign(9, blob(9, 1, &[]).as_bytes())).await;
    assert_eq!((answer.status, answer.text()), (403, "owner_pk_hash mismatch"));
}

#[tokio::test]
async fn a_body_that_is_no_publication_is_refused() {
    let relay = TestRelay::start().await;
    for body in ["", "no json", "{}", r#"{"blob":1,"sig":"x"}"#, r#"{"blob":"eA=="}"#] {
        let answer = relay.request("POST", &path(9), body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().starts_with("invalid json: "), "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let mut publication = sign(9, blob(9, 1, &[]).as_bytes());
    publication["blob"] = json!(publication["blob"].as_str().unwrap().replace('=', "") + "=x");
    let answer = post(&relay, 9, &publication).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("decode: invalid base64: blob"), "{}", answer.text());
}

#[tokio::test]
async fn the_largest_body_is_read_and_one_byte_more_is_not() {
    let relay = TestRelay::start().await;
    let answer = relay.request("POST", &path(9), &vec![b' '; 512_001]).await;
    assert_eq!(answer.status, 413);
    let publication = sign(9, blob(9, 1, &[]).as_bytes()).to_string();
    let padding = 512_000 - publication.len();
    let body = publication + &" ".repeat(padding);
    assert_eq!(relay.request("POST", &path(9), body.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn an_owner_key_in_another_spelling_is_the_same_owner_and_the_blob_stays_as_it_was() {
    let relay = TestRelay::start().await;
    let spelled = URL_SAFE_NO_PAD.encode(secret(9).public().as_bytes());
    let blob = blob(9, 1, &[]).replace(&key(9), &spelled);
    let publication = sign(9, blob.as_bytes());
    assert_eq!(post(&relay, 9, &publication).await.status, 200);
    assert_eq!(get(&relay, 9, "").await.json()["blob"], publication["blob"]);
}

#[tokio::test]
async fn a_membership_may_be_empty_and_a_nickname_absent_null_or_a_text() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[]).await;
    let member = json!({ "remote_epk": key(1), "relay_url": "r", "paired_at": "t" });
    for (version, nickname) in [(2, json!(null)), (3, json!("bureau"))] {
        let mut member = member.clone();
        member["nickname"] = nickname;
        member["more"] = json!([1]);
        let blob = json!({
            "version": version, "issued_at": 1, "owner_pk": key(9), "members": [member], "more": {}
        });
        let answer = post(&relay, 9, &sign(9, blob.to_string().as_bytes())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn one_malformed_member_makes_the_whole_publication_refused() {
    let relay = TestRelay::start().await;
    let good = json!({ "remote_epk": key(1), "relay_url": "r", "paired_at": "t" });
    let with = |name: &str, value: Value| {
        let mut member = good.clone();
        member[name] = value;
        member
    };
    let without = |name: &str| {
        let mut member = good.clone();
        member.as_object_mut().unwrap().remove(name);
        member
    };
    for bad in [
        without("remote_epk"),
        without("relay_url"),
        without("paired_at"),
        with("remote_epk", json!(7)),
        with("relay_url", json!(null)),
        with("paired_at", json!(7)),
        with("nickname", json!(7)),
        with("remote_epk", json!("")),
        with("remote_epk", json!(STANDARD.encode([1; 31]))),
        with("remote_epk", json!(key(1) + " ")),
        json!("text"),
    ] {
        let blob = json!({
            "version": 1, "issued_at": 1, "owner_pk": key(9), "members": [good.clone(), bad.clone()]
        });
        let answer = post(&relay, 9, &sign(9, blob.to_string().as_bytes())).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(get(&relay, 9, "").await.status, 404);
    }
}

#[tokio::test]
async fn a_blob_that_lacks_something_or_counts_in_fractions_is_refused() {
    let relay = TestRelay::start().await;
    let good = json!({ "version": 1, "issued_at": 1, "owner_pk": key(9), "members": [] });
    let with = |name: &str, value: Value| {
        let mut blob = good.clone();
        blob[name] = value;
        blob.to_string()
    };
    for blob in [
        "no json".to_owned(),
        with("version", json!("1")),
        with("version", json!(-1)),
        with("version", json!(1)).replace("\"version\":1", "\"version\":1.0"),
        with("issued_at", json!(null)),
        with("members", json!({})),
        with("owner_pk", json!("%")),
    ] {
        let answer = post(&relay, 9, &sign(9, blob.as_bytes())).await;
        assert_eq!(answer.status, 400, "{blob}");
    }
    let short = with("owner_pk", json!(STANDARD.encode([1; 31])));
    assert_eq!(post(&relay, 9, &sign(9, short.as_bytes())).await.status, 403);
}

#[tokio::test]
async fn of_many_publications_of_one_version_at_once_exactly_one_is_accepted() {
    let relay = TestRelay::start().await;
    publish(&relay, 9, 1, &[1]).await;
    let publication = sign(9, blob(9, 2, &[]).as_bytes()).to_string();
    let (address, path) = (relay.address(), path(9));
    let mut posting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (publication, path) = (publication.clone(), path.clone());
        posting.spawn(async move {
            crate::http::request(address, "POST", &path, publication.as_bytes()).await.status
        });
    }
    let mut statuses = posting.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
}

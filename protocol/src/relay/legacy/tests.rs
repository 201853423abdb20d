#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use proptest::prelude::*;

use super::*;
use crate::key::{PublicKey, SecretKey};

const CANONICAL: &str = "rwaj4ykXFOTzVsGcmxXNGVHsbmZiqne+B1R/KJODNB0=";

fn envelope(text: &str) -> Option<(String, String, String)> {
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Envelope(OuterEnvelope { peer, room, ct, .. })) => {
            Some((peer.into_owned(), room.into_owned(), ct.to_owned()))
        }
        _ => None,
    }
}

#[test]
fn a_login_is_read_written_and_proven_as_in_the_example() {
    let hello = format!(r#"{{"type":"hello","pubkey":"{CANONICAL}","room_id":"-HCOMVOFexRE"}}"#);
    let hello = Hello::parse(&hello).unwrap();
    assert_eq!(hello.key, SecretKey::from_seed(&[0x61; 32]).public());
    assert_eq!((hello.room.as_str(), &hello.meta), ("-HCOMVOFexRE", &RoomMeta::default()));
    let challenge = Challenge(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    assert_eq!(
        challenge.to_json(),
        r#"{"type":"challenge","nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#
    );
    let auth = r#"{"type":"auth","sig":"wmG6+QlJ2UtwWSB3q4BKmtyteXVVwKIFoffDkK08u4plasR04aJ7j4lbPWFZRl17TgLNd1Xf0A3wqKarqZoEAg=="}"#;
    let auth = Auth::parse(auth).unwrap();
    assert!(auth.proves(&hello.key, &challenge));
    assert!(!auth.proves(&hello.key, &Challenge([0; 32])));
    assert!(!auth.proves(&SecretKey::from_seed(&[1; 32]).public(), &challenge));
}

#[test]
fn an_auth_is_no_hello_and_a_hello_no_auth() {
    assert_eq!(Hello::parse(r#"{"type":"auth","sig":""}"#), Err(LoginError::Unexpected));
    let hello = format!(r#"{{"type":"hello","pubkey":"{CANONICAL}"}}"#);
    assert_eq!(Auth::parse(&hello), Err(LoginError::Unexpected));
}

#[test]
fn an_envelope_without_a_room_is_for_the_default_one() {
    let expected = Some(("p".to_owned(), "main".to_owned(), "x".to_owned()));
    assert_eq!(envelope(r#"{"peer":"p","ct":"x"}"#), expected);
    let expected = Some(("p".to_owned(), "r".to_owned(), "x".to_owned()));
    assert_eq!(envelope(r#"{"peer":"p","room":"r","ct":"x"}"#), expected);
}

#[test]
fn content_is_measured_as_base64_and_escapes_count_as_what_they_stand_for() {
    let size =
        |ct: &str, max: u64| match ClientFrame::parse(&format!(r#"{{"peer":"p","ct":"{ct}"}}"#)) {
            Ok(ClientFrame::Envelope(envelope)) => envelope.is_larger_than(max),
            _ => panic!("no envelope"),
        };
    assert!(!size(&"A".repeat(5_592_406), 4 << 20));
    assert!(size(&"A".repeat(5_592_408), 4 << 20));
    assert!(size(&"A".repeat(3 << 20), 1 << 20));
    assert!(!size(&"A".repeat(3 << 20), 4 << 20));
    assert!(size(&"A".repeat(12 << 20), 4 << 20));
    assert!(!size(&r"\u0041".repeat(4), 3));
    assert!(size(&r"\u0041".repeat(6), 3));
}

#[test]
fn a_key_is_known_by_its_canonical_text_only() {
    let key = SecretKey::from_seed(&[0x61; 32]).public();
    assert_eq!(canonical_key(CANONICAL), Some(key));
    for other in
        ["", "main", &CANONICAL.replace('/', "_"), CANONICAL.trim_end_matches('='), &"é".repeat(22)]
    {
        assert_eq!(canonical_key(other), None, "{other}");
    }
    // The unused bits of the last digit are not zero.
    assert_eq!(canonical_key(&CANONICAL.replace("0=", "1=")), None);
}

#[test]
fn an_error_is_written_as_in_the_example() {
    let request = r#"{"type":"pi_envelope","to_pc":"x","envelope":{"from":"bureau:/srv/demo/atlas@atlas","to":"p/bfr484:/home/eve/lab@lab","id":"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","re":null,"body":{}}}"#;
    let Ok(ClientFrame::PiEnvelope(request)) = ClientFrame::parse(request) else {
        panic!("no request")
    };
    let id = "5b0c6c1e-6f0a-4d52-9b7e-2f4d0a8c9e11".parse().unwrap();
    let written = write_transport_error(&request, TransportReason::Offline, id);
    let expected: serde_json::Value = serde_json::from_str(
        r#"{"type":"pi_envelope_in","from_pc":"_relay","envelope":{"from":"_relay","to":"bureau:/srv/demo/atlas@atlas","id":"5b0c6c1e-6f0a-4d52-9b7e-2f4d0a8c9e11","re":"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","body":{"type":"transport_error","reason":"offline"}}}"#,
    )
    .unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), expected);
}

#[test]
fn an_envelope_between_machines_may_be_nested_so_deep_and_no_deeper() {
    let request = |depth: usize| {
        let envelope = format!(r#"{}1{}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let text =
            format!(r#"{{"type":"pi_envelope","to_pc":"{CANONICAL}","envelope":{envelope}}}"#);
        match ClientFrame::parse(&text) {
            Ok(ClientFrame::PiEnvelope(request)) => request.target().is_some(),
            _ => false,
        }
    };
    assert!(request(MAX_NESTING - 1));
    assert!(!request(MAX_NESTING));
    let brackets = format!(r#"{{"a":"{}"}}"#, "[{\\\"".repeat(200));
    let text = format!(r#"{{"type":"pi_envelope","to_pc":"{CANONICAL}","envelope":{brackets}}}"#);
    let Ok(ClientFrame::PiEnvelope(request)) = ClientFrame::parse(&text) else {
        panic!("no request")
    };
    assert!(request.target().is_some(), "brackets in a text are no nesting");
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused(text in ".{0,200}") {
        let _ = ClientFrame::parse(&text);
        let _ = Hello::parse(&text);
        let _ = Auth::parse(&text);
    }

    #[test]
    fn an_envelope_arrives_as_json_with_the_content_that_was_sent(
        content in ".{0,100}", room in ".{0,20}", key in any::<[u8; 32]>(),
    ) {
        let sent = serde_json::json!({ "ct": content, "room": room, "peer": "p", "x": [content] });
        let text = sent.to_string();
        let Ok(ClientFrame::Envelope(envelope)) = ClientFrame::parse(&text) else {
            return Err(TestCaseError::fail("no envelope"));
        };
        prop_assert_eq!(&*envelope.room, room.as_str());
        prop_assert_eq!(envelope.ct_bytes, content.len());
        let key = PublicKey::from_bytes(key);
        let origin = EnvelopeOrigin::new(&key, &room);
        let mut out = Vec::new();
        origin.write(&mut out, envelope.ct);
        prop_assert_eq!(out.len(), origin.envelope_bytes(envelope.ct));
        let arrived: serde_json::Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(arrived, serde_json::json!({ "peer": key.to_string(), "room": room, "ct": content }));
        prop_assert_eq!(canonical_key(&key.to_string()), Some(key));
    }
}

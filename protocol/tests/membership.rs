//! The membership an owner signs: its bytes, what a relay checks, and how a machine follows it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::membership::*;
use serde_json::json;

fn owner() -> SecretKey {
    SecretKey::from_seed(&[0x51; 32])
}

fn machine(seed: u8) -> PublicKey {
    SecretKey::from_seed(&[seed; 32]).public()
}

fn member(key: PublicKey, nickname: Option<&str>) -> Member {
    Member {
        key,
        relay_url: "https://relay.example.org".into(),
        paired_at: "2026-07-25T17:20:00.000Z".into(),
        nickname: nickname.map(Into::into),
    }
}

fn version(version: u64, members: &[PublicKey]) -> SignedMembership {
    issued(version, 1_785_000_000_000, members)
}

fn issued(version: u64, issued_at: u64, members: &[PublicKey]) -> SignedMembership {
    let members = members.iter().map(|key| member(*key, None)).collect();
    Membership { version, issued_at, owner: owner().public(), members }.sign(&owner())
}

mod blobs {
    use super::*;

    const BLOB: &str = r#"{"issued_at":1785000000000,"members":[{"nickname":"bureau","paired_at":"2026-07-25T17:20:00.000Z","relay_url":"https://relay.example.org","remote_epk":"rwaj4ykXFOTzVsGcmxXNGVHsbmZiqne+B1R/KJODNB0="},{"paired_at":"2026-07-25T17:21:00.000Z","relay_url":"https://relay.example.org","remote_epk":"p/bfr484uJuozmSbWU+R5NAf3Ff5yUk99DteUKmYc2c="}],"owner_pk":"wFDFY3pE+oYp//PMzOIwDLNipj2Z2V/FQUUmb0MyRFo=","version":3}"#;
    const SIGNATURE: &str =
        "VJX9UazKLg+L1apqQtT30z1rLIVAQcSFwlo9x07se5WpRmAuvVW1bOVxYvSbfnJ5W5r+L89N3AUQxv2HXzdKDw==";

    #[test]
    fn the_published_vector_is_written_and_read_byte_for_byte() {
        let mut second = member(machine(0x63), None);
        second.paired_at = "2026-07-25T17:21:00.000Z".into();
        let membership = Membership {
            version: 3,
            issued_at: 1_785_000_000_000,
            owner: owner().public(),
            members: vec![member(machine(0x61), Some("bureau")), second],
        };
        let signed = membership.clone().sign(&owner());
        assert_eq!(std::str::from_utf8(signed.blob()).unwrap(), BLOB);
        assert_eq!(signed.signature().to_string(), SIGNATURE);
        assert_eq!(
            membership.owner.hash(),
            "4b735ac174e40636507716ed5c9a8a75fbf6f462357fabb71ac42b7bd502c64a"
        );
        let signature = STANDARD.decode(SIGNATURE).unwrap();
        let read = SignedMembership::verify(BLOB.as_bytes().to_vec(), &signature).unwrap();
        assert_eq!(*read.membership(), membership);
    }

    #[test]
    fn canonical_json_escapes_only_what_json_demands() {
        let mut one = member(machine(1), Some("a/b \"q\" \\ \u{8}\t\n\u{c}\r\u{1} é"));
        one.relay_url = String::new();
        let membership =
            Membership { version: 0, issued_at: 0, owner: machine(2), members: vec![one] };
        let json = String::from_utf8(membership.to_canonical_json()).unwrap();
        assert!(json.contains(r#""nickname":"a/b \"q\" \\ \b\t\n\f\r\u0001 é""#), "{json}");
        assert_eq!(Membership::parse(json.as_bytes()).unwrap(), membership);
    }

    #[test]
    fn nobody_writes_the_signed_bytes_anew() {
        // Not canonical at all: white space, other order, unknown fields.
        let blob = format!(
            " {{\"version\": 7, \"later\": [1], \"owner_pk\": \"{}\", \"members\": [], \"issued_at\": 1}}\n",
            URL_SAFE_NO_PAD.encode(owner().public().as_bytes())
        );
        let signature = owner().sign(blob.as_bytes());
        let signed =
            SignedMembership::verify(blob.clone().into_bytes(), signature.as_bytes()).unwrap();
        assert_eq!(signed.blob(), blob.as_bytes());
        assert_eq!(signed.membership().version, 7);
    }

    #[test]
    fn one_bad_member_makes_the_whole_membership_void() {
        let good = json!({"remote_epk": machine(1), "relay_url": "", "paired_at": ""});
        for (bad, error) in [
            (json!({"relay_url": "", "paired_at": ""}), "shape"),
            (json!({"remote_epk": 1, "relay_url": "", "paired_at": ""}), "shape"),
            (json!({"remote_epk": machine(2), "paired_at": ""}), "shape"),
            (json!({"remote_epk": machine(2), "relay_url": null, "paired_at": ""}), "shape"),
            (json!({"remote_epk": machine(2), "relay_url": ""}), "shape"),
            (
                json!({"remote_epk": machine(2), "relay_url": "", "paired_at": "", "nickname": 1}),
                "shape",
            ),
            (json!("text"), "shape"),
            (json!(null), "shape"),
            (json!({"remote_epk": "AAAA", "relay_url": "", "paired_at": ""}), "key"),
            (json!({"remote_epk": "no base64", "relay_url": "", "paired_at": ""}), "key"),
        ] {
            let blob = json!({"version": 1, "issued_at": 1, "owner_pk": owner().public(), "members": [good, bad]});
            let blob = blob.to_string().into_bytes();
            let signature = owner().sign(&blob);
            let refused = SignedMembership::verify(blob.clone(), signature.as_bytes()).unwrap_err();
            match error {
                "shape" => assert!(matches!(refused, MembershipError::Shape { .. }), "{bad}"),
                _ => assert_eq!(refused, MembershipError::MemberKey, "{bad}"),
            }
            assert!(Membership::parse(&blob).is_err());
        }
    }

    #[test]
    fn a_nickname_may_be_absent_null_or_text_and_the_list_empty() {
        for members in [
            json!([]),
            json!([{"remote_epk": machine(1), "relay_url": "", "paired_at": ""}]),
            json!([{"remote_epk": machine(1), "relay_url": "", "paired_at": "", "nickname": null}]),
            json!([{"remote_epk": machine(1), "relay_url": "", "paired_at": "", "nickname": "x"}]),
        ] {
            let blob = json!({"version": 1, "issued_at": 1, "owner_pk": owner().public(), "members": members});
            Membership::parse(blob.to_string().as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_blob_of_the_wrong_shape_is_refused_without_repeating_it() {
        let key = owner().public().to_string();
        for blob in [
            "".to_owned(),
            key.clone(),
            "[]".into(),
            "{}".into(),
            format!(r#"{{"version":1,"owner_pk":"{key}","members":[]}}"#),
            format!(r#"{{"issued_at":1,"owner_pk":"{key}","members":[]}}"#),
            format!(r#"{{"version":3.0,"issued_at":1,"owner_pk":"{key}","members":[]}}"#),
            format!(r#"{{"version":-1,"issued_at":1,"owner_pk":"{key}","members":[]}}"#),
            format!(
                r#"{{"version":18446744073709551616,"issued_at":1,"owner_pk":"{key}","members":[]}}"#
            ),
            format!(r#"{{"version":"{key}","issued_at":1,"owner_pk":"{key}","members":[]}}"#),
            format!(r#"{{"version":1,"version":2,"issued_at":1,"owner_pk":"{key}","members":[]}}"#),
            format!(r#"{{"version":1,"issued_at":1,"owner_pk":"{key}","members":{{}}}}"#),
            format!(
                "\u{feff}{{\"version\":1,\"issued_at\":1,\"owner_pk\":\"{key}\",\"members\":[]}}"
            ),
        ] {
            let error = SignedMembership::verify(blob.clone().into_bytes(), &[0; 64]).unwrap_err();
            assert!(matches!(error, MembershipError::Shape { .. }), "{blob}");
            assert!(!error.to_string().contains(&key));
        }
    }

    #[test]
    fn a_changed_blob_a_changed_signature_and_another_signer_are_refused() {
        let signed = version(1, &[machine(1)]);
        let mut blob = signed.blob().to_vec();
        *blob.iter_mut().find(|byte| **byte == b'1').unwrap() = b'2';
        let refused = |blob: &[u8], signature: &[u8]| {
            SignedMembership::verify(blob.to_vec(), signature).unwrap_err()
        };
        let signature = *signed.signature().as_bytes();
        assert_eq!(refused(&blob, &signature), MembershipError::Signature);
        let mut flipped = signature;
        flipped[10] ^= 1;
        assert_eq!(refused(signed.blob(), &flipped), MembershipError::Signature);
        let foreign = SecretKey::from_seed(&[9; 32]).sign(signed.blob());
        assert_eq!(refused(signed.blob(), foreign.as_bytes()), MembershipError::Signature);
        assert_eq!(refused(signed.blob(), &signature[..63]), MembershipError::SignatureLength);
    }

    fn any_member() -> impl Strategy<Value = Member> {
        (any::<[u8; 32]>(), any::<String>(), any::<String>(), any::<Option<String>>()).prop_map(
            |(key, relay_url, paired_at, nickname)| Member {
                key: PublicKey::from_bytes(key),
                relay_url,
                paired_at,
                nickname,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_signed_is_read_back(
            number: u64,
            issued_at: u64,
            members in proptest::collection::vec(any_member(), 0..5),
        ) {
            let membership =
                Membership { version: number, issued_at, owner: machine(1), members };
            let signed = membership.sign(&owner());
            let read = SignedMembership::verify(
                signed.blob().to_vec(),
                signed.signature().as_bytes(),
            );
            prop_assert_eq!(read.as_ref(), Ok(&signed));
            prop_assert_eq!(signed.membership().owner, owner().public());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, signature: Vec<u8>) {
            let _ = SignedMembership::verify(bytes, &signature);
        }
    }
}

mod relays {
    use super::*;

    fn hash() -> String {
        owner().public().hash()
    }

    fn body(blob: &[u8], signature: &[u8]) -> Vec<u8> {
        json!({"blob": STANDARD.encode(blob), "sig": STANDARD.encode(signature), "more": 1})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_good_publication_is_taken_at_its_owners_address_in_any_case() {
        let signed = version(3, &[machine(1)]);
        let body = write_publication(&signed);
        for hash in [hash(), hash().to_uppercase()] {
            assert_eq!(check_publication(body.as_bytes(), &hash), Ok(signed.clone()));
        }
        let stored = Stored::accept(None, &signed, 17).unwrap();
        assert_eq!(
            serde_json::to_string(&stored.published()).unwrap(),
            r#"{"version":3,"updated_at":17}"#
        );
    }

    #[test]
    fn every_wrong_publication_gets_its_answer_and_the_first_failure_wins() {
        let signed = version(3, &[machine(1)]);
        let good = signed.signature().as_bytes();
        let by_owner = |blob: serde_json::Value| {
            let blob = blob.to_string().into_bytes();
            let signature = owner().sign(&blob);
            body(&blob, signature.as_bytes())
        };
        let blob = |owner_pk: &str, member: &str| {
            json!({"version": 1, "issued_at": 1, "owner_pk": owner_pk,
                "members": [{"remote_epk": member, "relay_url": "", "paired_at": ""}]})
        };
        let owner_pk = owner().public().to_string();
        let no_point = PublicKey::from_bytes({
            let mut bytes = [0; 32];
            bytes[0] = 2;
            bytes
        });
        let unpadded =
            json!({"blob": STANDARD.encode(signed.blob()), "sig": STANDARD_NO_PAD.encode(good)});
        let cases: Vec<(Vec<u8>, u16, &str)> = vec![
            (vec![b' '; MAX_PUBLICATION_BYTES + 1], 413, "payload_too_large"),
            (vec![b' '; MAX_PUBLICATION_BYTES], 400, "invalid json: "),
            (b"{".to_vec(), 400, "invalid json: "),
            (b"{\"blob\":1,\"sig\":\"\"}".to_vec(), 400, "invalid json: "),
            (b"{\"blob\":\"\"}".to_vec(), 400, "invalid json: "),
            (b"{\"blob\":\"*\",\"sig\":\"\"}".to_vec(), 400, "decode: invalid base64: blob"),
            (unpadded.to_string().into_bytes(), 400, "decode: invalid base64: sig"),
            // Shape and owner before the signature, members' keys after it.
            (body(b"{}", &[0; 3]), 400, "blob is not valid JSON or missing required fields: "),
            (body(blob("*", "*").to_string().as_bytes(), &[]), 400, "invalid base64: owner_pk"),
            (
                body(blob("AAAA", "*").to_string().as_bytes(), &[]),
                403,
                "owner_pk in blob is not a valid 32-byte Ed25519 key",
            ),
            (
                body(blob(&no_point.to_string(), "*").to_string().as_bytes(), &[]),
                403,
                "owner_pk in blob is not a valid 32-byte Ed25519 key",
            ),
            (body(blob(&owner_pk, "*").to_string().as_bytes(), &[0; 63]), 403, "sig is not 64"),
            (body(blob(&owner_pk, "*").to_string().as_bytes(), &[0; 64]), 403, "sig_invalid"),
            (by_owner(blob(&owner_pk, "*")), 400, "member remote_epk is not valid"),
            (by_owner(blob(&owner_pk, "AAAA")), 400, "member remote_epk is not valid"),
        ];
        for (body, status, text) in cases {
            let refused = check_publication(&body, "another address").unwrap_err();
            assert_eq!(refused.status(), status, "{refused}");
            assert!(refused.to_string().starts_with(text), "{refused}");
        }
        let good = body(signed.blob(), good);
        let refused = check_publication(&good, "another address").unwrap_err();
        assert_eq!(
            (refused.status(), refused.to_string().as_str()),
            (403, "owner_pk_hash mismatch")
        );
        let internal = PublishError::Storage;
        assert_eq!((internal.status(), internal.to_string().as_str()), (500, "internal"));
    }

    #[test]
    fn only_a_greater_version_is_stored() {
        let five = version(5, &[]);
        for stored in [5, 6, u64::MAX] {
            let refused = Stored::accept(Some(stored), &five, 1).unwrap_err();
            assert_eq!(refused.status(), 409);
            assert_eq!(refused.to_string(), format!("stale_version (current={stored})"));
        }
        for stored in [None, Some(0), Some(4)] {
            assert_eq!(Stored::accept(stored, &five, 1).unwrap().version, 5);
        }
    }

    #[test]
    fn a_reader_gets_what_was_posted_unless_it_has_it() {
        let signed = version(5, &[machine(1)]);
        let stored = Stored::accept(None, &signed, 17).unwrap();
        assert_eq!(Stored::read(None, None), ReadAnswer::NotFound);
        for since in [5, 6] {
            assert_eq!(Stored::read(Some(&stored), Some(since)), ReadAnswer::NotModified);
        }
        for since in [None, Some(4)] {
            let ReadAnswer::Found(json) = Stored::read(Some(&stored), since) else {
                panic!("not found");
            };
            let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(answer["version"], 5);
            assert_eq!(answer["updated_at"], 17);
            assert_eq!(Answer::read(200, json.as_bytes()), Answer::Membership(signed.clone()));
        }
    }

    #[test]
    fn an_answer_is_sorted_by_what_it_means() {
        for status in [304, 404] {
            assert_eq!(Answer::read(status, b"not_found"), Answer::NothingNew);
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert_eq!(Answer::read(status, b""), Answer::Unavailable);
        }
        for status in [201, 204, 301, 400, 401, 403, 600] {
            assert_eq!(Answer::read(status, b""), Answer::Invalid(BadAnswer::Status(status)));
        }
        let signed = version(1, &[]);
        let payload = |blob: &str, signature: &str| json!({"blob": blob, "sig": signature});
        let blob = STANDARD.encode(signed.blob());
        let signature = URL_SAFE_NO_PAD.encode(signed.signature().as_bytes());
        let good = payload(&blob, &signature).to_string();
        assert_eq!(Answer::read(200, good.as_bytes()), Answer::Membership(signed));
        for bad in [
            payload("", &signature),
            payload("*", &signature),
            payload(&blob, "*"),
            json!({"blob": blob}),
            json!([]),
        ] {
            let answer = Answer::read(200, bad.to_string().as_bytes());
            assert_eq!(answer, Answer::Invalid(BadAnswer::Payload), "{bad}");
        }
        let short = payload(&blob, "AAAA").to_string();
        assert_eq!(
            Answer::read(200, short.as_bytes()),
            Answer::Invalid(BadAnswer::Membership(MembershipError::SignatureLength))
        );
        assert_eq!(
            Answer::read(200, &vec![b' '; MAX_ANSWER_BYTES + 1]),
            Answer::Invalid(BadAnswer::TooLong)
        );
    }
}

mod following {
    use super::*;

    const US: u8 = 1;
    const PAIRED_AT: u64 = 1_785_000_000_000;

    fn pairing() -> Pairing {
        Pairing { owner: owner().public(), paired_at_ms: PAIRED_AT }
    }

    fn follower(kept: Option<Followed>) -> Follower {
        let mut follower = Follower::new(machine(US), kept, 0);
        follower.set_pairings([pairing()]);
        follower
    }

    fn ask(follower: &mut Follower) -> Vec<Request> {
        follower.hurry(0);
        match follower.tick(follower.due_ms()) {
            Tick::Ask(requests) => requests,
            other => panic!("{other:?}"),
        }
    }

    fn learn(follower: &mut Follower, fetch: Fetch) -> News {
        let requests = ask(follower);
        assert_eq!(requests.len(), 1);
        follower.answered(&requests[0], fetch).unwrap()
    }

    fn signed(membership: SignedMembership) -> Fetch {
        Fetch::Answered(Answer::Membership(membership))
    }

    fn listed(number: u64) -> SignedMembership {
        version(number, &[machine(US), machine(2)])
    }

    fn counts(follower: &Follower) -> Vec<u64> {
        follower.memberships().map(|signed| signed.membership().version).collect()
    }

    #[test]
    fn the_first_sweep_is_due_at_once_and_then_every_minute() {
        let mut follower = Follower::new(machine(US), None, 500);
        follower.set_pairings([pairing()]);
        assert_eq!(follower.tick(499), Tick::Wait);
        let Tick::Ask(requests) = follower.tick(500) else { panic!("not due") };
        assert_eq!(requests[0].since, None);
        assert_eq!(follower.tick(600), Tick::Wait, "there is never more than one sweep");
        follower.answered(&requests[0], Fetch::Answered(Answer::NothingNew)).unwrap();
        assert_eq!(follower.due_ms(), 500 + POLL_INTERVAL_MS);
        assert_eq!(follower.tick(500 + POLL_INTERVAL_MS - 1), Tick::Wait);
        assert!(matches!(follower.tick(500 + POLL_INTERVAL_MS), Tick::Ask(_)));
    }

    #[test]
    fn a_hint_makes_the_next_sweep_due_at_once_but_not_a_second_one_beside_it() {
        let mut follower = follower(None);
        let requests = ask(&mut follower);
        follower.hurry(7);
        assert_eq!(follower.tick(7), Tick::Wait);
        follower.answered(&requests[0], Fetch::Unreachable).unwrap();
        assert!(matches!(follower.tick(7), Tick::Ask(_)));
    }

    #[test]
    fn a_relay_that_is_connected_anew_is_asked_once_for_all_it_has() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        follower.connected(0);
        let requests = ask(&mut follower);
        assert_eq!(requests[0].since, None);
        let news = follower.answered(&requests[0], signed(listed(3))).unwrap();
        assert_eq!(news.troubles, [(owner().public(), Trouble::Rollback { offered: 3, floor: 4 })]);
        assert_eq!(ask(&mut follower)[0].since, Some(4));
    }

    #[test]
    fn an_answer_after_the_deadline_counts_for_nothing() {
        let mut follower = follower(None);
        let requests = ask(&mut follower);
        let due = follower.due_ms();
        assert_eq!(due, FETCH_DEADLINE_MS);
        let Tick::Ended(news) = follower.tick(due) else { panic!("not ended") };
        assert_eq!(news.troubles, [(owner().public(), Trouble::Unavailable)]);
        assert_eq!(follower.answered(&requests[0], signed(listed(1))), None);
        let _next = ask(&mut follower);
        assert_eq!(follower.answered(&requests[0], signed(listed(1))), None);
        assert!(counts(&follower).is_empty());
    }

    #[test]
    fn a_membership_that_lists_this_machine_is_accepted_and_asked_for_by_version_from_then_on() {
        let mut follower = follower(None);
        let news = learn(&mut follower, signed(listed(4)));
        assert!(news.changed && news.troubles.is_empty() && news.removals.is_empty());
        assert_eq!(news.accepted[0].floor, 4);
        assert_eq!(counts(&follower), [4]);
        assert_eq!(ask(&mut follower)[0].since, Some(4));
    }

    #[test]
    fn several_owners_make_one_piece_of_news() {
        let second = SecretKey::from_seed(&[0x52; 32]);
        let mut follower = follower(None);
        follower.set_pairings([
            pairing(),
            Pairing { owner: second.public(), paired_at_ms: 1 },
            pairing(),
        ]);
        let requests = ask(&mut follower);
        assert_eq!(requests.len(), 2, "an owner is asked about once");
        let mut other = listed(9).membership().clone();
        other.owner = second.public();
        let answers: Vec<_> = requests
            .iter()
            .map(|request| {
                let membership = if request.owner == second.public() {
                    other.clone().sign(&second)
                } else {
                    listed(4)
                };
                follower.answered(request, signed(membership))
            })
            .collect();
        assert_eq!(answers[0], None);
        assert_eq!(answers[1].as_ref().unwrap().accepted.len(), 2);
        assert_eq!(follower.memberships().count(), 2);
    }

    #[test]
    fn an_older_version_is_a_rollback_and_changes_nothing() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        let news = learn(&mut follower, signed(listed(3)));
        assert_eq!(news.troubles, [(owner().public(), Trouble::Rollback { offered: 3, floor: 4 })]);
        assert!(!news.changed);
        assert_eq!(counts(&follower), [4]);
    }

    #[test]
    fn a_rollback_is_noticed_across_a_restart() {
        let mut before = follower(None);
        let kept = learn(&mut before, signed(listed(4))).accepted.remove(0);
        let mut after = follower(Some(kept));
        assert_eq!(counts(&after), [4], "what was accepted counts without a relay");
        let news = learn(&mut after, signed(listed(3)));
        assert!(matches!(news.troubles[0].1, Trouble::Rollback { offered: 3, floor: 4 }));
        assert_eq!(counts(&after), [4]);
    }

    #[test]
    fn the_same_version_again_is_no_news() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        let news = learn(&mut follower, signed(version(4, &[machine(US), machine(3)])));
        assert_eq!(news, News::default());
        let members = follower.memberships().next().unwrap().membership().members.clone();
        assert_eq!(members[1].key, machine(2));
    }

    #[test]
    fn an_outage_or_nothing_new_keeps_what_is_known() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        for fetch in [
            Fetch::Unreachable,
            Fetch::Answered(Answer::Unavailable),
            Fetch::Answered(Answer::NothingNew),
        ] {
            assert!(!learn(&mut follower, fetch).changed);
            assert_eq!(counts(&follower), [4]);
        }
    }

    #[test]
    fn a_void_answer_takes_the_owner_out_until_there_is_a_valid_one() {
        let mut follower = follower(None);
        let stranger = SecretKey::from_seed(&[0x53; 32]);
        let foreign = listed(9).membership().clone().sign(&stranger);
        for void in [
            Fetch::Answered(Answer::Invalid(BadAnswer::Payload)),
            Fetch::Answered(Answer::Invalid(BadAnswer::Membership(MembershipError::MemberKey))),
            signed(foreign),
        ] {
            learn(&mut follower, signed(listed(4)));
            assert_eq!(counts(&follower), [4]);
            let news = learn(&mut follower, void);
            assert!(news.changed && news.removals.is_empty() && news.troubles.len() == 1);
            assert!(counts(&follower).is_empty());
            assert_eq!(ask(&mut follower)[0].since, None, "it must be asked for again");
            follower.tick(follower.due_ms());
        }
    }

    #[test]
    fn a_newer_membership_without_this_machine_removes_it_until_it_is_done() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        let without = version(5, &[machine(2)]);
        for _attempt in 0..2 {
            let news = learn(&mut follower, signed(without.clone()));
            assert_eq!(news.removals, [pairing()]);
            assert!(counts(&follower).is_empty());
        }
        let kept = follower.removed(pairing()).unwrap();
        assert_eq!(kept, Followed { owner: owner().public(), floor: 5, membership: None });
        follower.hurry(0);
        assert_eq!(follower.tick(follower.due_ms()), Tick::Wait, "nobody is left to ask about");
        assert_eq!(follower.removed(pairing()), None);
    }

    #[test]
    fn being_listed_again_cancels_a_removal() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        learn(&mut follower, signed(version(5, &[])));
        learn(&mut follower, signed(listed(6)));
        assert_eq!(follower.removed(pairing()), None);
        assert_eq!(counts(&follower), [6]);
    }

    #[test]
    fn pairing_again_before_the_removal_is_done_abandons_it() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        learn(&mut follower, signed(version(5, &[])));
        let again = Pairing { paired_at_ms: PAIRED_AT + 1, ..pairing() };
        follower.set_pairings([again]);
        assert_eq!(follower.removed(pairing()), None);
        assert_eq!(follower.removed(again), None);
        let news = learn(&mut follower, signed(version(5, &[])));
        assert_eq!(news.troubles, [(owner().public(), Trouble::NotListed)]);
        assert!(learn(&mut follower, signed(listed(5))).changed, "the floor was not raised");
    }

    #[test]
    fn what_removed_this_machine_does_not_remove_it_again_after_a_new_pairing() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        let without = issued(5, u64::MAX, &[]);
        learn(&mut follower, signed(without.clone()));
        follower.removed(pairing()).unwrap();
        follower.set_pairings([Pairing { paired_at_ms: PAIRED_AT + 1, ..pairing() }]);
        assert_eq!(learn(&mut follower, signed(without)), News::default());
        assert!(matches!(
            learn(&mut follower, signed(listed(4))).troubles[0].1,
            Trouble::Rollback { .. }
        ));
        assert!(learn(&mut follower, signed(listed(6))).changed);
    }

    #[test]
    fn an_owner_who_has_not_listed_this_machine_yet_does_not_remove_it() {
        for (issued_at, removes) in [
            (0, false),
            (PAIRED_AT + NEVER_LISTED_GRACE_MS, false),
            (PAIRED_AT + NEVER_LISTED_GRACE_MS + 1, true),
        ] {
            let mut follower = follower(None);
            let news = learn(&mut follower, signed(issued(3, issued_at, &[machine(2)])));
            assert_eq!(!news.removals.is_empty(), removes, "issued at {issued_at}");
            assert_eq!(news.troubles.is_empty(), removes);
            assert!(!news.changed);
        }
    }

    #[test]
    fn an_owner_who_is_no_longer_paired_stops_counting() {
        let mut follower = follower(None);
        learn(&mut follower, signed(listed(4)));
        assert!(follower.set_pairings([]));
        assert!(counts(&follower).is_empty());
        assert!(!follower.set_pairings([pairing()]));
        let news = learn(&mut follower, signed(listed(3)));
        assert!(matches!(news.troubles[0].1, Trouble::Rollback { .. }), "the floor stays");
    }

    proptest! {
        #[test]
        fn no_order_of_answers_and_restarts_ever_lowers_the_version(
            steps in proptest::collection::vec((0_u64..8, any::<bool>(), any::<bool>()), 1..24),
        ) {
            let mut disk = None;
            let mut follower = follower(None);
            let mut floor = 0;
            for (offered, lists_us, restarts) in steps {
                if restarts {
                    follower = super::following::follower(disk.clone());
                }
                let members: &[PublicKey] = if lists_us { &[machine(US)] } else { &[] };
                let news = learn(&mut follower, signed(issued(offered, 0, members)));
                if let Some(accepted) = news.accepted.into_iter().next() {
                    disk = Some(accepted);
                }
                for version in counts(&follower) {
                    prop_assert!(version >= floor);
                    floor = version;
                }
            }
        }
    }
}

//! Machines beside this one: their names, their inventories, and the envelopes to and from them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use proptest::prelude::*;
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Member, Membership};
use rp_protocol::mesh::*;
use rp_protocol::remote::*;
use serde_json::{Value, json};

/// The keys of the worked examples, 1 to 5.
fn key(number: u8) -> PublicKey {
    let mut bytes = [0; 32];
    match number {
        1 => (0..32).for_each(|at| bytes[at] = u8::try_from(at + 1).unwrap()),
        2 => {
            let half = [
                0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0x78, 0x69, 0x5a, 0x4b, 0x3c, 0x2d,
                0x1e, 0x0f,
            ];
            bytes[..16].copy_from_slice(&half);
            bytes[16..].copy_from_slice(&half);
        }
        3 => {
            bytes[..3].copy_from_slice(&[0xfb, 0xef, 0xbe]);
            (3..32).for_each(|at| bytes[at] = u8::try_from(at - 3).unwrap());
        }
        4 | 5 => {
            bytes = [if number == 4 { 0x10 } else { 0x20 }; 32];
            bytes[..6].fill(0xa1);
        }
        other => bytes = [other; 32],
    }
    PublicKey::from_bytes(bytes)
}

fn owned(owner: u8, members: &[(u8, Option<&str>)]) -> Membership {
    let members = members.iter().map(|(number, nickname)| Member {
        key: key(*number),
        relay_url: String::new(),
        paired_at: String::new(),
        nickname: nickname.map(str::to_owned),
    });
    Membership { version: 1, issued_at: 1, owner: key(owner), members: members.collect() }
}

fn aliases(members: &[(u8, Option<&str>)]) -> Vec<String> {
    let topology = Topology::new(key(members[0].0), [&owned(100, members)]);
    let all = std::iter::once(topology.this()).chain(topology.siblings());
    let all: std::collections::HashMap<_, _> =
        all.map(|machine| (machine.key, machine.alias.clone())).collect();
    members.iter().map(|(number, _)| all[&key(*number)].clone()).collect()
}

fn labels(topology: &Topology) -> Vec<&str> {
    topology.siblings().iter().map(|sibling| sibling.label.as_str()).collect()
}

mod names {
    use super::*;

    #[test]
    fn bytes_that_mean_something_in_an_address_are_escaped() {
        for (nickname, encoded) in [
            ("lab", "lab"),
            ("A.b_c-9", "A.b_c-9"),
            ("Büro 1:2", "B%C3%BCro%201%3A2"),
            ("Casa: é~1", "Casa%3A%20%C3%A9%7E1"),
            ("100%", "100%25"),
            ("~x", "%7Ex"),
            ("a/b@c#d", "a%2Fb%40c%23d"),
            ("\u{fffd}", "%EF%BF%BD"),
        ] {
            assert_eq!(encode_nickname(nickname), encoded);
        }
    }

    #[test]
    fn machines_with_different_names_are_called_by_them() {
        assert_eq!(
            aliases(&[(1, Some("Büro 1:2")), (3, None)]),
            ["B%C3%BCro%201%3A2", "pc-----AAEC"]
        );
        let topology = Topology::new(key(1), [&owned(100, &[(1, Some("Büro 1:2")), (3, None)])]);
        assert_eq!(topology.this().label, "Büro 1:2");
        assert_eq!(labels(&topology), ["++++AAEC"]);
    }

    #[test]
    fn machines_with_the_same_name_all_get_a_piece_of_their_key() {
        let members = [(1, Some("lab")), (2, Some("lab")), (3, Some("Büro 1:2"))];
        assert_eq!(aliases(&members), ["lab~AQIDBAUG", "lab~8OHSw7Sl", "B%C3%BCro%201%3A2"]);
        let topology = Topology::new(key(3), [&owned(100, &members)]);
        assert_eq!(labels(&topology), ["lab", "lab"], "the wire knows no such suffix");
    }

    #[test]
    fn the_piece_grows_for_all_of_them_until_it_tells_them_apart() {
        assert_eq!(
            aliases(&[(1, Some("lab")), (4, Some("lab")), (5, Some("lab"))]),
            ["lab~AQIDBAUGB", "lab~oaGhoaGhE", "lab~oaGhoaGhI"]
        );
    }

    #[test]
    fn a_nickname_that_imitates_a_key_does_not_take_its_alias() {
        assert_eq!(
            aliases(&[(1, None), (2, Some("pc-AQIDBAUG"))]),
            ["pc-AQIDBAUG~AQIDBAUG", "pc-AQIDBAUG~8OHSw7Sl"]
        );
    }

    #[test]
    fn of_several_nicknames_the_smallest_encoded_one_counts_whoever_gave_it() {
        let candidates = ["Zed", "attic", "Attic", "büro", "~x", ""];
        assert_eq!(choose_nickname(candidates), Some("~x"));
        assert_eq!(choose_nickname(candidates.into_iter().rev()), Some("~x"));
        assert_eq!(choose_nickname(["Zed", "attic", "Attic"]), Some("Attic"));
        assert_eq!(choose_nickname([""]), None);
        let first = owned(100, &[(1, None), (2, Some("Zed"))]);
        let second = owned(101, &[(2, Some("~x")), (1, None)]);
        for memberships in [[&first, &second], [&second, &first]] {
            let topology = Topology::new(key(1), memberships);
            assert_eq!(topology.siblings()[0].alias, "%7Ex");
            assert_eq!(topology.siblings()[0].label, "~x");
        }
    }

    #[test]
    fn an_empty_nickname_is_none() {
        assert_eq!(aliases(&[(1, Some("")), (2, Some("lab"))]), ["pc-AQIDBAUG", "lab"]);
    }

    #[test]
    fn a_machine_has_part_in_the_collisions_of_its_own_name() {
        let members = [(1, Some("lab")), (2, Some("lab"))];
        let topology = Topology::new(key(1), [&owned(100, &members)]);
        assert_eq!(topology.this().alias, "lab~AQIDBAUG");
        assert!(topology.by_alias("lab~AQIDBAUG").is_none(), "its own alias is no sibling's");
        assert_eq!(topology.by_alias("lab~8OHSw7Sl").unwrap().key, key(2));
        assert!(topology.by_alias("lab").is_none());
        assert!(topology.by_alias("LAB~8OHSw7Sl").is_none());
    }

    proptest! {
        #[test]
        fn every_machine_has_one_alias_and_no_two_the_same_in_whatever_order(
            names in proptest::collection::vec((0_u8..12, proptest::option::of("[a~: ]{0,2}|pc-BgYGBgYG")), 1..12),
            seed: usize,
        ) {
            let identity = |(number, nickname): &(u8, Option<String>)| Identity {
                key: key(*number),
                nickname: nickname.clone().filter(|nickname| !nickname.is_empty()),
            };
            let mut names: Vec<_> = {
                let unique: std::collections::BTreeMap<_, _> = names.into_iter().collect();
                unique.into_iter().collect()
            };
            let given = assign_aliases(names.iter().map(identity));
            prop_assert_eq!(given.len(), names.len());
            let distinct: std::collections::HashSet<_> = given.values().collect();
            prop_assert_eq!(distinct.len(), names.len());
            for alias in given.values() {
                prop_assert!(!alias.is_empty() && !alias.contains(':'));
            }
            let middle = seed % names.len();
            names.rotate_left(middle);
            prop_assert_eq!(assign_aliases(names.iter().map(identity)), given);
        }
    }
}

mod topologies {
    use super::*;

    fn siblings(topology: &Topology) -> Vec<PublicKey> {
        topology.siblings().iter().map(|sibling| sibling.key).collect()
    }

    #[test]
    fn only_memberships_that_list_this_machine_count() {
        let ours = owned(100, &[(1, None), (2, None)]);
        let others = owned(101, &[(2, Some("lab")), (6, None)]);
        let topology = Topology::new(key(1), [&ours, &others]);
        assert_eq!(siblings(&topology), [key(2)], "a sibling of a sibling is none");
        assert_eq!(topology.siblings()[0].alias, "pc-8OHSw7Sl", "nor do its nicknames count");
    }

    #[test]
    fn the_union_over_owners_is_the_same_in_every_order_and_without_this_machine() {
        let first = owned(100, &[(1, None), (2, None), (2, None)]);
        let second = owned(101, &[(6, None), (1, None), (2, None)]);
        let topology = Topology::new(key(1), [&first, &second]);
        assert_eq!(topology, Topology::new(key(1), [&second, &first]));
        assert_eq!(siblings(&topology), [key(2), key(6)]);
        assert!(topology.by_key(&key(1)).is_none());
        assert!(topology.by_key(&key(6)).is_some());
    }

    #[test]
    fn without_memberships_there_are_no_siblings() {
        let topology = Topology::new(key(1), []);
        assert!(topology.siblings().is_empty());
        assert_eq!(topology.this().alias, "pc-AQIDBAUG");
    }
}

mod inventories {
    use super::*;

    fn entry(cwd: &str, name: &str, address: &str) -> RosterEntry {
        RosterEntry { pc: None, cwd: cwd.into(), name: name.into(), address: address.into() }
    }

    #[test]
    fn an_inventory_says_it_both_ways_and_leaves_other_machines_out() {
        let remote = RosterEntry { pc: Some("lab".into()), ..entry("/x", "y", "lab:/x@y") };
        let roster = [entry("/srv/demo/api", "api", "/srv/demo/api@api"), remote];
        let body = write_inventory(&roster).unwrap();
        assert_eq!(
            body,
            r#"{"type":"peers_update","peers":["/srv/demo/api@api"],"peers_detailed":[{"cwd":"/srv/demo/api","name":"api","address":"/srv/demo/api@api"}]}"#
        );
        assert_eq!(parse_inventory(&body).unwrap(), roster[..1]);
    }

    #[test]
    fn addresses_alone_stand_for_names() {
        let read =
            parse_inventory(r#"{"type":"peers_update","peers":["/a@b"],"peers_detailed":null}"#);
        assert_eq!(read.unwrap(), [entry("", "/a@b", "/a@b")]);
    }

    #[test]
    fn anything_wrong_in_it_makes_all_of_it_void() {
        let good = json!({"cwd": "/a", "name": "b", "address": "/a@b", "extra": 1});
        for wrong in [
            json!({}),
            json!({"peers": null}),
            json!({"peers": "x"}),
            json!({"peers": ["x", 1]}),
            json!({"peers_detailed": [good]}),
            json!({"peers": [], "peers_detailed": [good, null]}),
            json!({"peers": [], "peers_detailed": [good, {"cwd": "/a", "name": "b"}]}),
            json!({"peers": [], "peers_detailed": [{"cwd": 1, "name": "b", "address": "c"}]}),
        ] {
            assert_eq!(parse_inventory(&wrong.to_string()), Err(InventoryError::Shape), "{wrong}");
        }
        let read = parse_inventory(&json!({"peers": [], "peers_detailed": [good]}).to_string());
        assert_eq!(read.unwrap(), [entry("/a", "b", "/a@b")]);
    }

    /// One character, two UTF-16 units, four bytes.
    const WIDE: &str = "\u{1f600}";

    #[test]
    fn exact_limits_are_accepted_and_one_more_is_not_in_utf16_units() {
        let update = |cwd: usize, name: usize, address: usize| {
            let wide =
                |units: usize| format!("{}{}", WIDE.repeat(units / 2), "x".repeat(units % 2));
            json!({"peers": [wide(address)], "peers_detailed":
                [{"cwd": wide(cwd), "name": wide(name), "address": wide(address)}]})
            .to_string()
        };
        assert!(parse_inventory(&update(4096, 256, 4352)).is_ok());
        for (cwd, name, address) in [(4097, 256, 4352), (4096, 257, 4352), (4096, 256, 4353)] {
            let read = parse_inventory(&update(cwd, name, address));
            assert_eq!(read, Err(InventoryError::Length));
        }
        let many = |count: usize, detailed: bool| {
            let entries = vec![json!({"cwd": "", "name": "a", "address": "a"}); count];
            let peers = if detailed { vec!["a"; 1] } else { vec!["a"; count] };
            let entries = if detailed { json!(entries) } else { json!(null) };
            parse_inventory(&json!({"peers": peers, "peers_detailed": entries}).to_string())
        };
        for detailed in [true, false] {
            assert_eq!(many(1024, detailed).unwrap().len(), 1024);
            assert_eq!(many(1025, detailed), Err(InventoryError::Peers));
        }
    }

    #[test]
    fn a_roster_that_others_would_not_take_is_not_written() {
        let roster = vec![entry("", "a", "a"); 1025];
        assert_eq!(write_inventory(&roster), Err(InventoryError::Peers));
        let long = entry(&"x".repeat(4097), "a", "a");
        assert_eq!(write_inventory(&[long]), Err(InventoryError::Length));
    }
}

mod labels {
    use super::*;

    #[test]
    fn the_expected_label_comes_off_whole_and_any_other_up_to_the_first_colon() {
        for (address, label, rest) in [
            ("lab:/srv/a@b", "lab", Some("/srv/a@b")),
            ("Büro 1:2:/srv/a@b", "Büro 1:2", Some("/srv/a@b")),
            ("Büro 1:2:/srv/a@b", "lab", Some("2:/srv/a@b")),
            ("other:C:/x@y", "lab", Some("C:/x@y")),
            ("labour:x", "lab", Some("x")),
            ("/srv/a@b", "lab", None),
            ("lab", "lab", None),
            ("lab:", "lab", None),
            ("a:b:", "a:b", None),
            (":x", "lab", None),
            ("", "lab", None),
        ] {
            assert_eq!(strip_label(address, label), rest, "{address} {label}");
        }
    }
}

/// Two machines that face each other, `Büro 1:2` and `lab`, and what each call needs.
struct Side {
    bridge: Bridge,
    roster: Vec<RosterEntry>,
    ids: u8,
    now_ms: u64,
}

impl Side {
    fn new(number: u8, members: &[(u8, Option<&str>)], agent: Option<&str>) -> Self {
        let roster = agent.map(|address| {
            let (cwd, name) = address.rsplit_once('@').unwrap();
            RosterEntry {
                pc: None,
                cwd: cwd.into(),
                name: name.into(),
                address: address.to_owned(),
            }
        });
        let bridge = Bridge::new(Topology::new(key(number), [&owned(100, members)]));
        Side { bridge, roster: roster.into_iter().collect(), ids: number, now_ms: 1_000 }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Bridge, &mut Around<'_>) -> T) -> T {
        let mut next = u16::from(self.ids) * 100;
        let mut next_id = || {
            next += 1;
            EnvelopeId::parse(&format!("00000000-0000-4000-8000-{next:012}")).unwrap()
        };
        let mut around =
            Around { now_ms: self.now_ms, roster: &self.roster, next_id: &mut next_id };
        act(&mut self.bridge, &mut around)
    }

    fn send(&mut self, envelope: &Envelope<'_>) -> Option<Vec<Outgoing>> {
        self.with(|bridge, around| bridge.send(envelope, around))
    }

    fn receive(&mut self, from_pc: &str, envelope: &str) -> Received {
        self.with(|bridge, around| bridge.receive(from_pc, envelope, around))
    }

    fn receive_from(&mut self, number: u8, outgoing: &Outgoing) -> Received {
        self.receive(&key(number).to_string(), text(outgoing))
    }

    fn connect(&mut self) -> Vec<Outgoing> {
        self.with(|bridge, around| bridge.connected(around))
    }

    fn retopology(&mut self, topology: Topology) -> Result<Vec<Outgoing>, OtherMachine> {
        self.with(|bridge, around| bridge.set_topology(topology, around))
    }
}

fn text(outgoing: &Outgoing) -> &str {
    std::str::from_utf8(&outgoing.envelope).unwrap()
}

fn value(outgoing: &Outgoing) -> Value {
    serde_json::from_slice(&outgoing.envelope).unwrap()
}

const MEMBERS: [(u8, Option<&str>); 2] = [(1, Some("Büro 1:2")), (2, Some("lab"))];
const ID: &str = "0198c2f4-6b1e-7a03-9c55-3f0d2e8b7a11";

fn buero() -> Side {
    Side::new(1, &MEMBERS, Some("/srv/demo/api@api"))
}

fn lab() -> Side {
    Side::new(2, &MEMBERS, Some("/srv/kai/web@web"))
}

fn envelope(from: &str, to: &str, body: &str) -> Envelope<'static> {
    let line = json!({"from": from, "to": to, "id": ID, "re": null}).to_string();
    let line = format!("{},\"body\":{body}}}", line.trim_end_matches('}'));
    Envelope::parse(&line).unwrap().into_owned()
}

fn kinds(outgoing: &[Outgoing]) -> Vec<(PublicKey, Kind, String)> {
    let kind = |one: &Outgoing| value(one)["body"]["type"].as_str().unwrap_or("-").to_owned();
    outgoing.iter().map(|one| (one.to, one.kind, kind(one))).collect()
}

mod conversations {
    use super::*;

    #[test]
    fn the_full_trace_of_a_message_its_receipt_and_its_answer() {
        let (mut here, mut there) = (buero(), lab());
        let sent = here
            .send(&envelope("/srv/demo/api@api", "lab:/srv/kai/web@web", "{\"ask\":1}"))
            .unwrap();
        assert_eq!(sent[0].to, key(2));
        assert_eq!(
            value(&sent[0]),
            json!({"from": "Büro 1:2:/srv/demo/api@api", "to": "lab:/srv/kai/web@web",
                "id": ID, "re": null, "body": {"ask": 1}})
        );

        let Received::Deliver { envelope: seen, receipt } = there.receive_from(1, &sent[0]) else {
            panic!("not delivered");
        };
        assert_eq!(seen.from, "B%C3%BCro%201%3A2:/srv/demo/api@api");
        assert_eq!(seen.to.to_text(), "/srv/kai/web@web");
        let id = EnvelopeId::parse("00000000-0000-4000-8000-000000000777").unwrap();
        let ack = receipt.unwrap().write(AckStatus::Received, id);
        assert_eq!((ack.to, ack.kind), (key(1), Kind::Receipt));
        assert_eq!(
            value(&ack),
            json!({"from": "lab:broker", "to": "Büro 1:2:/srv/demo/api@api", "id": id.as_str(),
                "re": ID, "body": {"type": "ack", "status": "received", "target": "/srv/kai/web@web"}})
        );

        let Received::Deliver { envelope: acked, receipt } = here.receive_from(2, &ack) else {
            panic!("not delivered");
        };
        assert_eq!(receipt, None, "an acknowledgement is not acknowledged");
        assert!(AckOrigin::expected("lab:/srv/kai/web@web").accepts(&acked.from));
        assert!(matches!(classify(&acked), Inbound::Ack { status: AckStatus::Received, .. }));

        let mut answer = envelope("/srv/kai/web@web", &seen.from, "\"yes\"");
        answer.re = Some(seen.id);
        let answer = there.send(&answer).unwrap();
        let Received::Deliver { envelope: answered, receipt: Some(_) } =
            here.receive_from(2, &answer[0])
        else {
            panic!("not delivered");
        };
        assert_eq!(answered.from, "lab:/srv/kai/web@web");
        assert_eq!(answered.to.to_text(), "/srv/demo/api@api");
        assert_eq!(answered.re.unwrap().as_str(), ID);
    }

    #[test]
    fn ids_and_bodies_pass_unread() {
        for body in ["\"\\ud800\"", "12345678901234567890123", "{\"a\":1,\"a\":2}", "null"] {
            let sent = buero().send(&envelope("a", "lab:b", body)).unwrap();
            assert!(text(&sent[0]).ends_with(&format!("\"body\":{body}}}")));
            let Received::Deliver { envelope, .. } = lab().receive_from(1, &sent[0]) else {
                panic!("not delivered");
            };
            assert_eq!(envelope.body.as_str(), body);
        }
    }

    #[test]
    fn only_a_siblings_exact_alias_is_claimed() {
        for to in ["/srv/x@y", "x", "unknown:x", "LAB:x", ":x", "lab:", "lab", "Büro 1:2:x"] {
            assert_eq!(buero().send(&envelope("a", to, "1")), None, "{to}");
        }
        let own = buero().bridge.topology().this().alias.clone();
        assert_eq!(buero().send(&envelope("a", &format!("{own}:x"), "1")), None);
        let mut list = envelope("a", "lab:b", "1");
        list.to = Destination::Many(vec!["lab:b".into()]);
        assert_eq!(buero().send(&list), None, "lists never leave the machine");
        assert_eq!(buero().send(&envelope("a", BROADCAST, "1")), None);
    }

    #[test]
    fn machines_without_nicknames_use_the_beginning_of_their_keys() {
        let members = [(1, None), (2, None)];
        let mut here = Side::new(1, &members, None);
        let sent = here.send(&envelope("/a@b", "pc-8OHSw7Sl:/c@d", "1")).unwrap();
        assert_eq!(value(&sent[0])["from"], "AQIDBAUG:/a@b");
        assert_eq!(value(&sent[0])["to"], "8OHSw7Sl:/c@d");
        let mut there = Side::new(2, &members, None);
        let Received::Deliver { envelope, .. } = there.receive_from(1, &sent[0]) else {
            panic!("not delivered");
        };
        assert_eq!(envelope.from, "pc-AQIDBAUG:/a@b");
        assert_eq!(envelope.to.to_text(), "/c@d");
    }

    fn raw(from: Value, to: Value, body: Value) -> String {
        json!({"from": from, "to": to, "id": ID, "re": null, "body": body}).to_string()
    }

    #[test]
    fn what_the_sender_calls_itself_or_us_counts_for_nothing() {
        let mut here = buero();
        for from in ["lab:/x@y", "Büro 1:/x@y", "broker:/x@y", "_relay:/x@y"] {
            for to in ["Büro 1:2:/srv/demo/api@api", "anything:/srv/demo/api@api"] {
                let received =
                    here.receive(&key(2).to_string(), &raw(json!(from), json!(to), json!(1)));
                let Received::Deliver { envelope, receipt } = received else {
                    panic!("not delivered: {from} {to}");
                };
                assert_eq!(envelope.from, "lab:/x@y");
                assert_eq!(envelope.to.to_text(), "/srv/demo/api@api");
                let id = EnvelopeId::parse(ID).unwrap();
                let ack = receipt.unwrap().write(AckStatus::Denied, id);
                assert_eq!(value(&ack)["to"], from, "the receipt goes to what was written");
                assert_eq!(value(&ack)["body"]["status"], "denied");
            }
        }
    }

    #[test]
    fn both_spellings_of_a_key_are_the_same_machine() {
        let mut here = buero();
        let sent = lab().send(&envelope("a", "B%C3%BCro%201%3A2:b", "1")).unwrap();
        for spelling in [key(2).to_string(), key(2).to_url_safe()] {
            assert!(matches!(here.receive(&spelling, text(&sent[0])), Received::Deliver { .. }));
        }
    }

    #[test]
    fn everything_else_is_dropped_and_the_log_learns_no_address_and_no_key() {
        let mut here = buero();
        let lab = key(2).to_string();
        let stranger = key(9).to_string();
        let good = raw(json!("lab:/secret@x"), json!("b:/secret@y"), json!(1));
        for (from_pc, envelope, reason) in [
            ("no key", good.clone(), "invalid_from_pc".to_owned()),
            ("_Relay", good.clone(), "invalid_from_pc".into()),
            ("_relay ", good.clone(), "invalid_from_pc".into()),
            (&stranger, good.clone(), format!("unknown_from_pc {}", key(9).fingerprint())),
            (
                &key(1).to_string(),
                good.clone(),
                format!("unknown_from_pc {}", key(1).fingerprint()),
            ),
            (&lab, raw(json!("lab:x"), json!(["b:y"]), json!(1)), "invalid_to".into()),
            (&lab, raw(json!("lab:x"), json!(1), json!(1)), "invalid_to".into()),
            (&lab, raw(json!("lab:x"), json!(""), json!(1)), "invalid_to".into()),
            (&lab, raw(json!("x"), json!("b:y"), json!(1)), "invalid_cross_pc_address".into()),
            (&lab, raw(json!("lab:"), json!("b:y"), json!(1)), "invalid_cross_pc_address".into()),
            (&lab, raw(json!("lab:x"), json!("y"), json!(1)), "invalid_cross_pc_address".into()),
            (&lab, "{}".into(), "invalid_envelope".into()),
            (&lab, "nonsense".into(), "invalid_envelope".into()),
            (
                &lab,
                json!({"from": "a:x", "to": "b:y", "id": "1", "re": null, "body": 1}).to_string(),
                "invalid_envelope".into(),
            ),
            (
                &lab,
                json!({"from": "a:x", "to": "b:y", "id": ID, "body": 1}).to_string(),
                "invalid_envelope".into(),
            ),
            (
                &lab,
                json!({"from": "a:x", "to": "b:y", "id": ID, "re": "1", "body": 1}).to_string(),
                "invalid_envelope".into(),
            ),
            (
                &lab,
                json!({"from": "a:x", "to": "b:y", "id": ID, "re": null}).to_string(),
                "invalid_envelope".into(),
            ),
        ] {
            let Received::Dropped(dropped) = here.receive(from_pc, &envelope) else {
                panic!("not dropped: {from_pc} {envelope}");
            };
            assert_eq!(dropped.to_string(), reason);
            assert!(!dropped.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_router_and_everybody_are_no_recipients_from_outside() {
        for to in ["b:broker", "b:broadcast"] {
            let received =
                buero().receive(&key(2).to_string(), &raw(json!("lab:x"), json!(to), json!(1)));
            let Received::Answer(ack) = received else { panic!("{received:?}") };
            assert_eq!(value(&ack)["body"]["status"], "denied");
            let ack = raw(json!("lab:x"), json!(to), json!({"type": "ack"}));
            assert!(matches!(
                buero().receive(&key(2).to_string(), &ack),
                Received::Dropped(Dropped::Address)
            ));
        }
    }

    #[test]
    fn error_like_text_of_a_sibling_is_content() {
        let body = json!({"type": "transport_error", "reason": "offline"});
        for from in ["_relay:_relay", "broker:broker", "lab:_relay"] {
            let received = buero()
                .receive(&key(2).to_string(), &raw(json!(from), json!("b:/x@y"), body.clone()));
            let Received::Deliver { envelope, receipt } = received else { panic!("{from}") };
            assert!(receipt.is_some());
            assert!(envelope.from.starts_with("lab:"));
            assert_eq!(classify(&envelope), Inbound::Message, "it settles nothing");
        }
    }
}

mod relay_errors {
    use super::*;

    fn error() -> Value {
        json!({"from": "_relay", "to": "Büro 1:2:/srv/demo/api@api",
            "id": "5f0c1d9e-3a7b-4c21-9d10-2b6f8e4a7c30", "re": ID,
            "body": {"type": "transport_error", "reason": "offline"}})
    }

    #[test]
    fn the_relays_error_reaches_the_sender_as_the_routers_reduced_to_its_reason() {
        for (reason, known) in [
            ("offline", TransportError::Offline),
            ("not_authorized", TransportError::NotAuthorized),
            ("bad_envelope", TransportError::BadEnvelope),
        ] {
            let mut error = error();
            error["body"] = json!({"type": "transport_error", "reason": reason, "extra": "x"});
            error["more"] = json!(1);
            let Received::Failed(envelope) = buero().receive("_relay", &error.to_string()) else {
                panic!("dropped");
            };
            assert_eq!(envelope.from, "broker");
            assert_eq!(envelope.to.to_text(), "/srv/demo/api@api");
            assert_eq!(
                envelope.body.as_str(),
                format!("{{\"type\":\"transport_error\",\"reason\":\"{reason}\"}}")
            );
            let re = EnvelopeId::parse(ID).unwrap();
            assert_eq!(classify(&envelope), Inbound::TransportError { re, reason: known });
        }
    }

    #[test]
    fn a_relay_of_old_may_write_its_id_without_hyphens_and_only_that() {
        let mut old = error();
        old["id"] = json!("5f0c1d9e3a7b4c219d102b6f8e4a7c30");
        let Received::Failed(envelope) = buero().receive("_relay", &old.to_string()) else {
            panic!("dropped");
        };
        assert_eq!(envelope.id.as_str(), "5f0c1d9e-3a7b-4c21-9d10-2b6f8e4a7c30");
    }

    #[test]
    fn whatever_deviates_settles_nothing() {
        for (field, wrong) in [
            ("from", json!("relay")),
            ("from", json!("x:_relay")),
            ("from", json!(null)),
            ("to", json!("_unknown")),
            ("to", json!("Büro 1:2:broadcast")),
            ("to", json!("Büro 1:2:")),
            ("to", json!(["Büro 1:2:x"])),
            ("id", json!("5F0C1D9E3A7B4C219D102B6F8E4A7C30")),
            ("id", json!("5f0c1d9e3a7b4c219d102b6f8e4a7c3")),
            ("id", json!(null)),
            ("re", json!(null)),
            ("re", json!("0198c2f46b1e7a039c553f0d2e8b7a11")),
            ("body", json!(null)),
            ("body", json!({"type": "Transport_error", "reason": "offline"})),
            ("body", json!({"type": "transport_error"})),
            ("body", json!({"type": "transport_error", "reason": "tired"})),
            ("body", json!({"type": "transport_error", "reason": ["offline"]})),
            ("body", json!({"type": "transport_error", "reason": "offline,offline"})),
        ] {
            let mut error = error();
            error[field] = wrong.clone();
            assert_eq!(
                buero().receive("_relay", &error.to_string()),
                Received::Dropped(Dropped::RelayError),
                "{field}: {wrong}"
            );
            error.as_object_mut().unwrap().remove(field);
            assert_eq!(
                buero().receive("_relay", &error.to_string()),
                Received::Dropped(Dropped::RelayError)
            );
        }
    }

    #[test]
    fn an_error_about_an_inventory_is_addressed_to_nobody_here() {
        let mut silent = error();
        silent["to"] = json!("Büro 1:2:_broker_remote");
        let Received::Failed(envelope) = buero().receive("_relay", &silent.to_string()) else {
            panic!("dropped");
        };
        assert_eq!(envelope.to.to_text(), INVENTORY_ENDPOINT);
        assert_eq!(sanitise_name(INVENTORY_ENDPOINT), "agent", "no peer can have this name");
    }
}

mod bridges {
    use super::*;

    fn ask(to: u8) -> (PublicKey, Kind, String) {
        (key(to), Kind::Inventory, "peers_request".into())
    }

    fn tell(to: u8) -> (PublicKey, Kind, String) {
        (key(to), Kind::Inventory, "peers_update".into())
    }

    fn addresses(side: &Side) -> Vec<String> {
        side.bridge.roster(side.now_ms).into_iter().map(|entry| entry.address).collect()
    }

    #[test]
    fn a_connected_bridge_asks_and_tells_every_sibling_and_repeats_it() {
        let members = [(1, None), (2, Some("lab")), (6, Some("six"))];
        let mut side = Side::new(1, &members, None);
        assert_eq!(side.bridge.due_ms(), None);
        assert_eq!(kinds(&side.connect()), [ask(2), tell(2), ask(6), tell(6)]);
        let due = side.bridge.due_ms().unwrap();
        assert_eq!(due, 1_000 + ANNOUNCE_INTERVAL_MS);
        side.now_ms = due - 1;
        assert!(side.with(|bridge, around| bridge.tick(around)).is_empty());
        side.now_ms = due;
        assert_eq!(side.with(|bridge, around| bridge.tick(around)).len(), 4);
        side.bridge.disconnected();
        side.now_ms = due * 2;
        assert!(side.with(|bridge, around| bridge.tick(around)).is_empty());
    }

    #[test]
    fn without_siblings_there_is_no_traffic() {
        let mut side = Side::new(1, &[(1, None)], Some("/a@b"));
        assert!(side.connect().is_empty());
        assert!(side.with(|bridge, around| bridge.roster_changed(around)).is_empty());
        assert!(side.bridge.roster(0).is_empty());
    }

    #[test]
    fn inventories_are_exchanged_and_shown_with_the_alias_in_front() {
        let (mut here, mut there) = (buero(), lab());
        let opening = here.connect();
        let Received::Answer(answer) = there.receive_from(1, &opening[0]) else {
            panic!("no answer to the question");
        };
        assert_eq!(there.receive_from(1, &opening[1]), Received::Learned);
        assert_eq!(here.receive_from(2, &answer), Received::Learned);
        assert_eq!(
            here.bridge.roster(here.now_ms),
            [RosterEntry {
                pc: Some("lab".into()),
                cwd: "/srv/kai/web".into(),
                name: "web".into(),
                address: "lab:/srv/kai/web@web".into(),
            }]
        );
        assert_eq!(addresses(&there), ["B%C3%BCro%201%3A2:/srv/demo/api@api"]);
    }

    #[test]
    fn the_answer_is_who_is_there_now() {
        let (mut here, mut there) = (buero(), lab());
        let opening = here.connect();
        there.roster.clear();
        let Received::Answer(answer) = there.receive_from(1, &opening[0]) else { panic!() };
        assert_eq!(value(&answer)["body"]["peers"], json!([]));
        assert_eq!(value(&answer)["re"], Value::Null);
    }

    #[test]
    fn a_change_here_is_told_to_every_sibling_while_connected() {
        let mut side = buero();
        assert!(side.with(|bridge, around| bridge.roster_changed(around)).is_empty());
        side.connect();
        assert_eq!(kinds(&side.with(|bridge, around| bridge.roster_changed(around))), [tell(2)]);
    }

    fn fill(side: &mut Side, address: &str) -> Received {
        let update = json!({"from": "x:_broker_remote", "to": "y:_broker_remote", "id": ID,
            "re": null, "body": {"type": "peers_update", "peers": [address]}});
        side.receive(&key(2).to_string(), &update.to_string())
    }

    #[test]
    fn a_message_asks_for_the_inventory_only_when_none_is_known_and_nobody_just_asked() {
        let mut side = buero();
        let message = envelope("a", "lab:b", "1");
        assert_eq!(side.send(&message).unwrap().len(), 1, "there is nobody to ask");
        side.connect();
        assert_eq!(side.send(&message).unwrap().len(), 1, "it was asked a moment ago");
        side.now_ms += REQUEST_PATIENCE_MS;
        assert_eq!(kinds(&side.send(&message).unwrap())[1], ask(2));
        assert_eq!(side.send(&message).unwrap().len(), 1);
        fill(&mut side, "/a@b");
        side.now_ms += REQUEST_PATIENCE_MS;
        assert_eq!(side.send(&message).unwrap().len(), 1);
        side.now_ms += INVENTORY_LIFETIME_MS;
        assert_eq!(side.send(&message).unwrap().len(), 2, "it is too old");
        assert!(side.bridge.roster(side.now_ms).is_empty());
    }

    #[test]
    fn a_wrong_inventory_leaves_the_one_before() {
        let mut side = buero();
        assert_eq!(fill(&mut side, "/a@b"), Received::Learned);
        let long = "x".repeat(4353);
        assert_eq!(
            fill(&mut side, &long),
            Received::Dropped(Dropped::Inventory(InventoryError::Length))
        );
        assert_eq!(addresses(&side), ["lab:/a@b"]);
    }

    #[test]
    fn control_text_between_agents_is_content() {
        let mut side = buero();
        for (from, to) in [
            ("lab:/x@y", "b:/srv/demo/api@api"),
            ("lab:_broker_remote", "b:/srv/demo/api@api"),
            ("lab:/x@y", "b:_broker_remote"),
        ] {
            for body in
                [json!({"type": "peers_request"}), json!({"type": "peers_update", "peers": []})]
            {
                let envelope = json!({"from": from, "to": to, "id": ID, "re": null, "body": body});
                let received = side.receive(&key(2).to_string(), &envelope.to_string());
                assert!(
                    matches!(received, Received::Deliver { receipt: Some(_), .. }),
                    "{from} {to} {body}"
                );
            }
        }
        let other = json!({"from": "l:_broker_remote", "to": "b:_broker_remote", "id": ID,
            "re": null, "body": {"type": "hello"}});
        let received = side.receive(&key(2).to_string(), &other.to_string());
        assert!(matches!(received, Received::Deliver { .. }), "and will find nobody");
    }

    #[test]
    fn malformed_control_envelopes_change_nothing_and_are_not_answered() {
        let mut side = buero();
        for (id, re) in
            [(json!("x"), json!(null)), (json!(ID), json!("x")), (json!(1), json!(null))]
        {
            for body in [
                json!({"type": "peers_request"}),
                json!({"type": "peers_update", "peers": ["/a@b"]}),
            ] {
                let envelope = json!({"from": "l:_broker_remote", "to": "b:_broker_remote",
                    "id": id, "re": re, "body": body});
                let received = side.receive(&key(2).to_string(), &envelope.to_string());
                assert_eq!(received, Received::Dropped(Dropped::Envelope));
            }
        }
        assert!(addresses(&side).is_empty());
    }

    fn topology(members: &[(u8, Option<&str>)]) -> Topology {
        Topology::new(key(1), [&owned(100, members)])
    }

    #[test]
    fn a_new_sibling_is_asked_and_told_and_the_others_are_left_alone() {
        let mut side = buero();
        side.connect();
        let mut members = MEMBERS.to_vec();
        members.push((6, Some("six")));
        assert_eq!(kinds(&side.retopology(topology(&members)).unwrap()), [ask(6), tell(6)]);
        assert!(side.retopology(topology(&members)).unwrap().is_empty());
    }

    #[test]
    fn a_sibling_that_is_called_otherwise_keeps_its_inventory_and_is_asked_anew() {
        let mut side = buero();
        side.connect();
        fill(&mut side, "/a@b");
        let renamed = topology(&[(1, Some("Büro 1:2")), (2, Some("garage"))]);
        assert_eq!(kinds(&side.retopology(renamed).unwrap()), [ask(2), tell(2)]);
        assert_eq!(addresses(&side), ["garage:/a@b"]);
        assert_eq!(side.send(&envelope("a", "lab:b", "1")), None);
    }

    #[test]
    fn a_change_of_label_alone_refreshes_that_sibling() {
        // Two nicknames with one encoded form do not exist; but a name may become the fallback's.
        let mut side = Side::new(1, &[(1, None), (3, None)], None);
        side.connect();
        let renamed = topology(&[(1, None), (3, Some("pc-----AAEC"))]);
        assert_eq!(renamed.siblings()[0].alias, side.bridge.topology().siblings()[0].alias);
        assert_eq!(kinds(&side.retopology(renamed).unwrap()), [ask(3), tell(3)]);
    }

    #[test]
    fn everybody_is_told_when_this_machine_is_called_otherwise() {
        let mut side = buero();
        side.connect();
        let renamed = topology(&[(1, Some("attic")), (2, Some("lab"))]);
        assert_eq!(side.retopology(renamed).unwrap().len(), 2);
    }

    #[test]
    fn a_removed_sibling_is_forgotten_at_once() {
        let mut side = buero();
        side.connect();
        fill(&mut side, "/a@b");
        assert!(side.retopology(topology(&MEMBERS[..1])).unwrap().is_empty());
        assert!(matches!(
            fill(&mut side, "/a@b"),
            Received::Dropped(Dropped::UnknownMachine { .. })
        ));
        side.retopology(topology(&MEMBERS)).unwrap();
        assert!(addresses(&side).is_empty());
    }

    #[test]
    fn a_topology_of_another_machine_is_refused_and_the_old_one_stays() {
        let mut side = buero();
        let other = Topology::new(key(2), [&owned(100, &MEMBERS)]);
        assert_eq!(side.retopology(other), Err(OtherMachine));
        assert_eq!(side.bridge.topology().this().key, key(1));
    }

    #[test]
    fn names_that_mean_something_in_other_languages_are_names() {
        for name in ["__proto__", "constructor", "toString"] {
            let mut side = Side::new(1, &[(1, None), (2, Some(name))], None);
            fill(&mut side, "/a@b");
            assert_eq!(addresses(&side), [format!("{name}:/a@b")]);
            assert!(side.send(&envelope("a", &format!("{name}:b"), "1")).is_some());
        }
    }

    proptest! {
        #[test]
        fn whatever_labels_two_machines_have_they_understand_each_other(
            first in proptest::option::of("[a: é~]{1,4}"),
            second in proptest::option::of("[a: é~]{1,4}"),
            from in "[ab:@/]{1,6}",
            to in "[ab:@/]{1,6}",
        ) {
            let members = [(1, first.as_deref()), (2, second.as_deref())];
            let mut here = Side::new(1, &members, None);
            let mut there = Side::new(2, &members, None);
            let alias = here.bridge.topology().siblings()[0].alias.clone();
            let sent = here.send(&envelope(&from, &format!("{alias}:{to}"), "1")).unwrap();
            match there.receive_from(1, &sent[0]) {
                Received::Deliver { envelope: seen, .. } => {
                    let back = there.bridge.topology().siblings()[0].alias.clone();
                    prop_assert_eq!(seen.from.as_ref(), format!("{back}:{from}"));
                    prop_assert_eq!(seen.to, Destination::One(to.into()));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_text_makes_the_bridge_panic(from_relay: bool, envelope: String) {
            let from = if from_relay { RELAY.to_owned() } else { key(2).to_string() };
            buero().receive(&from, &envelope);
        }
    }
}

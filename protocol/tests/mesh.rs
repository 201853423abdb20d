//! The wire of the local mesh, rule by rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::borrow::Cow;
use std::collections::HashSet;

use proptest::prelude::*;
use rp_protocol::mesh::*;

const ID: &str = "0198c2f4-6b1e-7a03-9c55-3f0d2e8b7a11";
const RE: &str = "5F0C1D9E-3a7b-4c21-9d10-2b6f8e4a7c30";

fn line(from: &str, to: &str, id: &str, re: &str, body: &str) -> String {
    format!("{{\"from\":{from},\"to\":{to},\"id\":{id},\"re\":{re},\"body\":{body}}}")
}

fn good(body: &str) -> String {
    line("\"a\"", "\"b\"", &format!("\"{ID}\""), "null", body)
}

fn as_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

mod envelopes {
    use super::*;

    #[test]
    fn an_envelope_passes_through_unchanged() {
        for body in [
            "{\"ask\":\"theme tokens?\"}",
            "\"text\\n\"",
            "null",
            "[1,2,[]]",
            "12345678901234567890123",
            "{\"a\":1,\"a\":2}",
            "\"\\ud800\"",
        ] {
            for to in ["\"b\"", "\"broadcast\"", "[\"b\",\"c\",\"b\"]"] {
                for re in ["null".to_owned(), format!("\"{RE}\"")] {
                    let text = line("\"a\"", to, &format!("\"{ID}\""), &re, body);
                    let envelope = Envelope::parse(&text).unwrap();
                    assert_eq!(as_text(envelope.to_line()), format!("{text}\n"));
                }
            }
        }
    }

    #[test]
    fn the_first_broken_rule_is_reported() {
        let id = format!("\"{ID}\"");
        let cases: [(String, EnvelopeError); 19] = [
            ("[]".into(), EnvelopeError::NotAnObject),
            ("null".into(), EnvelopeError::NotAnObject),
            ("{}".into(), EnvelopeError::From),
            (line("\"\"", "1", "1", "1", "1"), EnvelopeError::From),
            (line("7", "\"b\"", &id, "null", "1"), EnvelopeError::From),
            (line("\"a\"", "\"\"", "1", "1", "1"), EnvelopeError::To),
            (line("\"a\"", "[]", &id, "null", "1"), EnvelopeError::To),
            (line("\"a\"", "[\"b\",\"\"]", &id, "null", "1"), EnvelopeError::To),
            (line("\"a\"", "[\"b\",null]", &id, "null", "1"), EnvelopeError::To),
            (line("\"a\"", "{}", &id, "null", "1"), EnvelopeError::To),
            (line("\"a\"", "\"b\"", "null", "1", "1"), EnvelopeError::Id),
            (
                line("\"a\"", "\"b\"", &format!("\"{}\"", ID.replace('-', "")), "null", "1"),
                EnvelopeError::Id,
            ),
            (line("\"a\"", "\"b\"", "\"not-a-uuid\"", "null", "1"), EnvelopeError::Id),
            (line("\"a\"", "\"b\"", &id, "\"\"", "1"), EnvelopeError::Re),
            (line("\"a\"", "\"b\"", &id, "false", "1"), EnvelopeError::Re),
            (
                line("\"a\"", "\"b\"", &id, &format!("\"{}\"", RE.replace('-', "")), "1"),
                EnvelopeError::Re,
            ),
            (
                format!("{{\"from\":\"a\",\"to\":\"b\",\"id\":\"{ID}\",\"body\":1}}"),
                EnvelopeError::Re,
            ),
            (
                format!("{{\"from\":\"a\",\"to\":\"b\",\"id\":\"{ID}\",\"re\":null}}"),
                EnvelopeError::Body,
            ),
            (format!("{{\"id\":\"{ID}\",\"re\":null}}"), EnvelopeError::From),
        ];
        for (text, error) in cases {
            assert_eq!(Envelope::parse(&text), Err(error), "{text}");
        }
        for text in ["", "{", "register", "{\"from\":\"a\",}", &format!("{} x", good("1"))] {
            assert!(matches!(Envelope::parse(text), Err(EnvelopeError::NotJson(_))), "{text}");
        }
    }

    #[test]
    fn ids_are_uuids_of_any_version_and_keep_their_case() {
        for id in ["00000000-0000-0000-0000-000000000000", ID, RE] {
            let text = line("\"a\"", "\"b\"", &format!("\"{id}\""), "null", "1");
            assert_eq!(Envelope::parse(&text).unwrap().id.as_str(), id);
        }
        let lower = EnvelopeId::parse(RE).unwrap().to_lowercase();
        assert_eq!(lower.as_str(), RE.to_lowercase());
        assert_ne!(lower, EnvelopeId::parse(RE).unwrap());
    }

    #[test]
    fn generated_ids_have_the_shape_of_version_7_and_sort_by_time() {
        let first = EnvelopeId::v7(1_786_500_000_123, [0xff; 10]);
        let second = EnvelopeId::v7(1_786_500_000_124, [0; 10]);
        assert!(first.as_str() < second.as_str());
        assert_eq!(first.as_str(), "019ff3b2-a97b-7fff-bfff-ffffffffffff");
        assert_eq!(second.as_str().as_bytes()[14], b'7');
    }

    #[test]
    fn unknown_keys_are_dropped_and_the_last_of_two_equal_keys_counts() {
        let text = format!(
            "{{\"v\":2,\"from\":1,\"from\":\"a\",\"to\":\"b\",\"t\\u006f\":[\"c\"],\"id\":\"{ID}\",\"re\":null,\"body\":1,\"body\":{{}}}}"
        );
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(
            as_text(envelope.to_line()),
            line("\"a\"", "[\"c\"]", &format!("\"{ID}\""), "null", "{}") + "\n"
        );
    }

    #[test]
    fn escaped_text_is_decoded_and_lone_surrogates_outside_the_body_are_replaced() {
        let text =
            line("\"\\u0061\"", "\"\\ud800/\\\"\"", &format!("\"{ID}\""), "null", "\"\\ud800\"");
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(envelope.from, "a");
        assert_eq!(envelope.to, Destination::One(Cow::Borrowed("\u{fffd}/\"")));
        assert_eq!(envelope.body.as_str(), "\"\\ud800\"");
    }

    #[test]
    fn white_space_around_values_is_json_white_space_only() {
        let spaced = good("1").replace(':', " :\t").replace(',', "\r ,") + " \r";
        assert!(Envelope::parse(&spaced).is_ok());
        assert!(Envelope::parse(&format!("\u{feff}{}", good("1"))).is_err());
        assert!(Envelope::parse(&good("\u{a0}1")).is_err());
    }

    #[test]
    fn a_body_is_made_to_fit_on_a_line() {
        let pretty = "{\n  \"a\": \"x\\ny\"\r\n}\n";
        assert_eq!(Body::parse(pretty).unwrap().as_str(), "{   \"a\": \"x\\ny\"  }");
        assert!(Body::parse("{} {}").is_err());
        assert!(Body::parse("").is_err());
    }

    #[test]
    fn the_type_of_a_body_is_a_string_in_an_object() {
        let type_of = |body: &str| Body::parse(body).unwrap().type_name().map(Cow::into_owned);
        assert_eq!(type_of("{\"type\":\"ack\"}").as_deref(), Some("ack"));
        assert_eq!(type_of("{\"t\\u0079pe\":\"a\\u0063k\"}").as_deref(), Some("ack"));
        assert_eq!(type_of("{\"type\":\"x\",\"type\":\"y\"}").as_deref(), Some("y"));
        for body in ["{\"type\":1}", "{\"a\":{\"type\":\"x\"}}", "[\"type\"]", "\"type\"", "null"] {
            assert_eq!(type_of(body), None, "{body}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        any::<String>().prop_filter("not empty", |text| !text.is_empty())
    }

    fn any_envelope() -> impl Strategy<Value = Envelope<'static>> {
        let to = prop_oneof![
            text().prop_map(|one| Destination::One(Cow::Owned(one))),
            prop::collection::vec(text().prop_map(Cow::Owned), 1..4).prop_map(Destination::Many),
        ];
        let id = || {
            (any::<u64>(), any::<[u8; 10]>()).prop_map(|(ms, random)| EnvelopeId::v7(ms, random))
        };
        let body = prop_oneof![
            Just("null".to_owned()),
            text().prop_map(|text| serde_json::to_string(&text).unwrap())
        ];
        (text(), to, id(), prop::option::of(id()), body).prop_map(|(from, to, id, re, body)| {
            Envelope {
                from: Cow::Owned(from),
                to,
                id,
                re,
                body: Body::parse(&body).unwrap().into_owned(),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(envelope in any_envelope()) {
            let line = as_text(envelope.to_line());
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(Envelope::parse(line.trim_end_matches('\n')).unwrap(), envelope.clone());
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["from"].as_str().unwrap(), envelope.from.as_ref());
        }

        #[test]
        fn no_line_makes_a_parser_panic(line in ".*", cut in any::<prop::sample::Index>()) {
            let _ = Envelope::parse(&line);
            let _ = Opening::parse(&line);
            let _ = RegisterAck::parse(&line);
            let _ = parse_roster(&line);
            let whole = good("{\"type\":\"ack\",\"x\":[1,\"é\\n\"]}");
            let cut = whole.char_indices().map(|(at, _)| at).nth(cut.index(whole.chars().count())).unwrap();
            prop_assert!(Envelope::parse(&whole[..cut]).is_err());
        }
    }
}

mod names {
    use super::*;

    #[test]
    fn names_are_sanitised() {
        for (requested, name) in [
            ("back end", "back-end"),
            ("  a//b  ", "a-b"),
            ("#7", "agent#7"),
            ("Broker", "agent"),
            ("x#2#3", "x-2#3"),
            ("", "agent"),
            ("api", "api"),
            ("api#2", "api#2"),
            ("api#2 ", "api-2"),
            ("api#", "api"),
            ("api#1x", "api-1x"),
            ("api#٣", "api-٣"),
            ("parent/folder", "parent-folder"),
            ("a\nb#2", "a-b-2"),
            ("a\u{2028}#2", "a-2"),
            ("\u{feff}a\u{feff}b", "a-b"),
            ("a\u{85}b", "a\u{85}b"),
            ("a\u{a0}\u{3000}b", "a-b"),
            ("--a---b--", "a-b"),
            ("BROADCAST#4", "agent#4"),
            ("bro\u{212a}er", "agent"),
            ("_broker_remote", "agent"),
            ("_relay", "agent"),
            ("observer", "observer"),
            ("a\\b%c~d.é", "a\\b%c~d.é"),
            (":@#/", "agent"),
        ] {
            assert_eq!(sanitise_name(requested), name, "{requested:?}");
        }
    }

    proptest! {
        #[test]
        fn a_sanitised_name_is_safe_in_an_address_and_stays_as_it_is(requested in ".*") {
            let name = sanitise_name(&requested);
            let (base, _) = split_suffix(&name);
            prop_assert!(!base.is_empty());
            prop_assert!(!base.contains(['/', ':', '@', '#']));
            prop_assert!(!base.chars().any(is_javascript_whitespace));
            prop_assert_eq!(sanitise_name(&name), name);
        }
    }

    #[test]
    fn addresses_are_composed_of_folder_and_name() {
        assert_eq!(compose_address("/srv/demo/api", "api"), "/srv/demo/api@api");
        assert_eq!(compose_address("", "api"), "api");
        assert_eq!(compose_address("C:\\x", "api#2"), "C:\\x@api#2");
    }

    #[test]
    fn folders_are_absolute_paths_of_any_system() {
        for cwd in ["", "/", "/a b/c@d:e", "C:/x", "c:\\x", "\\\\host\\share", "//host", "\\/x"] {
            assert!(is_valid_cwd(cwd), "{cwd}");
        }
        for cwd in
            ["a", "./a", "C:", "C:x", "CC:/x", "é:/x", "\\x", "lab:/srv", "/a\0", "/a\r", "/a\nb"]
        {
            assert!(!is_valid_cwd(cwd), "{cwd}");
        }
    }

    #[test]
    fn lengths_are_counted_in_utf16_units() {
        let cwd = |units: usize| format!("/{}", "😀".repeat(units / 2));
        assert_eq!(utf16_units(&cwd(4094)), 4095);
        assert!(is_valid_cwd(&cwd(4094)));
        assert!(is_valid_cwd(&format!("{}x", cwd(4094))));
        assert!(!is_valid_cwd(&cwd(4096)));
    }

    fn register(cwd: &str, name: &str, takeover: bool) -> Register {
        Register { name: name.to_owned(), cwd: cwd.to_owned(), takeover }
    }

    fn assign(request: &Register, taken: &[&str]) -> Result<(String, String, bool), Refusal> {
        let taken: HashSet<&str> = taken.iter().copied().collect();
        assign_address(request, taken.len(), 1024, |address| taken.contains(address))
            .map(|assigned| (assigned.address, assigned.name, assigned.evicts))
    }

    #[test]
    fn a_taken_name_gets_a_number_within_its_folder() {
        let new = |address: &str, name: &str| Ok((address.to_owned(), name.to_owned(), false));
        assert_eq!(assign(&register("/a", "x", false), &["/b@x"]), new("/a@x", "x"));
        assert_eq!(assign(&register("/a", "x", false), &["/a@x"]), new("/a@x#2", "x#2"));
        assert_eq!(assign(&register("/a", "x#7", false), &["/a@x#7"]), new("/a@x#2", "x#2"));
        assert_eq!(assign(&register("", "x", false), &["x", "x#2"]), new("x#3", "x#3"));
        let all: Vec<String> = std::iter::once("x".to_owned())
            .chain((2..=999).map(|number| format!("x#{number}")))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(assign(&register("", "x", false), &all), Err(Refusal::NoFreeSuffix));
        assert_eq!(assign(&register("", "x", false), &all[..998]), new("x#999", "x#999"));
    }

    #[test]
    fn takeover_needs_a_folder_and_somebody_to_evict() {
        let taken = ["/a@x", "x"];
        assert_eq!(
            assign(&register("/a", "x", true), &taken),
            Ok(("/a@x".into(), "x".into(), true))
        );
        assert_eq!(
            assign(&register("", "x", true), &taken),
            Ok(("x#2".into(), "x#2".into(), false))
        );
        assert_eq!(
            assign(&register("/b", "x", true), &taken),
            Ok(("/b@x".into(), "x".into(), false))
        );
    }

    #[test]
    fn the_bounds_of_a_registration() {
        let name = |units: usize| "😀".repeat(units / 2);
        assert!(assign(&register("/a", &name(256), false), &[]).is_ok());
        assert_eq!(
            assign(&register("/a", &(name(256) + "x"), false), &[]),
            Err(Refusal::NameTooLong)
        );
        let longest = format!("/{}", "x".repeat(4095));
        assert!(assign(&register(&longest, &name(254), false), &[]).is_ok());
        assert_eq!(
            assign(&register(&longest, &name(256), false), &[]),
            Err(Refusal::AddressTooLong)
        );
        assert_eq!(assign(&register("a", "x", true), &[]), Err(Refusal::Cwd));
        let taken = |address: &str| address == "/a@x";
        let full = |request| assign_address(&request, 1024, 1024, taken);
        assert_eq!(full(register("/a", "y", false)), Err(Refusal::Full(1024)));
        assert_eq!(full(register("/a", "x", false)), Err(Refusal::Full(1024)));
        assert!(full(register("/a", "x", true)).unwrap().evicts);
    }

    #[test]
    fn configured_names_of_old_versions_are_migrated() {
        for (saved, name) in [
            ("api", Some("api")),
            ("parent/api#2", Some("api")),
            ("a/b/c", Some("c")),
            ("a/", None),
            ("#2", None),
            ("", None),
        ] {
            assert_eq!(migrate_configured_name(saved).as_deref(), name, "{saved}");
        }
        assert_eq!(default_name("/srv/demo/api"), "api");
        assert_eq!(default_name("/srv/demo/api/"), "api");
        assert_eq!(default_name("/"), "agent");
        assert_eq!(default_name(""), "agent");
    }

    #[test]
    fn an_alias_is_what_stands_before_the_first_colon() {
        assert_eq!(split_alias("lab:/srv@web"), Some(("lab", "/srv@web")));
        assert_eq!(split_alias("a:b:c"), Some(("a", "b:c")));
        for text in ["lab", ":x", "lab:", ""] {
            assert_eq!(split_alias(text), None, "{text}");
        }
    }
}

mod control_lines {
    use super::*;

    fn register(name: &str, cwd: &str, takeover: bool) -> Option<Opening> {
        Some(Opening::Register(Register { name: name.into(), cwd: cwd.into(), takeover }))
    }

    #[test]
    fn what_a_connection_may_open_with() {
        let parse = Opening::parse;
        assert_eq!(
            parse("{\"type\":\"register\",\"name\":\"api\",\"cwd\":\"/srv\",\"takeover\":true}"),
            register("api", "/srv", true)
        );
        assert_eq!(parse("{\"type\":\"register\",\"name\":\"\"}"), register("", "", false));
        assert_eq!(
            parse("{\"type\":\"register\",\"name\":\"a\",\"cwd\":\"\",\"takeover\":1}"),
            register("a", "", false)
        );
        assert_eq!(
            parse("{\"type\":\"register\",\"name\":\"\\ud800\"}"),
            register("\u{fffd}", "", false)
        );
        assert_eq!(parse("{\"type\":\"list_peers\",\"x\":1}"), Some(Opening::ListPeers));
        for line in [
            "{\"type\":\"register\"}",
            "{\"type\":\"register\",\"name\":null}",
            "{\"type\":\"register\",\"name\":\"a\",\"cwd\":null}",
            "{\"type\":\"register\",\"name\":\"a\",\"cwd\":5}",
            "{\"type\":\"Register\",\"name\":\"a\"}",
            "{\"name\":\"a\"}",
            "[]",
            "\r",
            "not JSON",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_client_writes_only_what_is_set() {
        let written = |cwd: &str, takeover| {
            let mut line = Vec::new();
            let request = Register { name: "a".into(), cwd: cwd.into(), takeover };
            request.write(&mut line);
            as_text(line)
        };
        assert_eq!(written("", false), "{\"type\":\"register\",\"name\":\"a\"}\n");
        assert_eq!(
            written("/x", true),
            "{\"type\":\"register\",\"name\":\"a\",\"cwd\":\"/x\",\"takeover\":true}\n"
        );
    }

    #[test]
    fn the_registration_answer_has_both_fields_and_is_read_with_either() {
        let answer = RegisterAck { address: "/srv/demo/api@api".into(), name: "api".into() };
        let mut line = Vec::new();
        answer.write(&mut line);
        assert_eq!(
            as_text(line.clone()),
            "{\"type\":\"register_ack\",\"address_assigned\":\"/srv/demo/api@api\",\"name_assigned\":\"api\"}\n"
        );
        assert_eq!(RegisterAck::parse(&as_text(line)), RegisterReply::Registered(answer));
        let both = |text: &str| {
            RegisterReply::Registered(RegisterAck { address: text.into(), name: text.into() })
        };
        assert_eq!(
            RegisterAck::parse("{\"type\":\"register_ack\",\"name_assigned\":\"x\"}"),
            both("x")
        );
        assert_eq!(
            RegisterAck::parse("{\"type\":\"register_ack\",\"address_assigned\":\"x\"}"),
            both("x")
        );
        for line in ["{\"type\":\"register_ack\"}", "[]", "{}", "{\"type\":\"list_peers\"}"] {
            assert_eq!(RegisterAck::parse(line), RegisterReply::Failed, "{line}");
        }
        assert_eq!(RegisterAck::parse("oops"), RegisterReply::Noise);
    }

    #[test]
    fn notices_acknowledgements_and_rosters_look_as_the_wire_says() {
        let id = EnvelopeId::parse(ID).unwrap();
        let re = EnvelopeId::parse(RE).unwrap();
        let mut line = Vec::new();
        Notice::PeerJoined.write(&mut line, "/w@web", id, "/a@api");
        assert_eq!(
            as_text(line),
            format!(
                "{{\"from\":\"broker\",\"to\":\"/w@web\",\"id\":\"{ID}\",\"re\":null,\"body\":{{\"type\":\"peer_joined\",\"name\":\"/a@api\",\"address\":\"/a@api\"}}}}\n"
            )
        );
        let mut line = Vec::new();
        write_ack(&mut line, "/a@api", id, re, AckStatus::Received, "/w@web");
        assert_eq!(
            as_text(line),
            format!(
                "{{\"from\":\"broker\",\"to\":\"/a@api\",\"id\":\"{ID}\",\"re\":\"{RE}\",\"body\":{{\"type\":\"ack\",\"status\":\"received\",\"target\":\"/w@web\"}}}}\n"
            )
        );
        let entries = [(None, "/a", "api", "/a@api"), (Some("lab"), "/k", "web", "lab:/k@web")];
        let mut line = Vec::new();
        write_roster(&mut line, Some(("/a@api", re)), id, entries.iter().copied());
        let line = as_text(line);
        assert_eq!(
            line,
            format!(
                "{{\"from\":\"broker\",\"to\":\"/a@api\",\"id\":\"{ID}\",\"re\":\"{RE}\",\"body\":{{\"type\":\"list_peers_reply\",\"peers\":[\"/a@api\",\"lab:/k@web\"],\"peers_detailed\":[{{\"cwd\":\"/a\",\"name\":\"api\",\"address\":\"/a@api\"}},{{\"pc\":\"lab\",\"cwd\":\"/k\",\"name\":\"web\",\"address\":\"lab:/k@web\"}}]}}}}\n"
            )
        );
        let envelope = Envelope::parse(&line).unwrap();
        let roster = parse_roster(envelope.body.as_str()).unwrap();
        assert_eq!(roster[1].pc.as_deref(), Some("lab"));
        let mut line = Vec::new();
        write_roster(&mut line, None, id, std::iter::empty());
        assert!(as_text(line).starts_with("{\"from\":\"broker\",\"to\":\"observer\",\"id\""));
    }

    #[test]
    fn a_roster_of_an_old_router_has_addresses_only() {
        let roster = parse_roster("{\"type\":\"list_peers_reply\",\"peers\":[\"api\",7]}").unwrap();
        assert_eq!(roster.len(), 1);
        assert_eq!((roster[0].name.as_str(), roster[0].cwd.as_str()), ("api", ""));
        assert!(parse_roster("{\"type\":\"x\",\"peers\":[]}").is_none());
    }

    fn inbound(from: &str, re: &str, body: &str) -> Inbound {
        let line = line(&format!("\"{from}\""), "\"me\"", &format!("\"{ID}\""), re, body);
        classify(&Envelope::parse(&line).unwrap())
    }

    #[test]
    fn only_the_own_router_reports_transport_errors() {
        let re = format!("\"{RE}\"");
        for (text, reason) in [
            ("offline", TransportError::Offline),
            ("not_authorized", TransportError::NotAuthorized),
            ("bad_envelope", TransportError::BadEnvelope),
        ] {
            let body = format!("{{\"type\":\"transport_error\",\"reason\":\"{text}\",\"x\":1}}");
            assert_eq!(
                inbound("broker", &re, &body),
                Inbound::TransportError {
                    re: EnvelopeId::parse(&RE.to_lowercase()).unwrap(),
                    reason
                }
            );
            assert_eq!(inbound("lab:broker", &re, &body), Inbound::Message);
            assert_eq!(inbound("/a@x", &re, &body), Inbound::Message);
            assert_eq!(inbound("broker", "null", &body), Inbound::Message);
        }
        for reason in
            ["\"OFFLINE\"", "[\"offline\"]", "\"offline,x\"", "null", "{}", "1", "\"\"", "true"]
        {
            let body = format!("{{\"type\":\"transport_error\",\"reason\":{reason}}}");
            assert_eq!(inbound("broker", &re, &body), Inbound::Message, "{reason}");
        }
    }

    #[test]
    fn acknowledgements_are_swallowed_and_settle_only_when_complete() {
        let re = format!("\"{RE}\"");
        let body = "{\"type\":\"ack\",\"status\":\"received\",\"target\":\"/w@web\"}";
        for from in ["broker", "lab:broker", "a:b:broker"] {
            assert_eq!(
                inbound(from, &re, body),
                Inbound::Ack {
                    re: EnvelopeId::parse(RE).unwrap(),
                    status: AckStatus::Received,
                    target: "/w@web".into()
                }
            );
        }
        assert_eq!(inbound("broker", "null", body), Inbound::BadAck);
        assert_eq!(inbound("/a@x", &re, body), Inbound::Message);
        for body in [
            "{\"type\":\"ack\"}",
            "{\"type\":\"ack\",\"status\":\"gone\",\"target\":\"x\"}",
            "{\"type\":\"ack\",\"status\":\"received\"}",
            "{\"type\":\"ack\",\"status\":\"received\",\"target\":null}",
            "{\"type\":\"ack\",\"status\":[\"received\"],\"target\":\"x\"}",
        ] {
            assert_eq!(inbound("broker", &re, body), Inbound::BadAck, "{body}");
        }
    }

    #[test]
    fn an_acknowledgement_counts_from_the_router_it_was_expected_of() {
        for (destination, accepted, refused) in [
            ("/srv/a:b@x", "broker", "/srv/a:broker"),
            ("api", "broker", "api:broker"),
            ("lab:/srv@x", "lab:broker", "broker"),
            ("lab:api", "lab:broker", "other:broker"),
            ("C:\\x@api", "broker", "C:broker"),
            ("\\\\host:x\\y@api", "broker", "\\\\host:broker"),
            (":x", "broker", ":broker"),
            ("lab:", "broker", "lab:broker"),
            ("", "broker", "x:broker"),
            ("C:api", "C:broker", "broker"),
        ] {
            let origin = AckOrigin::expected(destination);
            assert!(origin.accepts(accepted), "{destination} from {accepted}");
            assert!(!origin.accepts(refused), "{destination} from {refused}");
        }
        let ambiguous = AckOrigin::expected("C:/srv/web@web");
        assert!(ambiguous.accepts("broker") && ambiguous.accepts("C:broker"));
        assert!(!ambiguous.accepts("D:broker"));
    }
}

//! What each rule does to an envelope, alone and with others.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use rp_routing_guarded::Guarded;
use rp_sdk::Policy;
use rp_sdk::policy::{Decision, Facts, Peer};
use rp_sdk::testing::policy::{facts, peer};
use serde_json::{Value, json};

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;

fn guarded(settings: &Value) -> Guarded {
    Guarded::configure(&settings.to_string()).unwrap().0
}

fn deny(reason: &str) -> Decision {
    Decision::Deny(format!("guarded: {reason}"))
}

fn hold(reason: &str) -> Decision {
    Decision::Hold(format!("guarded: {reason}"))
}

fn person() -> Peer {
    Peer { cwd: String::new(), address: "person".to_owned(), person: true, ..peer("person") }
}

/// Somebody who only says so.
fn impostor() -> Peer {
    Peer { person: false, ..person() }
}

fn on(machine: &str, name: &str) -> Peer {
    Peer {
        pc: Some(machine.to_owned()),
        address: format!("{machine}:/srv@{name}"),
        cwd: "/srv".to_owned(),
        ..peer(name)
    }
}

fn between(sender: Peer, recipient: Peer) -> Facts {
    Facts { sender, recipients: vec![recipient], ..facts("", "") }
}

fn with_body(json: &str) -> Facts {
    let body_bytes = u32::try_from(json.len()).unwrap();
    Facts { body: Some(json.to_owned()), body_bytes, ..facts("web", "api") }
}

/// One conversation between two peers: who writes is who did not write last.
struct Exchange {
    guarded: Guarded,
    last: Option<String>,
    number: u32,
    now_ms: u64,
}

impl Exchange {
    fn new(settings: &Value) -> Self {
        Exchange { guarded: guarded(settings), last: None, number: 0, now_ms: MINUTE_MS }
    }

    fn say(&mut self, re: Option<String>) -> Decision {
        let (sender, recipient) =
            if self.number.is_multiple_of(2) { ("web", "api") } else { ("api", "web") };
        let id = format!("message {}", self.number);
        let envelope =
            Facts { id: id.clone(), re, now_ms: self.now_ms, ..facts(sender, recipient) };
        self.number += 1;
        self.last = Some(id);
        self.guarded.decide(&envelope)
    }

    fn answer(&mut self) -> Decision {
        self.say(self.last.clone())
    }

    /// The first answers are delivered.
    fn answers(&mut self, count: u32) {
        for number in 0..count {
            assert_eq!(self.answer(), Decision::Deliver, "answer {number}");
        }
    }
}

#[test]
fn an_ordinary_message_is_delivered() {
    assert_eq!(guarded(&json!({})).decide(&facts("web", "api")), Decision::Deliver);
}

#[test]
fn the_allow_lists_name_who_may_write_and_be_written_to() {
    let senders =
        json!({"allow": {"sender": [{"name": "web*", "machine": "local"}, {"name": "db"}]}});
    let recipients = json!({"allow": {"action": "hold", "recipient": [{"cwd": "/home/ann/*"}]}});
    let unlisted = |who: &str, list: &str| format!("allow: {who} is not on the list of {list}");
    let cases = [
        (&senders, facts("web-1", "api"), Decision::Deliver),
        (&senders, facts("db", "api"), Decision::Deliver),
        (&senders, facts("api", "web"), deny(&unlisted("api", "senders"))),
        (
            &senders,
            between(on("desk", "web"), peer("api")),
            deny(&unlisted("web on desk", "senders")),
        ),
        (&senders, between(person(), peer("api")), Decision::Deliver),
        (&senders, between(impostor(), peer("api")), deny(&unlisted("person", "senders"))),
        (&recipients, facts("web", "api"), Decision::Deliver),
        (
            &recipients,
            between(peer("web"), on("desk", "db")),
            hold(&unlisted("db on desk", "recipients")),
        ),
        (&recipients, between(peer("web"), person()), Decision::Deliver),
        (&recipients, between(peer("web"), impostor()), hold(&unlisted("person", "recipients"))),
    ];
    for (settings, envelope, expected) in cases {
        assert_eq!(guarded(settings).decide(&envelope), expected, "{settings}");
    }
}

#[test]
fn one_recipient_who_is_not_allowed_stops_it_for_all() {
    let mut guarded = guarded(&json!({"allow": {"recipient": [{"name": "a*"}]}}));
    let recipients = vec![peer("api"), peer("db")];
    let envelope = Facts { recipients, ..facts("web", "") };
    assert_eq!(guarded.decide(&envelope), deny("allow: db is not on the list of recipients"));
}

#[test]
fn what_reaches_nobody_is_let_through() {
    let mut guarded = guarded(&json!({"allow": {"sender": [{"name": "nobody"}]}}));
    let envelope = Facts { recipients: Vec::new(), ..facts("web", "") };
    assert_eq!(guarded.decide(&envelope), Decision::Deliver);
}

#[test]
fn a_body_may_have_the_limit_and_no_byte_more() {
    let mut guarded = guarded(&json!({"size": {"max_bytes": 100}}));
    let sized = |body_bytes| Facts { body_bytes, ..facts("web", "api") };
    assert_eq!(guarded.decide(&sized(100)), Decision::Deliver);
    assert_eq!(guarded.decide(&sized(101)), deny("size: 101 bytes from web (limit 100)"));
}

#[test]
fn a_pair_has_its_messages_a_minute_and_other_pairs_have_theirs() {
    let mut guarded = guarded(&json!({"rate": {"per_minute": 2}}));
    let mut at = |seconds: u64, sender: &str, recipient: &str| {
        guarded.decide(&Facts { now_ms: seconds * SECOND_MS, ..facts(sender, recipient) })
    };
    let refused = deny("rate: 2 messages a minute from web to api (limit 2)");
    assert_eq!(at(100, "web", "api"), Decision::Deliver);
    assert_eq!(at(130, "web", "api"), Decision::Deliver);
    assert_eq!(at(131, "web", "api"), refused);
    assert_eq!(at(131, "api", "web"), Decision::Deliver);
    assert_eq!(at(131, "web", "db"), Decision::Deliver);
    assert_eq!(at(159, "web", "api"), refused);
    assert_eq!(at(160, "web", "api"), Decision::Deliver, "the first is a minute ago");
    assert_eq!(
        at(189, "web", "api"),
        refused,
        "what was refused does not count, what was not does"
    );
    assert_eq!(at(190, "web", "api"), Decision::Deliver);
}

#[test]
fn the_usual_rate_is_thirty_and_can_be_switched_off_or_held() {
    let thirty_first = |settings: Value| {
        let mut guarded = guarded(&settings);
        let decisions: Vec<_> = (0..31).map(|_| guarded.decide(&facts("web", "api"))).collect();
        assert!(decisions[..30].iter().all(|decision| *decision == Decision::Deliver));
        decisions[30].clone()
    };
    let reason = "rate: 30 messages a minute from web to api (limit 30)";
    assert_eq!(thirty_first(json!({})), deny(reason));
    assert_eq!(thirty_first(json!({"rate": {"action": "hold"}})), hold(reason));
    assert_eq!(thirty_first(json!({"rate": false})), Decision::Deliver);
}

#[test]
fn a_message_to_several_counts_for_each_of_them() {
    let mut guarded = guarded(&json!({"rate": {"per_minute": 1}}));
    let recipients = vec![peer("api"), peer("db")];
    assert_eq!(guarded.decide(&Facts { recipients, ..facts("web", "") }), Decision::Deliver);
    let refused = |to| deny(&format!("rate: 1 messages a minute from web to {to} (limit 1)"));
    for to in ["api", "db"] {
        assert_eq!(guarded.decide(&facts("web", to)), refused(to));
    }
}

#[test]
fn many_pairs_do_not_take_more_memory() {
    let mut guarded = guarded(&json!({"rate": {"per_minute": 1}, "loop": {"replies": 2}}));
    for number in 0..20_000 {
        let envelope = Facts { id: number.to_string(), ..facts(&format!("web-{number}"), "api") };
        assert_eq!(guarded.decide(&envelope), Decision::Deliver);
    }
    let again = |number: u32| facts(&format!("web-{number}"), "api");
    assert_eq!(guarded.decide(&again(0)), Decision::Deliver, "it was forgotten early");
    assert!(matches!(guarded.decide(&again(19_999)), Decision::Deny(_)));
}

#[test]
fn two_who_answer_each_other_for_ever_are_held() {
    let mut exchange = Exchange::new(&json!({}));
    assert_eq!(exchange.say(None), Decision::Deliver);
    exchange.answers(20);
    assert_eq!(
        exchange.answer(),
        hold("loop: api and web have answered each other 20 times in 10 minutes (limit 20)")
    );
}

#[test]
fn a_loop_can_be_denied_or_ignored() {
    let fourth = |settings: Value| {
        let mut exchange = Exchange::new(&settings);
        assert_eq!(exchange.say(None), Decision::Deliver);
        exchange.answers(2);
        exchange.answer()
    };
    let reason = "loop: api and web have answered each other 2 times in 5 minutes (limit 2)";
    let replies = |action| json!({"loop": {"replies": 2, "minutes": 5, "action": action}});
    assert_eq!(fourth(replies("deny")), deny(reason));
    assert_eq!(fourth(json!({"loop": false})), Decision::Deliver);
}

#[test]
fn a_new_question_begins_a_new_chain_and_the_old_one_goes_on() {
    let mut exchange = Exchange::new(&json!({"loop": {"replies": 2}}));
    assert_eq!(exchange.say(None), Decision::Deliver);
    exchange.answers(2);
    let old = exchange.last.clone();
    exchange.number += 1;
    assert_eq!(exchange.say(None), Decision::Deliver, "a question is no reply");
    exchange.answers(2);
    exchange.number = 3;
    assert!(matches!(exchange.say(old), Decision::Hold(_)), "the old chain is as long as it was");
}

#[test]
fn replies_that_come_slowly_are_no_loop() {
    let mut exchange = Exchange::new(&json!({"loop": {"replies": 3, "minutes": 10}}));
    assert_eq!(exchange.say(None), Decision::Deliver);
    for _ in 0..10 {
        exchange.now_ms += 4 * MINUTE_MS;
        exchange.answers(1);
    }
}

#[test]
fn replies_count_until_they_are_as_old_as_the_setting_says() {
    for (age_ms, is_held) in [(10 * MINUTE_MS - 1, true), (10 * MINUTE_MS, false)] {
        let mut exchange = Exchange::new(&json!({"loop": {"replies": 3, "minutes": 10}}));
        assert_eq!(exchange.say(None), Decision::Deliver);
        exchange.answers(3);
        exchange.now_ms += age_ms;
        assert_eq!(matches!(exchange.answer(), Decision::Hold(_)), is_held, "{age_ms} ms");
    }
}

#[test]
fn two_answers_to_one_message_do_not_hide_a_loop() {
    let mut exchange = Exchange::new(&json!({"loop": {"replies": 4}}));
    assert_eq!(exchange.say(None), Decision::Deliver);
    for _ in 0..4 {
        let answered = exchange.last.clone();
        assert_eq!(exchange.say(answered.clone()), Decision::Deliver);
        exchange.number += 1;
        assert_eq!(exchange.say(answered), Decision::Deliver);
    }
    assert!(matches!(exchange.answer(), Decision::Hold(_)));
}

#[test]
fn answers_between_others_and_to_oneself_are_no_part_of_the_chain() {
    let mut guarded = guarded(&json!({"loop": {"replies": 2}}));
    let steps = [
        ("1", None, "web", "api"),
        ("2", Some("1"), "api", "web"),
        // It answers what somebody else was told.
        ("3", Some("2"), "web", "db"),
        ("4", Some("3"), "db", "web"),
        // It goes on with what it said itself.
        ("5", Some("2"), "api", "web"),
        ("6", Some("5"), "api", "web"),
        ("7", Some("6"), "api", "web"),
        ("8", Some("7"), "api", "web"),
    ];
    for (id, re, sender, recipient) in steps {
        let envelope =
            Facts { id: id.to_owned(), re: re.map(str::to_owned), ..facts(sender, recipient) };
        assert_eq!(guarded.decide(&envelope), Decision::Deliver, "{id}");
    }
}

#[test]
fn a_person_who_writes_to_one_of_them_lets_them_begin_anew() {
    for listener in ["web", "api"] {
        let mut exchange = Exchange::new(&json!({"loop": {"replies": 2}}));
        assert_eq!(exchange.say(None), Decision::Deliver);
        exchange.answers(2);
        let word = Facts { id: "word".to_owned(), ..between(person(), peer(listener)) };
        assert_eq!(exchange.guarded.decide(&word), Decision::Deliver);
        exchange.answers(2);
    }
}

#[test]
fn a_held_message_that_a_person_allows_begins_a_new_chain() {
    let mut exchange = Exchange::new(&json!({"loop": {"replies": 2}}));
    assert_eq!(exchange.say(None), Decision::Deliver);
    exchange.answers(2);
    assert!(matches!(exchange.answer(), Decision::Hold(_)));
    exchange.answers(2);
}

#[test]
fn quiet_hours_hold_what_agents_write_to_each_other() {
    let settings = json!({"quiet": {"from": "00:00", "to": "01:00", "utc_offset_minutes": 0}});
    let elsewhere = json!({"quiet": {"from": "00:00", "to": "01:00", "utc_offset_minutes": 60}});
    let refused = json!({"quiet": {"from": "23:00", "to": "07:00", "action": "deny"}});
    let both = Facts { recipients: vec![person(), peer("api")], ..facts("web", "") };
    let reason = "quiet: it is 00:51, and 00:00 to 01:00 is quiet (UTC+00:00)";
    let cases = [
        (&settings, facts("web", "api"), hold(reason)),
        (&elsewhere, facts("web", "api"), Decision::Deliver),
        (
            &refused,
            facts("web", "api"),
            deny("quiet: it is 00:51, and 23:00 to 07:00 is quiet (UTC+00:00)"),
        ),
        (&settings, between(person(), peer("api")), Decision::Deliver),
        (&settings, between(peer("web"), person()), Decision::Deliver),
        (&settings, both, hold(reason)),
        (&settings, between(impostor(), peer("api")), hold(reason)),
    ];
    for (settings, envelope, expected) in cases {
        assert_eq!(guarded(settings).decide(&envelope), expected, "{settings} {envelope:?}");
    }
}

#[test]
fn a_rule_objects_when_all_of_its_conditions_fit() {
    let rule = |conditions: Value| {
        let mut rule = json!({"name": "mine"});
        rule.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
        json!({"rule": [rule]})
    };
    let typed = |name: &str| Facts { body_type: Some(name.to_owned()), ..facts("web", "api") };
    let several = Facts { recipients: vec![peer("api"), peer("db")], ..facts("web", "") };
    let held = hold("rule mine: a person decides about what web sends");
    let cases = [
        (json!({"sender": {"name": "web"}}), facts("web", "api"), &held),
        (json!({"sender": {"name": "api"}}), facts("web", "api"), &Decision::Deliver),
        (json!({"recipient": {"name": "api"}}), facts("web", "api"), &held),
        (json!({"recipient": {"name": "db"}}), several, &held),
        (json!({"recipient": {"name": "db"}}), facts("web", "api"), &Decision::Deliver),
        (json!({"recipient": {"machine": "desk"}}), between(peer("web"), on("desk", "x")), &held),
        (json!({"body_type": "dep*"}), typed("deploy"), &held),
        (json!({"body_type": ["a", "b"]}), typed("deploy"), &Decision::Deliver),
        (json!({"body_type": "*"}), facts("web", "api"), &Decision::Deliver),
        (json!({"text": ["x", "RM -rf"]}), with_body(r#""sudo \u0072m -rf /""#), &held),
        (json!({"text": "rm -rf"}), with_body(r#""rm the file""#), &Decision::Deliver),
        (
            json!({"text": "rm", "sender": {"name": "api"}}),
            with_body(r#""rm""#),
            &Decision::Deliver,
        ),
        (
            json!({"sender": {"name": "web"}, "recipient": {"name": "db"}}),
            facts("web", "api"),
            &Decision::Deliver,
        ),
    ];
    for (conditions, envelope, expected) in cases {
        let decision = guarded(&rule(conditions.clone())).decide(&envelope);
        assert_eq!(decision, *expected, "{conditions}");
    }
}

#[test]
fn a_body_that_cannot_be_looked_through_counts_as_one_with_the_text() {
    let mut guarded = guarded(&json!({"rule": [{"name": "mine", "text": "rm -rf"}]}));
    let unread = hold("rule mine: what web sends could not be looked through");
    let body = |letters: usize| with_body(&json!("a".repeat(letters)).to_string());
    assert_eq!(guarded.decide(&body((128 << 10) - 2)), Decision::Deliver);
    assert_eq!(guarded.decide(&body((128 << 10) - 1)), unread);
    assert_eq!(guarded.decide(&facts("web", "api")), unread, "the body was not handed over");
}

#[test]
fn the_strictest_rule_wins_and_of_equal_ones_the_first() {
    let rule = |name: &str, action: &str| json!({"name": name, "action": action, "text": "x"});
    let held = |name| hold(&format!("rule {name}: a person decides about what web sends"));
    let denied = |name| deny(&format!("rule {name}: web may not send this"));
    let size = |action: &str| json!({"max_bytes": 1, "action": action});
    let too_long = "size: 3 bytes from web (limit 1)";
    let cases = [
        (json!({"rule": [rule("a", "hold"), rule("b", "hold")]}), held("a")),
        (json!({"rule": [rule("a", "hold"), rule("b", "deny")]}), denied("b")),
        (json!({"rule": [rule("a", "deny"), rule("b", "deny")]}), denied("a")),
        (json!({"size": size("hold"), "rule": [rule("a", "hold")]}), hold(too_long)),
        (json!({"size": size("hold"), "rule": [rule("a", "deny")]}), denied("a")),
        (json!({"size": size("deny"), "rule": [rule("a", "hold")]}), deny(too_long)),
    ];
    for (settings, expected) in cases {
        assert_eq!(guarded(&settings).decide(&with_body(r#""x""#)), expected, "{settings}");
    }
}

#[test]
fn only_what_is_delivered_counts() {
    let mut guarded = guarded(&json!({"rate": {"per_minute": 1}, "size": {"max_bytes": 9}}));
    let long = Facts { body_bytes: 10, ..facts("web", "api") };
    for _ in 0..3 {
        assert_eq!(guarded.decide(&long), deny("size: 10 bytes from web (limit 9)"));
    }
    assert_eq!(guarded.decide(&facts("web", "api")), Decision::Deliver);
}

#[test]
fn a_name_of_any_length_makes_a_short_reason() {
    let mut guarded = guarded(&json!({"allow": {"sender": [{"name": "web"}]}}));
    let name = "é".repeat(256);
    let expected = format!("allow: {} is not on the list of senders", "é".repeat(60));
    assert_eq!(guarded.decide(&facts(&name, "api")), deny(&expected));
}

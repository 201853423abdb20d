//! What a person can set, and what is refused with which words.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use rp_routing_guarded::Guarded;
use rp_sdk::Policy;
use serde_json::{Value, json};

fn refusal(settings: &Value) -> String {
    Guarded::configure(&settings.to_string()).unwrap_err()
}

/// The example of the README.
fn everything() -> Value {
    json!({
        "allow": {
            "action": "deny",
            "sender": [
                {"name": ["web-*", "api"], "cwd": "/home/ann/*", "machine": ["local", "desk"]},
                {"name": "release"},
            ],
            "recipient": [{"machine": "local"}],
        },
        "size": {"max_bytes": 65536, "action": "deny"},
        "rate": {"per_minute": 30, "action": "deny"},
        "loop": {"replies": 20, "minutes": 10, "action": "hold"},
        "quiet": {"from": "22:00", "to": "07:00", "utc_offset_minutes": 120, "action": "hold"},
        "rule": [
            {
                "name": "deployments",
                "action": "hold",
                "sender": {"cwd": "/home/ann/experiments/*"},
                "recipient": {"name": "prod-*", "machine": "*"},
                "body_type": ["deploy", "rollback"],
            },
            {"name": "destruction", "action": "deny", "text": ["rm -rf", "drop*table"]},
        ],
    })
}

#[test]
fn everything_in_the_readme_can_be_set() {
    let readme = include_str!("../README.md");
    Guarded::configure(&everything().to_string()).unwrap();
    for (table, settings) in everything().as_object().unwrap() {
        let heading = if table == "rule" { "[[rule]]" } else { &format!("[{table}]") };
        assert!(readme.contains(heading), "{table}");
        let keys = settings.as_object().or(settings[0].as_object()).unwrap();
        for key in keys.keys() {
            assert!(
                readme.contains(&format!("\n{key} = ")) || readme.contains(&format!(".{key}]")),
                "{key}"
            );
        }
    }
}

#[test]
fn bodies_are_wanted_only_for_texts() {
    let wants = |settings: Value| Guarded::configure(&settings.to_string()).unwrap().1.bodies;
    assert!(!wants(json!({})));
    assert!(!wants(json!({"rule": [{"name": "a", "body_type": "deploy"}]})));
    assert!(wants(json!({"rule": [{"name": "a", "text": "deploy"}]})));
}

#[test]
fn what_is_no_object_is_refused() {
    for settings in ["", "null", "[]", "{", "1"] {
        let refusal = Guarded::configure(settings).unwrap_err();
        assert!(refusal.starts_with("the settings are not a JSON object: "), "{refusal}");
    }
}

#[test]
fn a_name_that_is_no_setting_is_refused_with_the_closest_one() {
    let cases = [
        (json!({"rat": {}}), "`rat` is not a setting\nhint: did you mean `rate`?"),
        (json!({"qiuet": {}}), "`qiuet` is not a setting\nhint: did you mean `quiet`?"),
        (
            json!({"colour": 1}),
            "`colour` is not a setting\n\
             hint: the settings here are allow, size, rate, loop, quiet, rule",
        ),
        (
            json!({"rate": {"per_minut": 1}}),
            "`rate.per_minut` is not a setting\nhint: did you mean `per_minute`?",
        ),
        (
            json!({"allow": {"sender": [{"names": "a", "name": "a"}]}}),
            "`allow.sender.1.names` is not a setting\nhint: did you mean `name`?",
        ),
        (
            json!({"rule": [{"name": "a", "text": "a"}, {"name": "b", "text": "b", "txt": ""}]}),
            "`rule.2.txt` is not a setting\nhint: did you mean `text`?",
        ),
    ];
    for (settings, expected) in cases {
        assert_eq!(refusal(&settings), expected);
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_what_is_wanted() {
    let texts = "must be a text of 1 to 256 bytes, or 1 to 32 of them";
    let action = "must be \"hold\" or \"deny\"";
    let time = "must be a time of day such as \"22:30\"";
    let cases = [
        (json!({"rate": true}), "`rate` must be a table, or false".to_owned()),
        (json!({"loop": 20}), "`loop` must be a table, or false".to_owned()),
        (json!({"size": false}), "`size` must be a table".to_owned()),
        (json!({"size": {}}), "`size.max_bytes` must be set".to_owned()),
        (
            json!({"size": {"max_bytes": 0}}),
            "`size.max_bytes` must be a number from 1 to 33554432".to_owned(),
        ),
        (
            json!({"rate": {"per_minute": 1.5}}),
            "`rate.per_minute` must be a number from 1 to 10000".to_owned(),
        ),
        (
            json!({"rate": {"per_minute": 4_294_967_297_u64}}),
            "`rate.per_minute` must be a number from 1 to 10000".to_owned(),
        ),
        (json!({"rate": {"action": "drop"}}), format!("`rate.action` {action}")),
        (
            json!({"loop": {"replies": 1}}),
            "`loop.replies` must be a number from 2 to 1000".to_owned(),
        ),
        (
            json!({"loop": {"minutes": 0}}),
            "`loop.minutes` must be a number from 1 to 1440".to_owned(),
        ),
        (json!({"quiet": {"to": "07:00"}}), format!("`quiet.from` {time}")),
        (json!({"quiet": {"from": "7:00", "to": "08:00"}}), format!("`quiet.from` {time}")),
        (
            json!({"quiet": {"from": "07:00", "to": "07:00"}}),
            "`quiet.to` must be another time than `from`".to_owned(),
        ),
        (
            json!({"quiet": {"from": "07:00", "to": "08:00", "utc_offset_minutes": 900}}),
            "`quiet.utc_offset_minutes` must be a number from -720 to 840".to_owned(),
        ),
        (json!({"allow": {}}), "`allow.sender` must be set, or `recipient`".to_owned()),
        (
            json!({"allow": {"sender": [{}]}}),
            "`allow.sender.1.name` must be set, or `cwd`, or `machine`".to_owned(),
        ),
        (json!({"allow": {"sender": [{"cwd": []}]}}), format!("`allow.sender.1.cwd` {texts}")),
        (json!({"allow": {"sender": [{"cwd": [1]}]}}), format!("`allow.sender.1.cwd` {texts}")),
        (json!({"allow": {"sender": [{"cwd": ""}]}}), format!("`allow.sender.1.cwd` {texts}")),
        (
            json!({"allow": {"sender": [{"cwd": vec!["a"; 33]}]}}),
            format!("`allow.sender.1.cwd` {texts}"),
        ),
        (
            json!({"allow": {"sender": [{"cwd": "a".repeat(257)}]}}),
            format!("`allow.sender.1.cwd` {texts}"),
        ),
        (json!({"rule": {}}), "`rule` must be at most 32 tables".to_owned()),
        (json!({"rule": [1]}), "`rule` must be at most 32 tables".to_owned()),
        (json!({"rule": vec![json!({}); 33]}), "`rule` must be at most 32 tables".to_owned()),
        (json!({"rule": [{"text": "a"}]}), "`rule.1.name` must be set".to_owned()),
        (
            json!({"rule": [{"name": "", "text": "a"}]}),
            "`rule.1.name` must be a text of 1 to 256 bytes".to_owned(),
        ),
        (
            json!({"rule": [{"name": "all"}]}),
            "the rule `all` has no condition\n\
             hint: give it a sender, a recipient, a body_type or a text"
                .to_owned(),
        ),
        (
            json!({"rule": [{"name": "all", "text": ["a", "*"]}]}),
            "`rule.1.text` must be more than stars".to_owned(),
        ),
        (
            json!({"rule": [{"name": "a", "text": "a"}, {"name": "a", "text": "b"}]}),
            "two rules have the name `a`".to_owned(),
        ),
        (
            json!({"rule": [
                {"name": "a", "text": vec!["a"; 16]},
                {"name": "b", "text": vec!["b"; 17]},
            ]}),
            "the rules may have 32 texts together".to_owned(),
        ),
    ];
    for (settings, expected) in cases {
        assert_eq!(refusal(&settings), expected, "{settings}");
    }
}

//! A routing policy: decides about every envelope before it is stored or delivered.
//! `wit/routing.wit` says what each field means and what else can be decided.

use std::cell::Cell;

use serde_json::{Map, Value};

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rp::routing::policy::{Decision, Facts, Guest, Wants};

const DEFAULT_PER_MINUTE: u32 = 30;

thread_local! {
    static PER_MINUTE: Cell<u32> = const { Cell::new(DEFAULT_PER_MINUTE) };
}

struct Component;

impl Guest for Component {
    /// Called once, before the first `decide`. An error is shown to the person who wrote the
    /// settings, and the policy before this one stays in force.
    fn configure(settings: String) -> Result<Wants, String> {
        PER_MINUTE.set(per_minute(&settings)?);
        // With `bodies: true` (and the permission) `decide` sees what messages say.
        Ok(Wants { bodies: false })
    }

    /// Stands in the path of every envelope: be quick. A panic ends this instance, and the envelope
    /// is held.
    fn decide(facts: Facts) -> Decision {
        let limit = PER_MINUTE.get();
        if facts.sent_last_minute < limit {
            return Decision::Deliver;
        }
        Decision::Deny(format!("{} may send {limit} messages a minute", facts.sender.name))
    }
}

fn per_minute(settings: &str) -> Result<u32, String> {
    let mut settings: Map<String, Value> = serde_json::from_str(settings)
        .map_err(|error| format!("the settings are not a JSON object: {error}"))?;
    let number = settings.remove("per_minute");
    if !settings.is_empty() {
        let names: Vec<String> = settings.keys().map(|name| format!("`{name}`")).collect();
        return Err(format!("unknown settings: {}", names.join(", ")));
    }
    let Some(number) = number else { return Ok(DEFAULT_PER_MINUTE) };
    let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "`per_minute` must be a whole number from 1 on".to_owned())
}

#[cfg(target_arch = "wasm32")]
export!(Component);

#[cfg(test)]
mod tests {
    use super::*;
    use exports::rp::routing::policy::{Direction, Peer};

    fn decide(sent_last_minute: u32) -> Decision {
        let peer = |name: &str| Peer {
            pc: None,
            cwd: "/home/ann/project".to_owned(),
            name: name.to_owned(),
            address: format!("/home/ann/project@{name}"),
            harness: None,
            person: false,
        };
        Component::decide(Facts {
            direction: Direction::Local,
            sender: peer("scout"),
            recipients: vec![peer("reviewer")],
            to: "reviewer".to_owned(),
            id: "0199a2b4-0000-7000-8000-000000000000".to_owned(),
            re: None,
            body_bytes: 7,
            body_type: None,
            body: None,
            sent_last_minute,
            now_ms: 1_763_700_000_000,
        })
    }

    fn refusal(settings: &str) -> String {
        Component::configure(settings.to_owned()).unwrap_err()
    }

    #[test]
    fn a_sender_who_stays_below_the_limit_reaches_everybody() {
        Component::configure("{}".to_owned()).unwrap();
        assert!(matches!(decide(29), Decision::Deliver));
    }

    #[test]
    fn one_message_more_than_the_limit_is_denied_with_the_reason() {
        Component::configure(r#"{"per_minute":2}"#.to_owned()).unwrap();
        assert!(matches!(decide(1), Decision::Deliver));
        let Decision::Deny(reason) = decide(2) else { panic!("it was not denied") };
        assert_eq!(reason, "scout may send 2 messages a minute");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert_eq!(refusal(r#"{"per_hour":2}"#), "unknown settings: `per_hour`");
        for text in ["[]", "{", "null"] {
            assert!(refusal(text).starts_with("the settings are not a JSON object: "), "{text}");
        }
        for number in ["0", "-1", "1.5", "\"2\"", "null"] {
            let settings = format!(r#"{{"per_minute":{number}}}"#);
            assert!(refusal(&settings).contains("must be a whole number"), "{number}");
        }
    }
}

//! The policy in force when nobody chose another: every envelope is delivered.
//!
//! Nothing is forbidden here because the broker already refuses what is never allowed, such
//! as a forged sender. The policy has no settings and keeps no state, so `decide` does nothing but
//! answer.

use rp_sdk::routing::exports::rp::routing::policy::{Decision, Facts, Guest, Wants};

/// Delivers everything.
#[derive(Debug)]
pub struct Deliver;

impl Guest for Deliver {
    fn configure(settings: String) -> Result<Wants, String> {
        let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&settings)
            .map_err(|error| format!("the settings are not a JSON object: {error}"))?;
        if settings.is_empty() {
            return Ok(Wants { bodies: false });
        }
        let names: Vec<String> = settings.keys().map(|name| format!("`{name}`")).collect();
        Err(format!("this policy has no settings, so it does not know {}", names.join(", ")))
    }

    fn decide(_facts: Facts) -> Decision {
        Decision::Deliver
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, missing_docs, reason = "the canonical ABI is raw pointers")]
mod component {
    use super::Deliver;
    rp_sdk::routing::export!(Deliver with_types_in rp_sdk::routing);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::routing::exports::rp::routing::policy::{Direction, Peer};

    #[test]
    fn an_empty_object_is_accepted_and_no_bodies_are_asked_for() {
        assert!(!Deliver::configure("{}".to_owned()).unwrap().bodies);
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let refusal = Deliver::configure(r#"{"quiet":true,"loud":1}"#.to_owned()).unwrap_err();
        assert!(refusal.contains("`quiet`") && refusal.contains("`loud`"), "{refusal}");
    }

    #[test]
    fn settings_that_are_no_object_are_refused() {
        for settings in ["", "null", "[]", "{"] {
            assert!(
                Deliver::configure(settings.to_owned()).unwrap_err().contains("not a JSON object")
            );
        }
    }

    #[test]
    fn an_envelope_is_delivered() {
        let peer = |name: &str| Peer {
            pc: None,
            cwd: "/home/ann/project".to_owned(),
            name: name.to_owned(),
            address: format!("/home/ann/project@{name}"),
            harness: None,
        };
        let facts = Facts {
            direction: Direction::Local,
            sender: peer("ann"),
            recipients: vec![peer("bob")],
            to: "/home/ann/project@bob".to_owned(),
            id: "0190a1b2-0000-7000-8000-000000000000".to_owned(),
            re: None,
            body_bytes: 7,
            body_type: None,
            body: None,
            sent_last_minute: 0,
            now_ms: 1_795_222_285_492,
        };
        assert!(matches!(Deliver::decide(facts), Decision::Deliver));
    }
}

//! The policy in force when nobody chose another: every envelope is delivered.
//!
//! Nothing is forbidden here because the broker already refuses what is never allowed, such
//! as a forged sender. The policy has no settings and keeps no state, so `decide` does nothing but
//! answer.

use rp_sdk::Policy;
use rp_sdk::policy::{Decision, Facts, Wants};
use rp_sdk::settings::expect_none;

/// Delivers everything.
#[derive(Debug)]
pub struct Deliver;

impl Policy for Deliver {
    fn configure(settings: &str) -> Result<(Self, Wants), String> {
        expect_none(settings)?;
        Ok((Deliver, Wants { bodies: false }))
    }

    fn decide(&mut self, _facts: &Facts) -> Decision {
        Decision::Deliver
    }
}

rp_sdk::export_policy!(Deliver);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::policy::facts;

    #[test]
    fn an_empty_object_is_accepted_and_no_bodies_are_asked_for() {
        let (_, wants) = Deliver::configure("{}").unwrap();
        assert!(!wants.bodies);
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let refusal = Deliver::configure(r#"{"quiet":true,"loud":1}"#).unwrap_err();
        assert!(refusal.contains("`quiet`") && refusal.contains("`loud`"), "{refusal}");
    }

    #[test]
    fn settings_that_are_no_object_are_refused() {
        for settings in ["", "null", "[]", "{"] {
            assert!(Deliver::configure(settings).unwrap_err().contains("not a JSON object"));
        }
    }

    #[test]
    fn an_envelope_is_delivered() {
        assert!(matches!(Deliver.decide(&facts("ann", "bob")), Decision::Deliver));
    }
}

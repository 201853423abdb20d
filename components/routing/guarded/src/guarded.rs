//! The rules together.

use rp_sdk::Policy;
use rp_sdk::policy::{Decision, Facts, Wants};

use crate::allow::Allow;
use crate::fields::Fields;
use crate::quiet::Quiet;
use crate::rate::Rate;
use crate::replies::Replies;
use crate::rules::Rules;
use crate::size::Size;
use crate::verdict::{Action, Objection, strictest};

/// Every rule that is in force, with what it remembers.
#[derive(Debug)]
pub struct Guarded {
    allow: Option<Allow>,
    size: Option<Size>,
    rate: Option<Rate>,
    replies: Option<Replies>,
    quiet: Option<Quiet>,
    rules: Rules,
}

impl Policy for Guarded {
    fn configure(settings: &str) -> Result<(Self, Wants), String> {
        let mut fields = Fields::parse(settings)?;
        let guarded = Guarded {
            allow: Allow::read(&mut fields)?,
            size: Size::read(&mut fields)?,
            rate: Rate::read(&mut fields)?,
            replies: Replies::read(&mut fields)?,
            quiet: Quiet::read(&mut fields)?,
            rules: Rules::read(&mut fields)?,
        };
        fields.nothing_else()?;
        let wants = Wants { bodies: guarded.rules.want_bodies() };
        Ok((guarded, wants))
    }

    fn decide(&mut self, facts: &Facts) -> Decision {
        // There is nothing to keep back, and the sender is told that nobody is there.
        if facts.recipients.is_empty() {
            return Decision::Deliver;
        }
        match self.check(facts) {
            Some(Objection { action: Action::Deny, reason }) => Decision::Deny(reason),
            Some(Objection { action: Action::Hold, reason }) => Decision::Hold(reason),
            None => {
                self.delivered(facts);
                Decision::Deliver
            }
        }
    }
}

impl Guarded {
    /// What the rules say, in the order that the README tells.
    fn check(&mut self, facts: &Facts) -> Option<Objection> {
        let objections = [
            self.allow.as_ref().and_then(|rule| rule.check(facts)),
            self.size.as_ref().and_then(|rule| rule.check(facts)),
            self.rate.as_mut().and_then(|rule| rule.check(facts)),
            self.replies.as_mut().and_then(|rule| rule.check(facts)),
            self.quiet.as_ref().and_then(|rule| rule.check(facts)),
            self.rules.check(facts),
        ];
        strictest(objections.into_iter().flatten())
    }

    /// Only what is delivered counts towards a limit.
    fn delivered(&mut self, facts: &Facts) {
        if let Some(rule) = &mut self.rate {
            rule.delivered(facts);
        }
        if let Some(rule) = &mut self.replies {
            rule.delivered(facts);
        }
    }
}

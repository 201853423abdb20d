//! Messages that a person wants to see first, or never.

use std::cell::OnceCell;
use std::collections::HashSet;

use rp_sdk::policy::Facts;

use crate::body::{Body, Text};
use crate::fields::Fields;
use crate::glob::fits;
use crate::verdict::{Action, Objection, shown, strictest};
use crate::who::Who;

const MOST_RULES: usize = 32;
/// Texts that all rules together look for in a body.
const MOST_TEXTS: usize = 32;

/// The person's own rules, in the order of the settings.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

/// It objects to what fits all of its conditions; those that are absent fit everything.
#[derive(Debug)]
struct Rule {
    name: String,
    action: Action,
    sender: Option<Who>,
    recipient: Option<Who>,
    body_types: Option<Vec<String>>,
    texts: Vec<Text>,
}

impl Rules {
    /// The tables `rule`.
    pub(crate) fn read(settings: &mut Fields) -> Result<Self, String> {
        let rules: Vec<Rule> = settings
            .tables("rule", MOST_RULES)?
            .into_iter()
            .map(Rule::read)
            .collect::<Result<_, _>>()?;
        let mut names = HashSet::new();
        if let Some(twice) = rules.iter().find(|rule| !names.insert(&rule.name)) {
            return Err(format!("two rules have the name `{}`", twice.name));
        }
        if rules.iter().map(|rule| rule.texts.len()).sum::<usize>() > MOST_TEXTS {
            return Err(format!("the rules may have {MOST_TEXTS} texts together"));
        }
        Ok(Rules(rules))
    }

    /// Whether a rule has to know what messages say.
    pub(crate) fn want_bodies(&self) -> bool {
        self.0.iter().any(|rule| !rule.texts.is_empty())
    }

    pub(crate) fn check(&self, facts: &Facts) -> Option<Objection> {
        let body = OnceCell::new();
        let body = || body.get_or_init(|| Body::of(facts));
        strictest(self.0.iter().filter_map(|rule| rule.check(facts, body)))
    }
}

impl Rule {
    fn read(mut fields: Fields) -> Result<Rule, String> {
        let Some(name) = fields.text("name")? else {
            return Err(fields.wrong("name", "set"));
        };
        let action = Action::read(&mut fields, Action::Hold)?;
        let sender = Who::read(&mut fields, "sender")?;
        let recipient = Who::read(&mut fields, "recipient")?;
        let body_types = fields.texts("body_type")?;
        let texts = fields.texts("text")?.unwrap_or_default();
        let texts: Option<Vec<Text>> = texts.iter().map(|text| Text::parse(text)).collect();
        let texts = texts.ok_or_else(|| fields.wrong("text", "more than stars"))?;
        let has_condition =
            sender.is_some() || recipient.is_some() || body_types.is_some() || !texts.is_empty();
        fields.nothing_else()?;
        if !has_condition {
            return Err(format!(
                "the rule `{name}` has no condition\n\
                 hint: give it a sender, a recipient, a body_type or a text"
            ));
        }
        Ok(Rule { name, action, sender, recipient, body_types, texts })
    }

    fn is_about(&self, facts: &Facts) -> bool {
        self.sender.as_ref().is_none_or(|who| who.has(&facts.sender))
            && self.recipient.as_ref().is_none_or(|who| facts.recipients.iter().any(|r| who.has(r)))
            && self.body_types.as_ref().is_none_or(|patterns| {
                let body_type = facts.body_type.as_deref();
                body_type.is_some_and(|name| patterns.iter().any(|pattern| fits(pattern, name)))
            })
    }

    /// Looks into the body only when everything else fits.
    fn check<'a>(&self, facts: &Facts, body: impl Fn() -> &'a Body) -> Option<Objection> {
        if !self.is_about(facts) {
            return None;
        }
        let fits = match self.texts.as_slice() {
            [] => Some(true),
            texts => body().has_one_of(texts),
        };
        let sender = shown(&facts.sender);
        let what = match (fits, self.action) {
            (Some(false), _) => return None,
            (Some(true), Action::Hold) => format!("a person decides about what {sender} sends"),
            (Some(true), Action::Deny) => format!("{sender} may not send this"),
            (None, _) => format!("what {sender} sends could not be looked through"),
        };
        Some(self.action.because(&format!("rule {}", self.name), &what))
    }
}

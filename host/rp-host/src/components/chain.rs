//! The routing policies in force, one behind the other, and how the strictest decision wins.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rp_engine::{Policy, Trial};
use rp_mesh::{RoutingPolicy, Ruling};
use rp_packages::read_text;
use rp_protocol::{
    component::{Permit, toml_problem},
    routing::{Decision, Facts},
};

use crate::problem::{Problem, While};

/// What the person set: which policies decide, in which order, and their settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChainSettings {
    /// The ids, in order; `None` when the person left it open.
    pub chain: Option<Vec<String>>,
    /// Settings of policies by id, each a JSON object.
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl ChainSettings {
    /// Reads `policy.toml`; without one everything is left open.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        match read_text(path) {
            Ok(text) => Self::parse(&text).doing(format!("use {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).doing(format!("read {}", path.display())),
        }
    }

    /// Reads the text of a `policy.toml`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| toml_problem(text, &error))?;
        let chain = table.remove("chain").map(|chain| {
            let ids = chain.as_array().map(|ids| ids.iter().map(|id| id.as_str()));
            ids.and_then(|ids| ids.map(|id| id.map(str::to_owned)).collect())
                .ok_or("chain must be a list of component ids, such as [\"default\", \"guarded\"]")
        });
        let mut settings = BTreeMap::new();
        for (id, value) in table {
            if !value.is_table() {
                return Err(format!(
                    "{id} is neither chain nor a table with the settings of a policy"
                ));
            }
            settings.insert(id, serde_json::to_value(value).map_err(|error| error.to_string())?);
        }
        Ok(ChainSettings { chain: chain.transpose()?, settings })
    }

    /// The settings of a policy, a JSON object.
    pub fn of(&self, id: &str) -> String {
        self.settings.get(id).map_or_else(|| "{}".to_owned(), ToString::to_string)
    }

    /// Which of the policies decide, in order. What the person left open: the one that ships and
    /// every other that has settings or was added.
    pub fn order<'a>(&self, policies: impl Iterator<Item = (&'a str, bool)>) -> Vec<String> {
        if let Some(chain) = &self.chain {
            return chain.clone();
        }
        let mut order = vec![DEFAULT.to_owned()];
        order.extend(
            policies
                .filter(|(id, is_added)| {
                    *id != DEFAULT && (*is_added || self.settings.contains_key(*id))
                })
                .map(|(id, _)| id.to_owned()),
        );
        order
    }
}

/// The policy that ships and is in force when nothing was set.
pub const DEFAULT: &str = "default";

/// What holds everything while nobody decides.
const NO_POLICY: &str = "no policy is in force";

/// What keeps a message that one policy rewrites and another one redirects.
const BOTH: &str = "one policy writes another body and another one sends it elsewhere: they do not \
                    go together";

/// One place in the chain.
#[derive(Clone)]
pub struct Link {
    /// The component's id.
    pub id: String,
    /// The policy, or why there is none: then nothing passes.
    pub policy: Result<Arc<Policy>, String>,
    /// What it was granted.
    pub permits: Vec<Permit>,
}

impl Link {
    /// A decision that it was not granted is none.
    fn permitted(&self, decision: Decision) -> Result<Decision, String> {
        let (what, permit) = match decision {
            Decision::Rewrite(_) => ("change what a message says", "rewrite"),
            Decision::Redirect(_) => ("send a message to others", "redirect"),
            other => return Ok(other),
        };
        match self.permits.iter().any(|granted| granted.name() == permit) {
            true => Ok(decision),
            false => Err(format!("it wants to {what}, and it was not granted {permit}")),
        }
    }
}

/// The policies in force. It can be replaced while envelopes are decided about.
#[derive(Default)]
pub struct Chain(RwLock<Arc<Vec<Link>>>);

impl Chain {
    /// Puts other policies in force.
    pub fn replace(&self, links: Vec<Link>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(links);
    }

    /// The policies in force, in order.
    pub fn links(&self) -> Arc<Vec<Link>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RoutingPolicy for Chain {
    fn decide(&self, facts: &Facts<'_>) -> Ruling {
        let links = self.links();
        if links.is_empty() {
            return Err(NO_POLICY.to_owned()).into();
        }
        decide(links.iter().map(|link| (link.id.as_str(), link)), facts, |link, facts| {
            let policy = link.policy.as_ref().map_err(Clone::clone)?;
            link.permitted(policy.decide(facts).map_err(|error| error.to_string())?)
        })
    }

    fn wants_bodies(&self) -> bool {
        self.links()
            .iter()
            .any(|link| link.policy.as_ref().is_ok_and(|policy| policy.wants_bodies()))
    }
}

/// What every policy says by itself.
pub type Said = Vec<(String, Result<Decision, String>)>;

/// Instances of their own of the policies in force: they are asked what would be, and what they
/// count stays with them.
pub struct Rehearsal<'a>(Vec<(&'a Link, Result<Trial<'a>, String>)>);

impl<'a> Rehearsal<'a> {
    /// Fresh instances, which have seen no envelope yet.
    pub fn of(links: &'a [Link]) -> Self {
        let trial = |link: &'a Link| {
            let policy = link.policy.as_ref().map_err(Clone::clone)?;
            policy.try_out().map_err(|error| error.to_string())
        };
        Rehearsal(links.iter().map(|link| (link, trial(link))).collect())
    }

    /// What each says of an envelope, and what that comes to.
    pub fn ask(&mut self, facts: &Facts<'_>) -> (Said, Result<Decision, String>) {
        let said: Said = self
            .0
            .iter_mut()
            .map(|(link, trial)| {
                let says = match trial {
                    Ok(trial) => trial.decide(facts).map_err(|error| error.to_string()),
                    Err(missing) => Err(missing.clone()),
                };
                (link.id.clone(), says.and_then(|decision| link.permitted(decision)))
            })
            .collect();
        let one_by_one = said.iter().map(|(id, says)| (id.as_str(), says));
        let together = match said.is_empty() {
            true => Err(NO_POLICY.to_owned()),
            false => decide(one_by_one, facts, |says, _| says.clone()).decision,
        };
        (said, together)
    }
}

/// Asks one after the other. A denial ends it, because nothing is stricter; a policy without an
/// answer holds; a body that one wrote is what the next one sees, and what a person sees of what is
/// held; of two that send it elsewhere the first one wins.
fn decide<'a, P>(
    policies: impl Iterator<Item = (&'a str, P)>,
    facts: &Facts<'_>,
    ask: impl Fn(P, &Facts<'_>) -> Result<Decision, String>,
) -> Ruling {
    let mut failed = None;
    let mut held = None;
    let mut redirected = None;
    let mut rewritten: Option<String> = None;
    for (id, policy) in policies {
        let facts = match &rewritten {
            None => *facts,
            Some(body) => Facts {
                body: facts.body.map(|_| body.as_str()),
                body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
                ..*facts
            },
        };
        match ask(policy, &facts) {
            Ok(Decision::Deliver) => {}
            Ok(deny @ Decision::Deny(_)) => return Ok(deny).into(),
            Ok(Decision::Hold(reason)) => drop(held.get_or_insert(reason)),
            Ok(Decision::Redirect(to)) => drop(redirected.get_or_insert(to)),
            Ok(Decision::Rewrite(body)) => rewritten = Some(body),
            Err(error) => drop(failed.get_or_insert_with(|| format!("{id}: {error}"))),
        }
    }
    let decision = match (failed, held, redirected, rewritten) {
        (None, None, Some(to), None) => Ok(Decision::Redirect(to)),
        (None, None, None, Some(body)) => Ok(Decision::Rewrite(body)),
        (None, None, None, None) => Ok(Decision::Deliver),
        (failed, held, recipients, body) => {
            let decision = match (failed, held) {
                (Some(error), _) => Err(error),
                (None, Some(reason)) => Ok(Decision::Hold(reason)),
                // Sending a body that one policy wrote to where another one wants it is what
                // neither said.
                (None, None) => Err(BOTH.to_owned()),
            };
            return Ruling { decision, body, recipients };
        }
    };
    decision.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_protocol::routing::{Direction, Peer};

    const PEER: Peer<'static> =
        Peer { pc: None, cwd: "/p", name: "ann", address: "/p@ann", harness: None, person: false };

    fn facts() -> Facts<'static> {
        Facts {
            direction: Direction::Local,
            sender: PEER,
            recipients: &[],
            to: "/p@bob",
            id: "1",
            re: None,
            body_bytes: 2,
            body_type: None,
            body: Some("{}"),
            sent_last_minute: 0,
            now_ms: 0,
        }
    }

    fn rule(decisions: Vec<Result<Decision, String>>) -> Ruling {
        let policies = decisions.into_iter().map(|decision| ("p", decision));
        decide(policies, &facts(), |decision, _| decision)
    }

    fn of(decisions: Vec<Result<Decision, String>>) -> Result<Decision, String> {
        rule(decisions).decision
    }

    #[test]
    fn what_is_held_is_what_the_other_policies_made_of_it() {
        let hold = || Ok(Decision::Hold("wait".to_owned()));
        let rewrite = || Ok(Decision::Rewrite("\"redacted\"".to_owned()));
        let away = || Ok(Decision::Redirect(vec!["x".to_owned()]));
        let broken = || Err("it broke".to_owned());
        for keeps in [hold(), broken()] {
            for decisions in [vec![rewrite(), keeps.clone()], vec![keeps.clone(), rewrite()]] {
                let ruling = rule(decisions);
                assert_eq!(ruling.body.as_deref(), Some("\"redacted\""), "{ruling:?}");
                assert_eq!(ruling.recipients, None);
            }
            let ruling = rule(vec![away(), keeps]);
            assert_eq!(ruling.recipients, Some(vec!["x".to_owned()]), "{ruling:?}");
        }
        let both = rule(vec![rewrite(), away()]);
        assert_eq!(both.decision, Err(BOTH.to_owned()));
        assert!(both.body.is_some() && both.recipients.is_some(), "{both:?}");
    }

    #[test]
    fn the_strictest_decision_wins_wherever_it_stands() {
        let hold = || Ok(Decision::Hold("wait".to_owned()));
        let deny = || Ok(Decision::Deny("no".to_owned()));
        let away = || Ok(Decision::Redirect(vec!["x".to_owned()]));
        let deliver = || Ok(Decision::Deliver);
        let broken = || Err("it broke".to_owned());
        assert_eq!(of(vec![deliver(), hold(), deny()]), deny());
        assert_eq!(of(vec![deny(), broken()]), deny());
        assert_eq!(of(vec![broken(), deny()]), deny());
        assert_eq!(of(vec![hold(), broken()]), Err("p: it broke".to_owned()));
        assert_eq!(of(vec![away(), hold(), deliver()]), hold());
        assert_eq!(of(vec![deliver(), away()]), away());
        assert_eq!(of(vec![deliver(), deliver()]), deliver());
    }

    #[test]
    fn what_a_policy_was_not_granted_it_does_not_decide() {
        let link = |permits: &[&str]| Link {
            id: "p".to_owned(),
            policy: Err(String::new()),
            permits: permits.iter().map(|permit| permit.parse().unwrap()).collect(),
        };
        let rewrite = Decision::Rewrite("1".to_owned());
        let redirect = Decision::Redirect(vec!["/p@bob".to_owned()]);
        assert_eq!(
            link(&["redirect"]).permitted(rewrite.clone()).unwrap_err(),
            "it wants to change what a message says, and it was not granted rewrite"
        );
        assert_eq!(
            link(&["rewrite"]).permitted(redirect.clone()).unwrap_err(),
            "it wants to send a message to others, and it was not granted redirect"
        );
        assert_eq!(link(&["rewrite"]).permitted(rewrite.clone()), Ok(rewrite));
        assert_eq!(link(&["redirect"]).permitted(redirect.clone()), Ok(redirect));
        assert_eq!(link(&[]).permitted(Decision::Deliver), Ok(Decision::Deliver));
    }

    #[test]
    fn the_next_policy_sees_the_body_that_one_wrote() {
        let asked = decide([("a", 1), ("b", 2)].into_iter(), &facts(), |number, facts| {
            Ok(match number {
                1 => Decision::Rewrite("[1,2]".to_owned()),
                _ => Decision::Deny(format!("{} {}", facts.body.unwrap(), facts.body_bytes)),
            })
        });
        assert_eq!(asked.decision, Ok(Decision::Deny("[1,2] 5".to_owned())));
    }

    #[test]
    fn what_was_left_open_is_filled_in() {
        let policies = || [("default", false), ("guarded", false), ("quiet", true)].into_iter();
        let order = |text: &str| ChainSettings::parse(text).unwrap().order(policies());
        assert_eq!(order(""), ["default", "quiet"]);
        assert_eq!(order("[guarded]\nrate = false"), ["default", "guarded", "quiet"]);
        assert_eq!(order("chain = [\"quiet\"]"), ["quiet"]);
    }

    #[test]
    fn settings_reach_the_policy_as_json() {
        let settings = ChainSettings::parse(
            "[guarded]\nrate = { per_minute = 3 }\n[[guarded.rule]]\nname = 'x'",
        )
        .unwrap();
        assert_eq!(settings.of("guarded"), r#"{"rate":{"per_minute":3},"rule":[{"name":"x"}]}"#);
        assert_eq!(settings.of("quiet"), "{}");
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_reason() {
        let refusal = |text: &str| ChainSettings::parse(text).unwrap_err();
        assert_eq!(
            refusal("chain = 'default'"),
            "chain must be a list of component ids, such as [\"default\", \"guarded\"]"
        );
        assert_eq!(
            refusal("order = 1"),
            "order is neither chain nor a table with the settings of a policy"
        );
        assert!(refusal("\n[guarded").starts_with("line 2: "));
    }
}

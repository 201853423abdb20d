//! The actions of an agent, by the names they are called with.

use rp_engine::Actions;
use rp_protocol::actions::Action;

use crate::{api, config::did_you_mean, problem::Problem};

/// One action of a component, for one agent.
pub(super) struct Offered {
    /// What it is called with: its own name, behind the component's id when two components have
    /// an action of this name.
    pub(super) name: String,
    pub(super) actions: Actions,
    action: Action,
}

impl Offered {
    pub(super) fn action(&self) -> &Action {
        &self.action
    }

    pub(super) fn component(&self) -> &str {
        self.actions.id()
    }

    pub(super) fn for_client(self) -> api::Action {
        let component = self.component().to_owned();
        api::Action { action: Action { name: self.name, ..self.action }, component }
    }
}

/// The actions that make sense for agents of a harness.
pub(super) fn offered(components: Vec<Actions>, harness: &str) -> Vec<Offered> {
    let mut offered = Vec::new();
    for actions in components {
        for action in actions.list().iter().filter(|action| action.suits(harness)) {
            offered.push(Offered {
                name: action.name.clone(),
                actions: actions.clone(),
                action: action.clone(),
            });
        }
    }
    let own = offered.iter().map(|one| (one.component(), one.action.name.as_str())).collect();
    let names = names(own);
    for (one, name) in offered.iter_mut().zip(names) {
        one.name = name;
    }
    offered
}

/// What the actions, each with its component, are called with.
fn names(own: Vec<(&str, &str)>) -> Vec<String> {
    let is_alone = |name: &str| own.iter().filter(|(_, other)| *other == name).count() == 1;
    let called = |(component, name): &(&str, &str)| match is_alone(name) {
        true => (*name).to_owned(),
        false => qualified(component, name),
    };
    own.iter().map(called).collect()
}

fn qualified(component: &str, name: &str) -> String {
    format!("{component}/{name}")
}

/// The action with this name, which may always stand behind the id of its component. `lists` says
/// where they are listed.
pub(super) fn find(offered: Vec<Offered>, wanted: &str, lists: &str) -> Result<Offered, Problem> {
    let called: Vec<(&str, &str, &str)> = offered
        .iter()
        .map(|one| (one.name.as_str(), one.component(), one.action.name.as_str()))
        .collect();
    let place = place_of(&called, wanted, lists)?;
    offered.into_iter().nth(place).ok_or_else(|| no_such_action(wanted))
}

fn no_such_action(name: &str) -> Problem {
    Problem::failed(format!("there is no action {name}"))
}

/// Where it stands among these: what each is called with, its component and its own name.
fn place_of(called: &[(&str, &str, &str)], wanted: &str, lists: &str) -> Result<usize, Problem> {
    let is_wanted = |(name, component, own): &(&str, &str, &str)| {
        *name == wanted || qualified(component, own) == wanted
    };
    if let Some(place) = called.iter().position(is_wanted) {
        return Ok(place);
    }
    let same_name = called.iter().filter(|(_, _, own)| *own == wanted);
    let several: Vec<&str> = same_name.map(|(name, _, _)| *name).collect();
    if !several.is_empty() {
        return Err(Problem::usage(format!("several components have an action {wanted}"))
            .hint(format!("name it as {}", several.join(" or "))));
    }
    let names = called.iter().map(|(name, _, _)| *name);
    Err(no_such_action(wanted).hint(did_you_mean(wanted, names, lists)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    const OWN: [(&str, &str); 4] =
        [("core", "compact"), ("core", "new-session"), ("mine", "compact"), ("mine", "tidy")];

    fn found(wanted: &str) -> Result<usize, (String, String)> {
        let names = names(OWN.to_vec());
        let called: Vec<_> =
            names.iter().zip(OWN).map(|(name, own)| (name.as_str(), own.0, own.1)).collect();
        let told = |p: Problem| (p.to_string(), p.hint_text().unwrap_or_default().to_owned());
        place_of(&called, wanted, "see there").map_err(told)
    }

    #[test]
    fn names_that_two_components_have_are_told_apart() {
        assert_eq!(names(OWN.to_vec()), ["core/compact", "new-session", "mine/compact", "tidy"]);
    }

    #[test]
    fn an_action_is_found_by_what_it_is_called_with_and_behind_its_component() {
        assert_eq!(found("tidy"), Ok(3));
        assert_eq!(found("mine/tidy"), Ok(3));
        assert_eq!(found("mine/compact"), Ok(2));
        let hint = "name it as core/compact or mine/compact".to_owned();
        assert_eq!(
            found("compact"),
            Err(("several components have an action compact".to_owned(), hint))
        );
    }

    #[test]
    fn an_unknown_action_is_told_the_closest_one() {
        assert_eq!(
            found("new-sesion"),
            Err((
                "there is no action new-sesion".to_owned(),
                "did you mean new-session? see there".to_owned()
            ))
        );
        let none = ("there is no action xyz".to_owned(), "see there".to_owned());
        assert_eq!(found("xyz"), Err(none));
    }
}

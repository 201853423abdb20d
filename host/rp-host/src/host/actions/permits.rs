//! What a component may have done for its actions.

use rp_protocol::{
    actions::Step,
    component::{ASK, Permit},
    session::{Failure, FailureKind},
};

/// Whether a component with these permits may have this step done; else the reply to the step.
pub fn allow(component: &str, permits: &[Permit], step: &Step) -> Result<(), Failure> {
    let missing = match step {
        Step::Notify { .. } => return Ok(()),
        Step::Command { command } => missing_command(permits, command.name()),
        Step::Ask { .. } => missing_command(permits, ASK),
        Step::Send { to, .. } => missing_recipient(permits, to),
    };
    match missing {
        None => Ok(()),
        Some(permit) => Err(Failure {
            kind: FailureKind::Refused,
            message: format!("the component {component} was not granted {permit}"),
            hint: Some(format!("`rp-host component grant {component} {permit}`")),
        }),
    }
}

fn missing_command(permits: &[Permit], name: &str) -> Option<String> {
    let granted = has(permits, "command", |value| value == name);
    (!granted).then(|| format!("command={name}"))
}

fn missing_recipient(permits: &[Permit], address: &str) -> Option<String> {
    let granted = has(permits, "send", |pattern| fits(pattern, address));
    (!granted).then(|| format!("send={address}"))
}

/// A permit without a value stands for all of them.
fn has(permits: &[Permit], name: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    permits.iter().any(|permit| permit.name() == name && permit.value().is_none_or(&is_meant))
}

/// Whether the whole address fits the pattern, in which `*` stands for any characters.
fn fits(pattern: &str, address: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == address };
    let Some(mut address) = address.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    // What stands between two stars is best found as early as possible.
    for part in parts {
        match address.split_once(part) {
            Some((_, behind)) => address = behind,
            None => return false,
        }
    }
    address.ends_with(last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use rp_protocol::session::Command;
    use serde_json::json;

    use super::*;

    fn refused(granted: &[&str], step: &Step) -> Option<String> {
        let permits: Vec<Permit> = granted.iter().map(|text| text.parse().unwrap()).collect();
        allow("extras", &permits, step).err().map(|failure| {
            assert_eq!(failure.kind, FailureKind::Refused);
            format!("{}; {}", failure.message, failure.hint.unwrap_or_default())
        })
    }

    #[test]
    fn a_step_needs_what_a_person_granted() {
        let ask = Step::Ask { prompt: String::new() };
        assert_eq!(refused(&["command=ask"], &ask), None);
        assert_eq!(refused(&["command"], &ask), None);
        assert_eq!(
            refused(&["command=compact", "send=*"], &ask).unwrap(),
            "the component extras was not granted command=ask; \
             `rp-host component grant extras command=ask`"
        );
        let compact = Step::Command { command: Command::Compact { instructions: None } };
        assert_eq!(refused(&["command=compact"], &compact), None);
        assert!(refused(&["command=ask"], &compact).unwrap().contains("command=compact"));
        assert_eq!(refused(&[], &Step::Notify { text: String::new() }), None);
    }

    #[test]
    fn a_message_goes_only_where_a_pattern_allows_it() {
        let send = Step::Send { to: "/home/ann/web@web".to_owned(), body: json!("hello") };
        for granted in ["send", "send=*", "send=/home/ann/*", "send=/home/ann/web@web"] {
            assert_eq!(refused(&[granted], &send), None, "{granted}");
        }
        assert_eq!(
            refused(&["send=/home/bob/*", "command"], &send).unwrap(),
            "the component extras was not granted send=/home/ann/web@web; \
             `rp-host component grant extras send=/home/ann/web@web`"
        );
    }

    #[test]
    fn a_pattern_fits_the_whole_address_or_not() {
        let cases = [
            ("*", "", true),
            ("*", "any/thing@x", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "a", true),
            ("*a", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*-12", "web-12-12", true),
            ("**", "a", true),
            ("web", "web-1", false),
            ("", "a", false),
        ];
        for (pattern, address, expected) in cases {
            assert_eq!(fits(pattern, address), expected, "{pattern} {address}");
        }
    }
}

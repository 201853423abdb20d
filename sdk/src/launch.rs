//! What most adapters do before they start a harness.

use crate::effects::Effects;
use crate::interface::Failure;
use crate::session::{FailureKind, Severity};

/// A value for the harness's command line, such as the name of a model. `what` says what it names.
///
/// # Errors
/// It is empty or would be taken for an option.
pub fn value(what: &str, value: &str) -> Result<String, Failure> {
    if value.is_empty() || value.starts_with('-') {
        let message = format!("{value:?} is not the name of a {what}");
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(value.to_owned())
}

/// Tells a person that the harness is of a version that the adapter was not tested with. Says
/// nothing when it is one of those, or when it is not known which it is.
pub fn compare_version(printed: Option<&str>, tested: &[&str], effects: &mut Effects) {
    let Some(printed) = printed.filter(|printed| !printed.is_empty() && !tested.contains(printed))
    else {
        return;
    };
    if !tested.is_empty() {
        let tested = tested.join(" and ");
        let text =
            format!("this adapter was tested with {tested}, not with {printed}; most should work");
        effects.notice(Severity::Warning, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_taken_for_an_option() {
        assert_eq!(value("model", "own/model-1"), Ok("own/model-1".to_owned()));
        for wrong in ["", "-x", "--continue"] {
            let failure = Failure::new(
                FailureKind::Invalid,
                format!("{wrong:?} is not the name of a session"),
            );
            assert_eq!(value("session", wrong), Err(failure));
        }
    }

    #[test]
    fn only_a_version_that_was_not_tested_is_told() {
        let told = |printed, tested: &[&str]| {
            let mut effects = Effects::default();
            compare_version(printed, tested, &mut effects);
            effects.take().len()
        };
        assert_eq!(told(Some("1.1"), &["1.0", "2.0"]), 1);
        assert_eq!(told(Some("2.0"), &["1.0", "2.0"]), 0);
        for printed in [None, Some("")] {
            assert_eq!(told(printed, &["1.0"]), 0);
        }
        assert_eq!(told(Some("1.1"), &[]), 0, "nothing is known of any version");
    }
}

//! Where the versions of Pi part.

/// Versions the adapter is tested against.
pub(crate) const TESTED: [&str; 2] = ["0.74.2", "0.87.1"];

/// What this Pi can do, as far as it is known. `None` means that its version does not tell
/// and it has not shown it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// It says `agent_settled` when nothing more will happen, knows `clear_queue`, and
    /// refuses prompts during a compaction instead of losing them.
    pub(crate) settles: Option<bool>,
    /// It has the flag `--approve`, without which it skips the extensions of the project.
    pub(crate) approve_flag: bool,
}

impl Version {
    /// From what `pi --version` printed.
    pub(crate) fn new(printed: Option<&str>) -> Self {
        match printed.and_then(numbers) {
            Some(version) if version >= (0, 87, 0) => {
                Self { settles: Some(true), approve_flag: true }
            }
            Some(version) if version <= (0, 74, 2) => {
                Self { settles: Some(false), approve_flag: false }
            }
            _ => Self { settles: None, approve_flag: false },
        }
    }
}

fn numbers(printed: &str) -> Option<(u32, u32, u32)> {
    let mut parts = printed.trim().trim_start_matches('v').splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_tested_versions_are_told_apart() {
        assert_eq!(
            Version::new(Some("0.74.2")),
            Version { settles: Some(false), approve_flag: false }
        );
        assert_eq!(
            Version::new(Some("0.87.1")),
            Version { settles: Some(true), approve_flag: true }
        );
    }

    #[test]
    fn a_version_between_them_has_to_show_what_it_can() {
        for printed in [Some("0.80.0"), Some("nonsense"), Some(""), None] {
            assert_eq!(Version::new(printed), Version { settles: None, approve_flag: false });
        }
    }

    #[test]
    fn a_newer_version_is_taken_for_the_newest_one_known() {
        for printed in ["0.88.0", "1.0.0-beta.2", "v0.90.3"] {
            assert_eq!(Version::new(Some(printed)).settles, Some(true), "{printed}");
        }
    }
}

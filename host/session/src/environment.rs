//! The environment of a harness process, and where its program is.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::tree::MARKER;

/// The name adapters use for this host's own program.
pub const HOST_PROGRAM: &str = "rp-host";

/// Variables of the host that start with this are its own affair, secrets among them.
const OWN_PREFIX: &str = "RP_";

/// An environment: each name once.
pub(crate) type Environment = std::collections::BTreeMap<OsString, OsString>;

/// What a process inherits from the host, then what the person set for the agent.
pub(crate) fn inherited(agent: &[(String, String)]) -> Environment {
    let mut environment = pass_on(std::env::vars_os());
    environment.extend(agent.iter().map(|(name, value)| (name.into(), value.into())));
    environment
}

fn pass_on(host: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    host.filter(|(name, _)| !name.as_encoded_bytes().starts_with(OWN_PREFIX.as_bytes())).collect()
}

/// Adds what the adapter asks for, with `{dir}` filled in, and the marker of the launch.
pub(crate) fn add_launch(
    environment: &mut Environment,
    launch: &[(String, String)],
    folder: &str,
    run: &str,
) {
    let filled = launch.iter().map(|(name, value)| (name.into(), fill_in(value, folder).into()));
    environment.extend(filled);
    environment.insert(MARKER.into(), run.into());
}

/// Whether a variable can make a program run something else than itself: where programs and their
/// libraries are looked for, and what interpreters load first.
pub(crate) fn decides_what_runs(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "PATH",
        "NODE_OPTIONS",
        "NODE_PATH",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "RUBYLIB",
        "BASH_ENV",
        "ENV",
        "SHELL",
    ];
    NAMES.contains(&name) || name.starts_with("LD_") || name.starts_with("DYLD_")
}

/// Puts the private folder in the place of `{dir}`.
pub(crate) fn fill_in(text: &str, folder: &str) -> String {
    text.replace("{dir}", folder)
}

/// Looks a program up on the PATH of this environment, as a shell would.
pub(crate) fn find_program(name: &str, environment: &Environment) -> Option<PathBuf> {
    let path = environment.get(OsStr::new("PATH"))?;
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_of_the_host_stay_with_the_host() {
        let host = pairs(&[("RP_TOKEN", "s"), (MARKER, "outer"), ("REMOTE_PI_HOME", "/r")]);
        let passed = pass_on(host.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(passed.len(), 1);
        assert!(passed.contains_key(OsStr::new("REMOTE_PI_HOME")));
    }

    #[test]
    fn a_launch_adds_its_own_variables_and_the_marker() {
        let mut environment = Environment::new();
        environment.insert("A".into(), "host".into());
        let launch = pairs(&[("A", "{dir}/a"), ("RP_TOKEN", "agent's")]);
        add_launch(&mut environment, &launch, "/private", "run-1");
        assert_eq!(environment[OsStr::new("A")], "/private/a");
        assert_eq!(environment[OsStr::new("RP_TOKEN")], "agent's");
        assert_eq!(environment[OsStr::new(MARKER)], "run-1");
    }

    #[test]
    fn only_an_executable_file_on_the_path_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let mut environment = Environment::new();
        assert_eq!(find_program("sh", &environment), None);
        let path = format!("relative:{}:/usr/bin:/bin", folder.path().display());
        environment.insert("PATH".into(), path.into());
        assert!(find_program("sh", &environment).unwrap().ends_with("sh"));
        assert_eq!(find_program("plain", &environment), None);
        assert_eq!(find_program("folder", &environment), None);
    }
}

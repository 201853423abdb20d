//! Does a component fit the world it is loaded for? Checked by name before anything of it
//! is linked, so that the message can say what is missing and for which version it was made.

use wasmtime::{Engine, component::types};

use crate::error::LoadError;

/// The version of every package in `wit/` that this program was built with.
const KNOWN: Version = Version { major: 0, minor: 1, patch: 0 };

/// The version of the interfaces that components of this program are built for.
pub fn interface_version() -> String {
    KNOWN.to_string()
}

/// A world: what a component of it may import and must export.
pub(crate) struct World {
    /// What a component of it is, with its article.
    pub(crate) title: &'static str,
    /// Interfaces it may import, without version. WASI 0.2 may always be imported.
    imports: &'static [&'static str],
    /// The interface it must export, without version.
    export: &'static str,
}

pub(crate) const ADAPTER: World = World {
    title: "a harness adapter",
    imports: &["rp:plugin/log", "rp:session/types"],
    export: "rp:harness/adapter",
};

pub(crate) const POLICY: World = World {
    title: "a routing policy",
    imports: &["rp:plugin/log", "rp:plugin/store"],
    export: "rp:routing/policy",
};

pub(crate) const ACTIONS: World = World {
    title: "an action handler",
    imports: &["rp:plugin/log", "rp:plugin/store", "rp:session/types"],
    export: "rp:actions/handler",
};

impl World {
    pub(crate) fn check(
        &self,
        component: &types::Component,
        engine: &Engine,
    ) -> Result<(), LoadError> {
        let imports: Vec<&str> = component.imports(engine).map(|(name, _)| name).collect();
        let exports: Vec<&str> = component.exports(engine).map(|(name, _)| name).collect();
        self.check_names(&imports, &exports)
    }

    fn check_names(&self, imports: &[&str], exports: &[&str]) -> Result<(), LoadError> {
        for name in imports {
            self.check_import(name)?;
        }
        let found = exports.iter().map(|name| split(name)).find(|(name, _)| *name == self.export);
        match found {
            Some((name, version)) => known(name, version),
            None => Err(self.wrong(format!(
                "it does not export {}{}",
                self.export,
                match exports {
                    [] => String::from(", nor anything else"),
                    exports => format!(", but {}", exports.join(", ")),
                }
            ))),
        }
    }

    fn check_import(&self, import: &str) -> Result<(), LoadError> {
        let (name, version) = split(import);
        if name.starts_with("wasi:") {
            return match Version::parse(version) {
                Some(Version { major: 0, minor: 2, .. }) => Ok(()),
                _ => Err(self
                    .wrong(format!("it imports {import}, and this program offers WASI 0.2 only"))),
            };
        }
        if !self.imports.contains(&name) {
            return Err(self.wrong(format!(
                "it imports {import}, and it may only import {} and WASI 0.2",
                self.imports.join(", ")
            )));
        }
        known(name, version)
    }

    /// The component has the right names, and something behind them does not fit.
    pub(crate) fn wrong(&self, detail: String) -> LoadError {
        LoadError::WrongWorld { wanted: self.title, detail }
    }
}

/// The interfaces a component imports, with their versions.
pub(crate) fn imports(component: &types::Component, engine: &Engine) -> Vec<String> {
    component.imports(engine).map(|(name, _)| name.to_owned()).collect()
}

/// Whether this program offers a world, such as `rp:routing/routing-policy@0.1.0`: what a
/// component was built for can be compared before anything of it is looked at.
///
/// # Errors
/// [`LoadError::NewerInterface`] or [`LoadError::OlderInterface`].
pub fn check_world_version(world: &str) -> Result<(), LoadError> {
    let (name, version) = split(world);
    known(name, version)
}

fn known(name: &str, version: &str) -> Result<(), LoadError> {
    let wanted = Version::parse(version);
    if wanted.is_some_and(|wanted| KNOWN.satisfies(wanted)) {
        return Ok(());
    }
    let interface = name.to_owned();
    let known = KNOWN.to_string();
    let newer = wanted.is_some_and(|wanted| wanted > KNOWN);
    let wanted = match version {
        "" => String::from("(without a version)"),
        version => version.to_owned(),
    };
    Err(if newer {
        LoadError::NewerInterface { interface, wanted, known }
    } else {
        LoadError::OlderInterface { interface, wanted, known }
    })
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version =
            Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// Within one minor version of 0.x, and one major version from 1 on, later releases
    /// only add.
    fn satisfies(self, wanted: Version) -> bool {
        let same_line =
            self.major == wanted.major && (self.major > 0 || self.minor == wanted.minor);
        same_line && wanted <= self
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    fn adapter(imports: &[&str], exports: &[&str]) -> Result<(), String> {
        ADAPTER.check_names(imports, exports).map_err(|error| error.to_string())
    }

    #[test]
    fn an_adapter_may_log_and_use_wasi() {
        let imports = ["rp:plugin/log@0.1.0", "rp:session/types@0.1.0", "wasi:cli/stdout@0.2.6"];
        adapter(&imports, &["rp:harness/adapter@0.1.0"]).unwrap();
    }

    #[test]
    fn what_is_missing_or_not_allowed_is_named() {
        assert_eq!(
            adapter(&["rp:plugin/store@0.1.0"], &["rp:harness/adapter@0.1.0"]).unwrap_err(),
            "the component is not a harness adapter: it imports rp:plugin/store@0.1.0, and it \
             may only import rp:plugin/log, rp:session/types and WASI 0.2"
        );
        assert_eq!(
            adapter(&[], &["rp:routing/policy@0.1.0"]).unwrap_err(),
            "the component is not a harness adapter: it does not export rp:harness/adapter, \
             but rp:routing/policy@0.1.0"
        );
        assert_eq!(
            adapter(&[], &[]).unwrap_err(),
            "the component is not a harness adapter: it does not export rp:harness/adapter, \
             nor anything else"
        );
        assert_eq!(
            adapter(&["wasi:cli/stdout@0.3.0"], &["rp:harness/adapter@0.1.0"]).unwrap_err(),
            "the component is not a harness adapter: it imports wasi:cli/stdout@0.3.0, and \
             this program offers WASI 0.2 only"
        );
    }

    #[test]
    fn versions_that_do_not_fit_have_a_sentence_of_their_own() {
        assert_eq!(
            adapter(&[], &["rp:harness/adapter@0.2.0"]).unwrap_err(),
            "the component needs rp:harness/adapter 0.2.0, which is newer than this program \
             knows (0.1.0)\n\nhint: update rp-host"
        );
        assert_eq!(
            adapter(&["rp:plugin/log@0.0.9"], &["rp:harness/adapter@0.1.0"]).unwrap_err(),
            "the component needs rp:plugin/log 0.0.9, which this program no longer supports \
             (it has 0.1.0)\n\nhint: get a newer version of the component"
        );
    }
}

//! Commands for authors of components: a project to begin with, and a file to hand on.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rp_packages::{MANIFEST, Package, SigningKey};
use rp_protocol::component::ComponentId;
use wit_component::ComponentEncoder;

use super::Asking;
use crate::{
    cli::{ComponentKind, Language},
    embedded::TEMPLATES,
    files,
    problem::{Problem, While},
};

impl Asking<'_> {
    /// Writes a project into a new folder.
    pub(super) fn new_component(
        &self,
        kind: ComponentKind,
        folder: &Path,
        language: Language,
    ) -> Result<(), Problem> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ComponentId::parse(&name).is_none() {
            return Err(Problem::usage(format!("{name:?} cannot be the id of a component")).hint(
                "name the folder with lower-case letters, digits and hyphens, beginning with a letter",
            ));
        }
        if folder.exists() {
            return Err(Problem::failed(format!("{} is there already", folder.display()))
                .hint("choose another folder, or remove that one"));
        }
        for (path, content) in project(kind, language) {
            let text = String::from_utf8_lossy(content);
            let text = text.replace("{{id}}", &name).replace("{{name}}", &title(&name));
            write(&folder.join(path), &text)?;
        }
        let written = serde_json::json!({ "id": name, "folder": folder });
        self.show(&written, |_| {
            format!(
                "wrote {}\nits README.md says how to build, test and install it",
                folder.display()
            )
        })
    }

    /// Makes an archive of a package, or a component of a core module.
    pub(super) fn pack(
        &self,
        input: &Path,
        output: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<(), Problem> {
        let (bytes, output) = if input.is_dir() {
            let package = Package::read(input).map_err(|e| Problem::failed(e.to_string()))?;
            let package = match key {
                Some(key) => package.signed(&signing_key(key)?),
                None => package,
            };
            let name = PathBuf::from(format!("{}.rpc", package.manifest.id));
            (package.pack().doing("pack the component")?, output.map_or(name, Path::to_owned))
        } else {
            let output = output.ok_or_else(|| {
                Problem::usage("a component made of a core module needs --output")
                    .hint(format!("a folder with {MANIFEST} is packed into one file"))
            })?;
            (component_of(input)?, output.to_owned())
        };
        fs::write(&output, &bytes).doing(format!("write {}", output.display()))?;
        let sha256 = files::sha256(&bytes);
        let written = serde_json::json!({ "file": output, "bytes": bytes.len(), "sha256": sha256 });
        self.show(&written, |_| {
            format!("{}  {} bytes  sha256 {sha256}", output.display(), bytes.len())
        })
    }
}

/// The files of a project: path in it and content.
fn project(
    kind: ComponentKind,
    language: Language,
) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let (kind, wit): (_, &[(&str, &str)]) = match kind {
        ComponentKind::Adapter => (
            "adapter",
            &[
                ("wit/harness/harness.wit", "wit/harness.wit"),
                ("wit/session/session.wit", "wit/deps/session/session.wit"),
                ("wit/plugin/plugin.wit", "wit/deps/plugin/plugin.wit"),
            ],
        ),
        ComponentKind::Policy => (
            "policy",
            &[
                ("wit/routing/routing.wit", "wit/routing.wit"),
                ("wit/plugin/plugin.wit", "wit/deps/plugin/plugin.wit"),
            ],
        ),
        ComponentKind::Action => (
            "action",
            &[
                ("wit/actions/actions.wit", "wit/actions.wit"),
                ("wit/session/session.wit", "wit/deps/session/session.wit"),
                ("wit/plugin/plugin.wit", "wit/deps/plugin/plugin.wit"),
            ],
        ),
    };
    let language = match language {
        Language::Rust => "rust",
        Language::Js => "js",
        Language::Python => "python",
    };
    let parts =
        [format!("common/{kind}/"), format!("{language}/shared/"), format!("{language}/{kind}/")];
    TEMPLATES.iter().filter_map(move |(path, content)| {
        let copied = wit.iter().find(|(from, _)| from == path).map(|(_, to)| *to);
        let laid_over = parts.iter().find_map(|part| path.strip_prefix(part.as_str()));
        copied.or(laid_over).map(|path| (path, *content))
    })
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let writing = || format!("write {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).doing(writing())?;
    fs::write(path, text).doing(writing())?;
    if text.starts_with("#!") {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).doing(writing())?;
    }
    Ok(())
}

/// `my-policy` for people: `My policy`.
fn title(id: &str) -> String {
    let words = id.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Makes a component of a core module that has its interfaces written in it.
fn component_of(module: &Path) -> Result<Vec<u8>, Problem> {
    let bytes = fs::read(module).doing(format!("read {}", module.display()))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode());
    encoded.map_err(|error| {
        Problem::failed(format!("could not make a component of {}: {error:#}", module.display()))
            .hint("it must be a core module built with wit-bindgen for wasm32-unknown-unknown")
    })
}

/// The key in a file; a new one is written there if there is none.
fn signing_key(path: &Path) -> Result<SigningKey, Problem> {
    match fs::read_to_string(path) {
        Ok(text) => text.parse().doing(format!("use {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::generate().doing("make a key")?;
            files::write_secret(path, key.to_text().as_bytes())
                .doing(format!("write {}", path.display()))?;
            crate::output::note(&format!(
                "wrote a new signing key to {}; keep it safe: who has it can publish as you",
                path.display()
            ));
            Ok(key)
        }
        Err(error) => Err(error).doing(format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_has_its_manifest_its_interfaces_and_a_readme() {
        for kind in [ComponentKind::Adapter, ComponentKind::Policy, ComponentKind::Action] {
            for language in [Language::Rust, Language::Js, Language::Python] {
                let paths: Vec<&str> = project(kind, language).map(|(path, _)| path).collect();
                for wanted in ["component.toml", "README.md", "wit/deps/plugin/plugin.wit"] {
                    assert!(paths.contains(&wanted), "{kind:?} {language:?}: {paths:?}");
                }
                let mut unique = paths.clone();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), paths.len(), "{kind:?} {language:?}: {paths:?}");
            }
        }
    }

    #[test]
    fn an_id_becomes_a_title() {
        assert_eq!(title("my-policy-2"), "My policy 2");
    }
}

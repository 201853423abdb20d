//! Do the interfaces still honour what was released?
//!
//! A folder `wit/released/<version>/` holds a copy of the packages as they were released.
//! While `wit/` carries the same version number it must say the same, comments aside. Once
//! its number is higher, each released world must still be satisfied: what was built
//! against the release must run on a host of today.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use wit_component::{OutputToString, WitPrinter, semver_check};
use wit_parser::{Package, PackageId, Resolve, UnresolvedPackageGroup, WorldId};

const RELEASED: &str = "released";

/// Compares `wit/` with every folder in `wit/released/` and returns one line for each item
/// that broke a promise; none means all is well. It is an error when a folder does not parse
/// or when nothing was released.
pub fn check_released(root: &Path) -> Result<Vec<String>> {
    let current = root.join("wit");
    let releases = folders(&current.join(RELEASED))?;
    if releases.is_empty() {
        bail!("nothing is released: {} is empty", current.join(RELEASED).display());
    }
    let mut broken = Vec::new();
    for release in releases {
        check_one(&current, &release, &mut broken)?;
    }
    Ok(broken)
}

fn check_one(current: &Path, release: &Path, broken: &mut Vec<String>) -> Result<()> {
    let then = Packages::read(release)?;
    let now = Packages::read(current)?;
    for (name, &old) in &then.by_name {
        let Some(&new) = now.by_name.get(name) else {
            broken.push(format!("{name}: the package is gone"));
            continue;
        };
        if then.version(old) == now.version(new) {
            broken.extend(differences(name, &then.items(old)?, &now.items(new)?));
        } else {
            check_worlds(current, release, name, broken)?;
        }
    }
    Ok(())
}

/// Packages that were read together, by name without version.
struct Packages {
    resolve: Resolve,
    by_name: BTreeMap<String, PackageId>,
}

impl Packages {
    fn read(folder: &Path) -> Result<Self> {
        let mut packages = Packages { resolve: Resolve::default(), by_name: BTreeMap::new() };
        packages.add(folder)?;
        Ok(packages)
    }

    /// Adds the packages in the folders of `folder`; those of an earlier call give way to
    /// packages of the same name.
    fn add(&mut self, folder: &Path) -> Result<()> {
        let mut waiting = folders(folder)?;
        waiting.retain(|path| path.file_name().is_some_and(|name| name != RELEASED));
        // Each package needs those it uses in place first.
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut failure = None;
            let mut later = Vec::new();
            for path in waiting {
                match self.add_package(&path) {
                    Ok(()) => {}
                    Err(error) => {
                        failure = Some(error);
                        later.push(path);
                    }
                }
            }
            waiting = later;
            if waiting.len() == before
                && let Some(error) = failure
            {
                return Err(error.context(format!("cannot read {}", folder.display())));
            }
        }
        Ok(())
    }

    fn add_package(&mut self, path: &Path) -> Result<()> {
        let group = UnresolvedPackageGroup::parse_dir(path)?;
        let mut resolve = self.resolve.clone();
        let package = resolve.push_group(group)?;
        self.resolve = resolve;
        let name = &self.package(package).name;
        self.by_name.insert(format!("{}:{}", name.namespace, name.name), package);
        Ok(())
    }

    #[allow(clippy::indexing_slicing, reason = "the arena gave out the id it is asked for")]
    fn package(&self, package: PackageId) -> &Package {
        &self.resolve.packages[package]
    }

    fn version(&self, package: PackageId) -> Option<String> {
        self.package(package).name.version.as_ref().map(ToString::to_string)
    }

    fn worlds(&self, package: PackageId) -> BTreeMap<String, WorldId> {
        self.package(package).worlds.iter().map(|(name, &world)| (name.clone(), world)).collect()
    }

    /// The package's items and what each says, without comments.
    fn items(&self, package: PackageId) -> Result<BTreeMap<String, String>> {
        let mut printer = WitPrinter::<OutputToString>::default();
        printer.emit_docs(false).print(&self.resolve, package, &[])?;
        Ok(split_items(&printer.output.to_string()))
    }
}

/// Cuts a printed package into its items: `interface types: record image` and so on. The
/// printer indents by two spaces and writes one item of an interface or world at a time.
fn split_items(text: &str) -> BTreeMap<String, String> {
    let mut items: BTreeMap<String, String> = BTreeMap::new();
    let mut outer = String::new();
    let mut item = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let opening = !line.trim().starts_with('}');
        if depth == 0 && opening {
            outer = title(line);
            item.clear();
        } else if depth == 2 && opening {
            item = format!(": {}", title(line));
        }
        let entry = items.entry(format!("{outer}{item}")).or_default();
        entry.push_str(line.trim());
        entry.push('\n');
    }
    items
}

/// The words of a line that name its item.
fn title(line: &str) -> String {
    let end = line.find(['{', ':', '=', ';', '(']).unwrap_or(line.len());
    let words = line.get(..end).unwrap_or(line).trim();
    match words.split_once(' ') {
        // `use`, `import` and `export` lines are named by all they say.
        Some(("use" | "import" | "export" | "package", _)) => {
            line.trim().trim_end_matches([';', '{', ' ']).to_owned()
        }
        _ => words.to_owned(),
    }
}

fn differences(
    package: &str,
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (item, old) in then {
        match now.get(item) {
            None => lines.push(format!("{package}: {item} is gone")),
            Some(new) if new != old => lines.push(format!("{package}: {item} changed")),
            Some(_) => {}
        }
    }
    for item in now.keys().filter(|item| !then.contains_key(*item)) {
        lines.push(format!("{package}: {item} is new; a released version does not grow"));
    }
    lines
}

fn check_worlds(
    current: &Path,
    release: &Path,
    package: &str,
    broken: &mut Vec<String>,
) -> Result<()> {
    let mut both = Packages::read(release)?;
    let then = both.by_name.get(package).map(|&id| both.worlds(id)).unwrap_or_default();
    both.add(current)?;
    let now = both.by_name.get(package).map(|&id| both.worlds(id)).unwrap_or_default();
    for (name, old) in then {
        let Some(&new) = now.get(&name) else {
            broken.push(format!("{package}: world {name} is gone"));
            continue;
        };
        if let Err(error) = semver_check(both.resolve.clone(), old, new) {
            broken.push(format!("{package}: world {name} is not compatible: {error:#}"));
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    const PACKAGES: &[&str] = &["actions", "harness", "plugin", "routing", "session"];

    /// A repository whose `wit/` is ours and was released as it is.
    fn repository() -> tempfile::TempDir {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let root = tempfile::tempdir().unwrap();
        for package in PACKAGES {
            let file = format!("{package}.wit");
            for folder in ["wit", "wit/released/0.1.0"] {
                let folder = root.path().join(folder).join(package);
                fs::create_dir_all(&folder).unwrap();
                fs::copy(ours.join(package).join(&file), folder.join(&file)).unwrap();
            }
        }
        root
    }

    fn edit(root: &Path, package: &str, from: &str, to: &str) {
        let path = root.join("wit").join(package).join(format!("{package}.wit"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn raise_version(root: &Path) {
        for package in PACKAGES {
            edit(root, package, "@0.1.0", "@0.1.1");
        }
    }

    #[test]
    fn an_unchanged_interface_is_fine() {
        assert_eq!(check_released(repository().path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_comment_may_change() {
        let root = repository();
        edit(root.path(), "routing", "/// One end of a message.", "/// Either end.");
        assert_eq!(check_released(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_changed_item_of_a_released_version_is_named() {
        let root = repository();
        edit(root.path(), "routing", "sent-last-minute: u32", "sent-last-minute: u64");
        edit(root.path(), "plugin", "set: func(key: string,", "put: func(key: string,");
        assert_eq!(
            check_released(root.path()).unwrap(),
            [
                "rp:plugin: interface store: set is gone",
                "rp:plugin: interface store: put is new; a released version does not grow",
                "rp:routing: interface policy: record facts changed",
            ]
        );
    }

    #[test]
    fn a_new_version_may_import_more() {
        let root = repository();
        raise_version(root.path());
        edit(
            root.path(),
            "harness",
            "  export adapter;",
            "  import rp:plugin/store@0.1.1;\n  export adapter;",
        );
        assert_eq!(check_released(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_new_version_may_not_change_what_old_components_export() {
        let root = repository();
        raise_version(root.path());
        edit(root.path(), "routing", "deliver,", "deliver, drop,");
        let broken = check_released(root.path()).unwrap();
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(
            broken.iter().all(|line| line
                .starts_with("rp:routing: world routing-policy is not compatible:")),
            "{broken:?}"
        );
    }

    #[test]
    fn nothing_released_is_an_error() {
        let root = repository();
        fs::remove_dir_all(root.path().join("wit/released/0.1.0")).unwrap();
        let error = check_released(root.path()).unwrap_err().to_string();
        assert!(error.starts_with("nothing is released: "), "{error}");
    }
}

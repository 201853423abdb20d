//! Compiling all guests in one cargo invocation and turning each into a component.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::{Guest, Progress, SOURCES, Toolchain, command::run, find_toolchain, toolchain::TARGET};

/// Builds every first-party component of the repository at `root`. Cargo works in
/// `<target_dir>/guests`; a component is `<target_dir>/components/<id>.wasm`, and its file
/// is only touched when its content changes.
pub fn build(root: &Path, target_dir: &Path, progress: &mut Progress) -> Result<Vec<Guest>> {
    let toolchain = find_toolchain(root)?;
    progress(&format!("compiling guests: {}", toolchain.summary()));
    let work = target_dir.join("guests");
    compile(&toolchain, root, &work, progress)?;

    let components = target_dir.join("components");
    fs::create_dir_all(&components)
        .with_context(|| format!("cannot create {}", components.display()))?;
    SOURCES
        .iter()
        .map(|source| {
            let file = format!("{}.wasm", source.package.replace('-', "_"));
            let module = work.join(TARGET).join("release").join(file);
            let component = components.join(format!("{}.wasm", source.id));
            let bytes = encode(&module)?;
            replace_if_changed(&component, &bytes)?;
            let manifest = root.join(source.folder).join("component.toml");
            Ok(Guest { id: source.id, manifest, component })
        })
        .collect()
}

fn compile(toolchain: &Toolchain, root: &Path, work: &Path, progress: &mut Progress) -> Result<()> {
    let mut command = toolchain.cargo_build(&root.join("adapters"));
    command.args(["--release", "--locked", "--target-dir"]).arg(work);
    for source in SOURCES {
        command.args(["--package", source.package]);
    }
    run(command, progress).context("cannot compile the guests")
}

fn encode(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("cannot make a component of {}", module.display()))
}

fn replace_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let temporary = with_suffix(path, process::id());
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn with_suffix(path: &Path, suffix: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn a_file_that_would_not_change_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.wasm");
        replace_if_changed(&path, b"one").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        replace_if_changed(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        replace_if_changed(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}

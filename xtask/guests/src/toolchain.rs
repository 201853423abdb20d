//! How guests can be compiled on this machine.
//!
//! A compiler does when it has the standard library for the target, or the library's
//! sources to build it from. Rustup's own compiler is asked first, then the distribution's:
//! Debian and Ubuntu ship a compiler for the web (`rustc-web`) with matching sources.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    Progress,
    command::{clean, output, run, succeeds_within},
};

/// What guests are compiled for: plain WebAssembly, so that they import nothing but the
/// interfaces they name.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// How long rustup may take before the next way is tried.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

const NOTHING_FOUND: &str = "cannot compile WebAssembly guests: no Rust compiler here has the target wasm32-unknown-unknown or the sources of its library

hint: run `rustup target add wasm32-unknown-unknown`, or on Debian and Ubuntu `apt-get install rustc-web cargo-web rust-web-src lld`";

/// A way to compile guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    library: Library,
}

/// Where the target's standard library comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Library {
    /// It is installed.
    Installed,
    /// It is built from its sources, and linked by this linker.
    FromSources { linker: PathBuf },
}

impl Toolchain {
    /// `cargo build` for the target, in `folder`.
    pub(crate) fn cargo_build(&self, folder: &Path) -> Command {
        let mut command = clean(&self.cargo, folder);
        command
            .env("RUSTC", &self.rustc)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never")
            .args(["build", "--target", TARGET]);
        if let Library::FromSources { linker } = &self.library {
            // `build-std` is not stable; the variable lets a stable compiler take it.
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .arg("-Zbuild-std=std,panic_abort");
        }
        command
    }

    /// What `cargo build --target wasm32-unknown-unknown` needs in its environment to use this.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("RUSTC", self.rustc.clone().into())];
        if let Some(folder) = self.cargo.parent().filter(|folder| folder.is_absolute()) {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
            variables.extend(env::join_paths(folders).ok().map(|path| ("PATH", path)));
        }
        if let Library::FromSources { linker } = &self.library {
            variables.extend([
                ("RUSTC_BOOTSTRAP", "1".into()),
                ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
                ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker.clone().into()),
            ]);
        }
        variables
    }

    /// One line that says which compiler is used and where its library comes from.
    pub fn summary(&self) -> String {
        let library = match &self.library {
            Library::Installed => format!("with {TARGET} installed"),
            Library::FromSources { linker } => {
                format!("building the library from its sources, linker {}", linker.display())
            }
        };
        format!("{} {library}", self.rustc.display())
    }
}

/// Finds a way to compile the guests of the repository at `root`; the error says what to
/// install.
pub fn find_toolchain(root: &Path) -> Result<Toolchain> {
    let candidates = [("cargo", "rustc"), ("/usr/bin/cargo", "/usr/bin/rustc")];
    let mut without_linker = None;
    for (cargo, rustc) in candidates {
        let Some(sysroot) = sysroot(rustc, root) else {
            continue;
        };
        let library = sysroot.join("lib/rustlib");
        let found = |library| Toolchain { cargo: cargo.into(), rustc: rustc.into(), library };
        if library.join(TARGET).join("lib").is_dir() {
            return Ok(found(Library::Installed));
        }
        if !library.join("src/rust/library/Cargo.lock").is_file() {
            continue;
        }
        match find_linker(root) {
            Some(linker) => return Ok(found(Library::FromSources { linker })),
            None => without_linker = Some(rustc),
        }
    }
    match without_linker {
        Some(rustc) => bail!(
            "cannot compile WebAssembly guests: {rustc} has the library's sources, but there is no linker for WebAssembly\n\nhint: on Debian and Ubuntu run `apt-get install lld`"
        ),
        None => bail!(NOTHING_FOUND),
    }
}

/// Finds a way to compile guests, and installs one where there is none: rustup's target, or
/// else Debian's packages when we may install packages.
pub fn install_toolchain(root: &Path, progress: &mut Progress) -> Result<Toolchain> {
    if let Ok(found) = find_toolchain(root) {
        return Ok(found);
    }
    progress(&format!("installing {TARGET} with rustup"));
    let mut rustup = clean("rustup", root);
    rustup.args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "0");
    if succeeds_within(rustup, RUSTUP_LIMIT)
        && let Ok(found) = find_toolchain(root)
    {
        return Ok(found);
    }
    if let Some(prefix) = package_manager(root) {
        progress("rustup cannot; installing Debian's compiler for the web");
        install_packages(&prefix, DEBIAN_PACKAGES, root, progress)?;
        if find_linker(root).is_none() {
            install_packages(&prefix, &["lld"], root, progress)?;
        }
    }
    find_toolchain(root)
}

fn sysroot(rustc: &str, root: &Path) -> Option<PathBuf> {
    let mut command = clean(rustc, root);
    command.args(["--print", "sysroot"]);
    output(command).map(PathBuf::from)
}

/// A linker that knows WebAssembly: the one that comes with rustup's compilers, or LLVM's.
fn find_linker(root: &Path) -> Option<PathBuf> {
    let mut version = clean("rustc", root);
    version.arg("-vV");
    let host = output(version).and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("host: ")?.to_owned().into())
    });
    if let (Some(host), Some(sysroot)) = (host, sysroot("rustc", root)) {
        let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        if linker.is_file() {
            return Some(linker);
        }
    }
    ["wasm-ld", "rust-lld"].into_iter().find_map(on_path)
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The start of an `apt-get` command that may install packages; empty for the administrator.
fn package_manager(root: &Path) -> Option<Vec<&'static str>> {
    on_path("apt-get")?;
    let mut who = clean("id", root);
    who.arg("-u");
    if output(who).as_deref() == Some("0") {
        return Some(Vec::new());
    }
    let mut sudo = clean("sudo", root);
    sudo.args(["-n", "true"]);
    output(sudo).map(|_| vec!["sudo", "-n"])
}

fn install_packages(
    prefix: &[&'static str],
    packages: &[&str],
    root: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let apt_get = |arguments: &[&str]| {
        let mut words = prefix
            .iter()
            .copied()
            .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .chain(arguments.iter().copied());
        let mut command = clean(words.next().unwrap_or("apt-get"), root);
        command.args(words);
        command
    };
    progress("apt-get update");
    // A broken third-party source fails the update and need not concern our packages.
    if let Err(error) = run(apt_get(&["update"]), progress) {
        progress(&format!("{error:#}"));
    }
    progress(&format!("apt-get install {}", packages.join(" ")));
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    run(apt_get(&arguments), progress)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn a_library_from_sources_names_its_linker() {
        let toolchain = Toolchain {
            cargo: "/usr/bin/cargo".into(),
            rustc: "/usr/bin/rustc".into(),
            library: Library::FromSources { linker: "/usr/bin/wasm-ld".into() },
        };
        let command = toolchain.cargo_build(Path::new("/"));
        assert!(command.get_args().any(|argument| argument == "-Zbuild-std=std,panic_abort"));
        let names: Vec<_> = toolchain.environment().into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"CARGO_UNSTABLE_BUILD_STD") && names.contains(&"PATH"));
        assert_eq!(
            toolchain.summary(),
            "/usr/bin/rustc building the library from its sources, linker /usr/bin/wasm-ld"
        );
    }
}

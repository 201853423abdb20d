//! The real `rp-host`, run as a program on a state root of its own.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::{PATIENCE, control::Control, network, target};

/// A daemon with a state root that vanishes with it. Dropping it ends the daemon and whatever
/// the daemon started.
pub struct Host {
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    namespace: Option<String>,
    daemon: Option<Child>,
}

/// A state root in which this very program has compiled its components.
fn compiled(program: &Path) -> Result<PathBuf> {
    let built = fs::metadata(program)?;
    let since = built.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let folder = target::folder()?.join("tmp/compiled").join(format!("{}-{since}", built.len()));
    fs::create_dir_all(&folder)?;
    // Tests are programs of their own, and one of them does it for all.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let done = folder.join("done");
    if !done.exists() {
        let mut command = Command::new(program);
        command.arg("compile-components").env("REMOTE_PI_HOME", &folder).stdin(Stdio::null());
        ensure!(command.status()?.success(), "the components could not be compiled");
        File::create(done)?;
    }
    Ok(folder)
}

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; nothing when a signal ended it.
    pub code: Option<i32>,
}

impl Host {
    /// A state root without a daemon.
    ///
    /// The program is the one in the environment variable `RP_HOST_BIN`, else the one cargo
    /// built beside the tests.
    pub fn stopped(environment: Vec<(String, String)>) -> Result<Self> {
        let program = target::program("rp-host", "RP_HOST_BIN")?;
        // The path of a Unix socket may have 107 bytes at most, so no long TMPDIR. And no
        // symbolic links, because processes are recognised by their folder.
        let folder =
            tempfile::Builder::new().prefix("rp-").tempdir_in(fs::canonicalize("/tmp")?)?;
        Ok(Self { program, folder, environment, namespace: None, daemon: None })
    }

    /// Every state root compiles the components that ship before its first daemon is ready. For the
    /// tests together that is done once; what it costs is measured by the bench.
    pub fn bring_compiled_components(&self) -> Result<()> {
        let host = self.root().join("host");
        if host.join("cache").exists() {
            return Ok(());
        }
        let mut from = compiled(&self.program)?.join(".pi/remote/host");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(host.join("cache"))?;
        fs::copy(from.join("cache.key"), host.join("cache.key"))?;
        from.push("cache");
        for entry in fs::read_dir(&from)? {
            let name = entry?.file_name();
            fs::copy(from.join(&name), host.join("cache").join(&name))?;
        }
        Ok(())
    }

    /// Has the program run in a network namespace from now on.
    #[must_use]
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// A state root without a daemon, with a copy of all files of this one, as a machine has that
    /// was copied disk and all.
    pub fn copied(&self) -> Result<Self> {
        let copy = Self::stopped(self.environment.clone())?;
        copy_files(&self.root(), &copy.root())?;
        Ok(copy)
    }

    /// A daemon that is ready, with these variables in its environment.
    pub async fn start(environment: Vec<(String, String)>) -> Result<Self> {
        let mut host = Self::stopped(environment)?;
        host.start_again().await?;
        Ok(host)
    }

    /// Starts the daemon on the state root as it is now, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        self.bring_compiled_components()?;
        let log = File::create(self.log())?;
        let mut command = self.command();
        command.arg("serve").current_dir(self.folder.path()).envs(self.variables());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(command.spawn().context("start rp-host")?);
        self.until_ready().await
    }

    fn command(&self) -> Command {
        network::command(self.namespace.as_deref(), &self.program)
    }

    /// A foreign process tells nobody that it is ready, so this asks again and again.
    async fn until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let asked = self.get("/v1/status").await;
            let Err(error) = asked else { return Ok(()) };
            let ended = self.daemon.as_mut().context("no daemon")?.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let how = ended.map_or("is not ready".to_owned(), |how| format!("ended: {how}"));
                bail!("`rp-host serve` {how} ({error:#}); it said:\n{}", self.said());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What a program needs in its environment to use this state root.
    pub fn variables(&self) -> Vec<(String, String)> {
        let root = ("REMOTE_PI_HOME".to_owned(), self.folder.path().display().to_string());
        self.environment.iter().cloned().chain([root]).collect()
    }

    /// What the daemon printed since it was last started.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    /// The state root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join(".pi/remote")
    }

    /// The broker's socket.
    pub fn broker(&self) -> PathBuf {
        self.root().join("sessions/local/broker.sock")
    }

    /// The control API's socket.
    pub fn control(&self) -> PathBuf {
        self.root().join("host/host.sock")
    }

    /// The control API, for whoever must not hold the host.
    pub fn api(&self) -> Control {
        Control { socket: self.control() }
    }

    /// A new folder for an agent to work in.
    pub fn agent_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("agents").join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The daemon's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Runs a command of the program to its end.
    ///
    /// # Errors
    /// When it does not end within [`PATIENCE`].
    pub async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command());
        command.args(arguments).envs(self.variables()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.context("the command does not end")??;
        Ok(Output {
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
            code: output.status.code(),
        })
    }

    /// Runs a command that must succeed, with `--json`, and gives what it printed.
    pub async fn run_json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        let mut arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        arguments.push(OsStr::new("--json"));
        let output = self.run(&arguments).await?;
        ensure!(output.code == Some(0), "{arguments:?} failed: {output:?}");
        serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {}", output.stdout))
    }

    /// Keeps an agent of the demo harness in a new folder, and gives what is known of it.
    pub async fn create(&self, name: &str) -> Result<Value> {
        let folder = self.agent_folder(name)?;
        let folder = folder.to_str().context("the folder's path is no text")?;
        self.run_json(&["create", folder, "--harness", "demo"]).await
    }

    /// Asks the control API.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.api().get(path).await
    }

    /// Asks the control API again and again, until what it answers is as wanted.
    ///
    /// # Errors
    /// When it does not become so in time; the text has the last answer.
    pub async fn until(
        &self,
        patience: Duration,
        path: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await?;
            if wanted(&answer) {
                return Ok(answer);
            }
            ensure!(start.elapsed() < patience, "it never became so: {answer}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Tells the control API.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.api().post(path, body).await
    }

    /// The status of an answer of the control API to whoever has this token.
    pub async fn status_of(&self, method: &str, path: &str, token: &str) -> Result<u16> {
        let stream = UnixStream::connect(self.control()).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("authorization", format!("Bearer {token}"));
        let response = sender.send_request(request.body(Full::new(Bytes::new()))?).await?;
        connection.abort();
        Ok(response.status().as_u16())
    }

    /// The first `count` events that a session's stream gives for this query, such as `after=7`.
    pub async fn events(&self, agent: &str, query: &str, count: usize) -> Result<Vec<Value>> {
        let mut events = self.events_until(agent, query, |events| events.len() >= count).await?;
        events.truncate(count);
        Ok(events)
    }

    /// What a session's stream gives for this query until that suffices.
    pub async fn events_until(
        &self,
        agent: &str,
        query: &str,
        suffices: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let reading = async {
            let stream = UnixStream::connect(self.control()).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let path = format!("/v1/agents/{agent}/events?{query}");
            let request = Request::builder().uri(path).header("host", "localhost");
            let response = sender.send_request(request.body(Full::new(Bytes::new()))?).await?;
            let mut body = response.into_body();
            let mut text = Vec::new();
            while !suffices(&events) {
                let frame = body.frame().await.context("the stream ended")??;
                text.extend_from_slice(frame.data_ref().context("no data")?);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    if let Some(json) = line.strip_prefix(b"data:") {
                        events.push(serde_json::from_slice(json)?);
                    }
                }
            }
            connection.abort();
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(read) => read.map(|()| events),
            Err(_) => bail!("the events do not come; these came: {events:#?}"),
        }
    }

    /// Ends the daemon without a warning. What it started goes on.
    pub fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Ends the daemon as a person would, and waits for it.
    pub async fn stop(&mut self) -> Result<Output> {
        let output = self.run(&["stop"]).await?;
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        tokio::task::spawn_blocking(move || wait_or_kill(&mut daemon)).await?;
        Ok(output)
    }

    /// The processes that work in this host's folders, the daemon aside.
    pub fn processes(&self) -> Vec<u32> {
        let daemon = self.pid();
        processes_in(self.folder.path()).filter(|pid| Some(*pid) != daemon).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(daemon.id(), Signal::TERM);
            wait_or_kill(&mut daemon);
        }
        for pid in processes_in(self.folder.path()) {
            signal(pid, Signal::KILL);
        }
    }
}

/// Copies files and folders; what is neither, such as a socket, is left out.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let mode = fs::metadata(from)?.permissions().mode();
    fs::DirBuilder::new().recursive(true).mode(mode).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_files(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn wait_or_kill(daemon: &mut Child) {
    let start = Instant::now();
    while matches!(daemon.try_wait(), Ok(None)) {
        if start.elapsed() > PATIENCE {
            let _ = daemon.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Processes that work in this folder or below it, or have it in their environment. Needs
/// Linux's /proc; elsewhere there are none.
fn processes_in(folder: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let works_in = fs::read_link(entry.path().join("cwd")).ok()?;
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let folder_text = folder.as_os_str().as_encoded_bytes();
        let names_it = environment.windows(folder_text.len()).any(|part| part == folder_text);
        (works_in.starts_with(folder) || names_it).then_some(pid)
    })
}

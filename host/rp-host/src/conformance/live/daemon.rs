//! A daemon that a live run has to itself.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use super::super::Subject;
use crate::{
    api,
    client::Client,
    files,
    paths::StateRoot,
    problem::{Problem, While},
};

/// How long it may take to start, and to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon whose state root vanishes with it.
pub struct Daemon {
    /// Everything of it is in here.
    pub folder: TempDir,
    /// Speaks to it.
    pub client: Client,
    child: Child,
}

impl Daemon {
    /// Starts one, with what the person's own has compiled.
    pub async fn start(root: &StateRoot) -> Result<Self, Problem> {
        // The path of a socket may have 107 bytes, so no long TMPDIR.
        let folder = tempfile::Builder::new().prefix("rp-live-").tempdir_in("/tmp");
        let folder = folder.doing("make a temporary folder")?;
        let host = folder.path().join(".pi/remote/host");
        bring_compiled(root, &host).doing("copy the compiled components")?;
        let log = std::fs::File::create(folder.path().join("serve.log"));
        let child = tokio::process::Command::new(std::env::current_exe().doing("find myself")?)
            .arg("serve")
            .env("REMOTE_PI_HOME", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.doing("write a temporary file")?)
            // Ctrl-C at the terminal is for this command, which then ends the daemon in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .doing("start a daemon")?;
        let client = Client::new(host.join("host.sock"));
        let mut daemon = Daemon { folder, client, child };
        let client = daemon.client.clone();
        let ended = || !matches!(daemon.child.try_wait(), Ok(None));
        if client.wait_until_up(LIMIT, ended).await {
            return Ok(daemon);
        }
        let said = std::fs::read_to_string(daemon.folder.path().join("serve.log"));
        let said = said.unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing");
        Err(Problem::failed(format!("a daemon for the test did not start: {last}")))
    }

    /// Puts the component that is tested in force, unless it is.
    pub async fn install(&self, subject: &Subject) -> Result<(), Problem> {
        let Some(archive) = subject.archive()? else { return Ok(()) };
        let path = self.folder.path().join("subject.rpc");
        std::fs::write(&path, archive).doing("write a temporary file")?;
        let grant = Some(api::GrantChoice::All(api::All::All));
        let add = api::AddComponent { path: path.display().to_string(), grant };
        let added: api::Component = self.client.post("/v1/components", &add).await?;
        match added.state.as_str() {
            "ready" => Ok(()),
            state => Err(Problem::failed(format!("{} is {state} when installed", added.id))),
        }
    }

    /// Ends it and all it started.
    pub async fn stop(mut self) {
        let asked: Result<Value, Problem> = self.client.post("/v1/stop", &()).await;
        if asked.is_ok() {
            let _ = tokio::time::timeout(LIMIT, self.child.wait()).await;
        }
        let _ = self.child.kill().await;
    }
}

/// Compiling everything that ships takes longer than all the rest.
fn bring_compiled(root: &StateRoot, host: &Path) -> std::io::Result<()> {
    let to = host.join("cache");
    files::private_folder(&to)?;
    if root.cache_key().exists() && root.cache().exists() {
        std::fs::copy(root.cache_key(), host.join("cache.key"))?;
        for entry in std::fs::read_dir(root.cache())?.flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

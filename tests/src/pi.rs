//! A real Pi in its RPC mode, driven without a host.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    PATIENCE,
    home::Home,
    install::{self, PiVersion},
};

/// A process of Pi with a home and a project folder of its own. It ends when this is dropped.
pub struct PiProcess {
    /// How many tool calls have failed so far.
    pub failed_tools: usize,
    version: PiVersion,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
    _home: Home,
    _project: TempDir,
}

impl PiProcess {
    /// Installs this Pi where it is missing and starts it on a scripted model.
    pub async fn start(
        version: PiVersion,
        model_url: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let pi = tokio::task::spawn_blocking(move || install::pi(version)).await??;
        let home = Home::new(model_url, &[pi])?;
        let project = TempDir::new()?;
        let mut command = Command::new(home.program("pi"));
        command.args(["--mode", "rpc", "--no-session"]).args(arguments);
        // These tests may themselves run below a host.
        for name in ["RP_HOST_SOCKET", "RP_AGENT_TOKEN", "RP_AGENT_ID"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied()).current_dir(project.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("start Pi")?;
        Ok(Self {
            failed_tools: 0,
            version,
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(child.stdout.take().context("no output")?),
            _child: child,
            _home: home,
            _project: project,
        })
    }

    /// Sends a command.
    pub async fn send(&mut self, command: &Value) -> Result<()> {
        Ok(self.input.write_all(format!("{command}\n").as_bytes()).await?)
    }

    /// Sends a prompt.
    pub async fn prompt(&mut self, text: &str) -> Result<()> {
        self.send(&json!({ "type": "prompt", "message": text })).await
    }

    /// The next event or answer.
    pub async fn next(&mut self) -> Result<Value> {
        // Not `lines`: that would end lines at a carriage return too.
        let mut line = Vec::new();
        let read = timeout(PATIENCE, self.output.read_until(b'\n', &mut line));
        anyhow::ensure!(read.await.context("Pi is silent")?? > 0, "Pi ended");
        serde_json::from_slice(&line).context("Pi printed a line that is not JSON")
    }

    /// Reads to the end of the turn, retries included, and gives what was said in it: the
    /// messages of the `agent_end` event.
    pub async fn until_the_turn_ends(&mut self) -> Result<Value> {
        let says_when_it_is_over = self.version != PiVersion::V0_74_2;
        let mut messages = Value::Null;
        loop {
            let mut event = self.next().await?;
            let is = |key: &str, value: bool| event.get(key) == Some(&Value::Bool(value));
            match event.get("type").and_then(Value::as_str).unwrap_or_default() {
                "tool_execution_end" if is("isError", true) => self.failed_tools += 1,
                "agent_end" => {
                    messages = event.get_mut("messages").map(Value::take).unwrap_or_default();
                    if !says_when_it_is_over && !will_retry(&messages) {
                        return Ok(messages);
                    }
                }
                "auto_retry_end" if !says_when_it_is_over && is("success", false) => {
                    return Ok(messages);
                }
                "agent_settled" => return Ok(messages),
                _ => {}
            }
        }
    }
}

/// Whether the older Pi, which does not say so, goes on after this end: it retries the errors
/// it takes for passing ones.
fn will_retry(messages: &Value) -> bool {
    let last = messages.as_array().and_then(|messages| messages.last());
    let error = last.and_then(|last| last.get("errorMessage")).and_then(Value::as_str);
    error.is_some_and(|error| !error.starts_with("400") && !error.contains("abort"))
}

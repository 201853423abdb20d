//! Transcripts: what an adapter was told while its harness worked, to be told again.
//!
//! A transcript is a file of JSON lines, one for each thing that happened, in order:
//!
//! | line | meaning |
//! |---|---|
//! | `{"dir":"launch","harness":"parrot"}` | how it was launched: also `model`, `resume`, `version`, `settings`, and `"mesh":true` |
//! | `{"dir":"command","at_ms":3,"command":{"type":"prompt","text":"hello"}}` | what a client wished |
//! | `{"dir":"out","at_ms":5,"line":"…"}` | a line from the harness; `err` is one of standard error |
//! | `{"dir":"in","at_ms":4,"line":"…"}` | a line to the harness, for who reads it; it is not compared |
//! | `{"dir":"exit","at_ms":9,"code":0}` | how it ended, or `"signal":9`; without it, with code 0 |
//!
//! Where a folder has `sessions.jsonl`, its lines say instead what the adapter was told: a number is
//! that line of the recording it names. `rp_sdk` writes that file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rp_protocol::session::{Command, Exit, LaunchRequest, McpServer, MeshAccess};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Folders within folders that are looked into.
const DEPTH: usize = 4;

/// A transcript.
#[derive(Debug)]
pub struct Transcript {
    /// Where it stands, below the folder of transcripts.
    pub name: String,
    /// The harness it is of; the first that the adapter drives where that is not said.
    pub harness: Option<String>,
    /// How it was launched.
    pub request: LaunchRequest,
    /// What the adapter was told, with the milliseconds since the start where they are known.
    pub told: Vec<(Option<u64>, Told)>,
}

/// A call into an adapter.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A line of output, or what was read of it.
    Output(Vec<u8>),
    /// A line of standard error.
    Diagnostics(String),
    /// A command.
    Command(Command),
    /// The time it asked for has come.
    Wake,
    /// The process is gone.
    Exited(Exit),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Launch {
    harness: Option<String>,
    model: Option<String>,
    resume: Option<String>,
    version: Option<String>,
    settings: Map<String, Value>,
    mesh: bool,
}

/// A line of a transcript or of a recording.
#[derive(Debug, Deserialize)]
#[serde(tag = "dir", rename_all = "lowercase")]
enum Line {
    Launch(Launch),
    Command { at_ms: u64, command: Command },
    In {},
    Out { at_ms: u64, line: String },
    Err { at_ms: u64, line: String },
    Exit { at_ms: u64, code: Option<i32>, signal: Option<i32> },
}

/// A line of `sessions.jsonl`.
#[derive(Deserialize)]
struct Session {
    recording: String,
    launch: Launch,
    told: Vec<Call>,
}

/// One call of a session.
#[derive(Deserialize)]
#[serde(untagged)]
enum Call {
    Line(usize),
    Wake(Wake),
    Command { command: Command },
    Out { out: String },
    Err { err: String },
}

#[derive(Deserialize)]
enum Wake {
    #[serde(rename = "wake")]
    Wake,
}

/// What `cases.json` says of each recording.
#[derive(Deserialize)]
struct Cases {
    cases: std::collections::BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    exit: CaseExit,
}

#[derive(Deserialize)]
struct CaseExit {
    code: Option<i32>,
    signal: Option<String>,
}

/// Reads every transcript below a folder, in the order of their names.
///
/// # Errors
/// One that cannot be read or understood; the text says which line of which file.
pub fn read(folder: &Path) -> Result<Vec<Transcript>, String> {
    let mut transcripts = Vec::new();
    read_below(folder, "", DEPTH, &mut transcripts)?;
    Ok(transcripts)
}

fn read_below(
    folder: &Path,
    name: &str,
    depth: usize,
    to: &mut Vec<Transcript>,
) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(wrong)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: &Path| match (name, path.file_stem()) {
        ("", Some(stem)) => stem.to_string_lossy().into_owned(),
        (name, Some(stem)) => format!("{name}/{}", stem.to_string_lossy()),
        (name, None) => name.to_owned(),
    };
    let sessions = folder.join("sessions.jsonl");
    if sessions.is_file() {
        to.extend(read_sessions(folder, name, &sessions)?);
    }
    for path in paths {
        if path.is_dir() && depth > 0 {
            // A version has dots in its name.
            let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = if name.is_empty() { own } else { format!("{name}/{own}") };
            read_below(&path, &name, depth - 1, to)?;
        } else if path.extension().is_some_and(|ending| ending == "jsonl") && !sessions.is_file() {
            to.push(read_transcript(&path, below(&path))?);
        }
    }
    Ok(())
}

fn read_transcript(path: &Path, name: String) -> Result<Transcript, String> {
    let (mut launch, mut told, mut exit) = (Launch::default(), Vec::new(), None);
    for line in lines::<Line>(path)? {
        match line {
            Line::Launch(own) => launch = own,
            Line::In {} => {}
            Line::Command { at_ms, command } => told.push((Some(at_ms), Told::Command(command))),
            Line::Out { at_ms, line } => told.push((Some(at_ms), Told::Output(line.into_bytes()))),
            Line::Err { at_ms, line } => told.push((Some(at_ms), Told::Diagnostics(line))),
            Line::Exit { at_ms, code, signal } => {
                let how = match signal {
                    Some(signal) => Exit::Signal { signal },
                    None => Exit::Code { code: code.unwrap_or(0) },
                };
                exit = Some((Some(at_ms), Told::Exited(how)));
            }
        }
    }
    let last = told.last().and_then(|(at_ms, _)| *at_ms);
    told.push(exit.unwrap_or((last, Told::Exited(Exit::Code { code: 0 }))));
    Ok(Transcript { name, harness: launch.harness.clone(), request: launch.request(), told })
}

fn read_sessions(folder: &Path, name: &str, file: &Path) -> Result<Vec<Transcript>, String> {
    let cases = folder.join("cases.json");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", cases.display());
    let text = fs::read_to_string(&cases).map_err(|error| wrong(&error))?;
    let cases: Cases = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    let mut transcripts = Vec::new();
    for Session { recording, launch, told } in lines::<Session>(file)? {
        let recorded = lines::<Line>(&folder.join(format!("{recording}.jsonl")))?;
        let told: Result<Vec<_>, String> =
            told.into_iter().map(|call| call.told(&recorded).map(|told| (None, told))).collect();
        let mut told = told.map_err(|error| format!("{}: {recording}: {error}", file.display()))?;
        let exit = cases.cases.get(&recording).map(|case| case.exit.how());
        told.push((None, Told::Exited(exit.unwrap_or(Exit::Code { code: 0 }))));
        transcripts.push(Transcript {
            name: if name.is_empty() { recording } else { format!("{name}/{recording}") },
            harness: launch.harness.clone(),
            request: launch.request(),
            told,
        });
    }
    Ok(transcripts)
}

fn lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.split('\n').enumerate().filter(|(_, line)| !line.is_empty());
    let read = lines.map(|(at, line)| {
        serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", path.display(), at + 1))
    });
    read.collect()
}

impl Call {
    fn told(self, recorded: &[Line]) -> Result<Told, String> {
        Ok(match self {
            Call::Wake(Wake::Wake) => Told::Wake,
            Call::Command { command } => Told::Command(command),
            Call::Out { out } => Told::Output(out.into_bytes()),
            Call::Err { err } => Told::Diagnostics(err),
            Call::Line(number) => match number.checked_sub(1).and_then(|at| recorded.get(at)) {
                Some(Line::Out { line, .. }) => Told::Output(line.clone().into_bytes()),
                Some(Line::Err { line, .. }) => Told::Diagnostics(line.clone()),
                _ => return Err(format!("line {number} of the recording is not from the harness")),
            },
        })
    }
}

impl CaseExit {
    fn how(&self) -> Exit {
        match (self.code, self.signal.as_deref()) {
            (Some(code), _) => Exit::Code { code },
            (None, Some("SIGHUP")) => Exit::Signal { signal: 1 },
            (None, Some("SIGINT")) => Exit::Signal { signal: 2 },
            (None, Some("SIGTERM")) => Exit::Signal { signal: 15 },
            (None, _) => Exit::Signal { signal: 9 },
        }
    }
}

impl Launch {
    fn request(self) -> LaunchRequest {
        LaunchRequest {
            model: self.model,
            resume: self.resume,
            version: self.version,
            settings: Value::Object(self.settings).to_string(),
            mesh: self.mesh.then(mesh),
            ..request()
        }
    }
}

/// A launch in which nothing is asked for.
pub fn request() -> LaunchRequest {
    LaunchRequest {
        launch: "0190a1b2-0000-7000-8000-000000000001".to_owned(),
        cwd: "/home/user/project".to_owned(),
        agent: "user".to_owned(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".to_owned(),
        version: None,
    }
}

fn mesh() -> MeshAccess {
    MeshAccess {
        server: McpServer {
            name: "mesh".to_owned(),
            command: "/usr/bin/rp-host".to_owned(),
            args: vec!["mcp".to_owned()],
            env: vec![("RP_AGENT_TOKEN".to_owned(), "secret".to_owned())],
        },
        socket: "/run/host.sock".to_owned(),
        agent_id: "0a1b2c3d".to_owned(),
        skill: "/home/user/skills/agent-network".to_owned(),
        token: "secret".to_owned(),
    }
}

//! One harness process: started in a group of its own with pipes for its standard streams,
//! read with back-pressure, written through a bounded queue, ended as a tree.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use rp_protocol::session::{Exit, Framing, LaunchSpec};
use rustix::process::Pid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    environment::{HOST_PROGRAM, add_launch, decides_what_runs, fill_in, find_program, inherited},
    framing::{DiagnosticLines, DiagnosticRate, LINE_LIMIT, LineSplitter, Piece},
    private,
    record::{RunRecord, remove},
    timing::Timing,
    tree::Tree,
};

/// What may wait to be written to a process, in bytes.
pub const INPUT_LIMIT: usize = 64 << 20;
/// What may wait to be written to a process, in writes.
const INPUT_WRITES: usize = 4096;
/// What is read from a pipe at once, in bytes: as much as Linux keeps in one.
const CHUNK: usize = 64 << 10;
/// Chunks that were read and not yet taken. With it full, the pipe fills and the process
/// waits.
const OUTPUT_CHUNKS: usize = 2;
/// Lines of standard error not yet taken; more are left out.
const DIAGNOSTIC_LINES: usize = 256;
/// How long a process that was sent SIGKILL is waited for: one that hangs in the kernel
/// cannot be ended by anybody.
const REAP: Duration = Duration::from_secs(5);

/// Starts processes.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The folder of run records and private folders; created with mode 0700.
    pub run_dir: PathBuf,
    /// What a launch of `rp-host` means: this host's own executable.
    pub host_program: PathBuf,
    /// How long an ending waits for what.
    pub timing: Timing,
}

/// Whose process it is, and what the person who owns it allows and sets.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The agent, for the run record.
    pub agent: &'a str,
    /// The working folder.
    pub cwd: &'a Path,
    /// Environment variables on top of the host's.
    pub environment: &'a [(String, String)],
    /// The component that launches it.
    pub component: &'a str,
    /// The programs that may be launched, by name.
    pub programs: &'a [String],
    /// The variables that a launch may set although they decide what runs.
    pub variables: &'a [String],
    /// How to install the harness, in one line.
    pub install: &'a str,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it all")]
pub enum StartError {
    #[error("the program `{program}` was not found on PATH")]
    ProgramMissing { program: String, install: String },
    #[error("the adapter may not run the program `{program}`")]
    NotGranted { program: String, component: String },
    #[error("the adapter may not set {variable}, which decides what its program runs")]
    VariableNotGranted { variable: String, component: String },
    #[error("the folder {} does not exist", path.display())]
    FolderMissing { path: PathBuf },
    #[error("the private launch files could not be written: {0}")]
    Files(#[source] io::Error),
    #[error("`{program}` could not be started: {reason}")]
    Spawn { program: String, reason: io::Error },
}

impl StartError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ProgramMissing { install, .. } => Some(install.clone()),
            Self::NotGranted { program, component } => Some(format!(
                "`rp-host component grant {component} run={program}`, if its manifest asks for that"
            )),
            Self::VariableNotGranted { variable, component } => Some(format!(
                "`rp-host component grant {component} env={variable}`, if its manifest asks for that; or set it in the agent's own settings"
            )),
            Self::FolderMissing { .. } => {
                Some("create the folder again or remove the agent".to_owned())
            }
            Self::Files(_) | Self::Spawn { .. } => None,
        }
    }

    /// Another try would fail in the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Files(_) | Self::Spawn { .. })
    }
}

/// Why bytes could not be put in the queue of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Its input is closed.
    #[error("the process has ended or closed its input")]
    Closed,
    /// More would wait than may.
    #[error("the process does not read its input: 64 MiB wait to be written")]
    Full,
}

/// What a process does.
#[derive(Debug)]
pub enum Happening {
    /// It printed this: all that was read at once.
    Output(Vec<Piece>),
    /// It printed this line to standard error.
    Diagnostics(String),
    /// It is gone, with all it started, and everything it printed was told.
    Exited(Exit),
}

/// A running process. Dropping it ends the process and all it started, in the background.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    input: Arc<Input>,
    output: mpsc::Receiver<Vec<Piece>>,
    diagnostics: mpsc::Receiver<String>,
    output_open: bool,
    diagnostics_open: bool,
    end: Option<oneshot::Sender<()>>,
    exited: oneshot::Receiver<Exit>,
    /// How it ended, and how long its output is waited for after that.
    exit: Option<(Exit, Instant)>,
    told: bool,
    drain: Duration,
    readers: [AbortHandle; 2],
}

impl Launcher {
    /// Starts a process.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind.
    pub fn start(&self, spec: &LaunchSpec, place: Place<'_>) -> Result<Process, StartError> {
        Self::check(spec, place)?;
        if !place.cwd.is_dir() {
            return Err(StartError::FolderMissing { path: place.cwd.to_owned() });
        }
        let run = uuid::Uuid::now_v7().simple().to_string();
        let started = self.start_run(spec, place, &run);
        if started.is_err() {
            remove(&self.run_dir, &run);
        }
        started
    }

    /// Whether a component may have this program started with these variables.
    ///
    /// # Errors
    /// [`StartError::NotGranted`] or [`StartError::VariableNotGranted`].
    pub fn check(spec: &LaunchSpec, place: Place<'_>) -> Result<(), StartError> {
        if !place.programs.contains(&spec.program) {
            return Err(StartError::NotGranted {
                program: spec.program.clone(),
                component: place.component.to_owned(),
            });
        }
        let names = spec.env.iter().map(|(name, _)| name);
        let mut powerful = names.filter(|name| decides_what_runs(name));
        if let Some(variable) = powerful.find(|name| !place.variables.contains(name)) {
            return Err(StartError::VariableNotGranted {
                variable: variable.clone(),
                component: place.component.to_owned(),
            });
        }
        Ok(())
    }

    /// The program a launch of `name` would run.
    #[must_use]
    pub fn find(&self, name: &str, environment: &[(String, String)]) -> Option<PathBuf> {
        if name == HOST_PROGRAM {
            return Some(self.host_program.clone());
        }
        find_program(name, &inherited(environment))
    }

    fn start_run(
        &self,
        spec: &LaunchSpec,
        place: Place<'_>,
        run: &str,
    ) -> Result<Process, StartError> {
        let folder = self.run_dir.join(run);
        let folder_text = folder.to_string_lossy();
        let mut environment = inherited(place.environment);
        add_launch(&mut environment, &spec.env, &folder_text, run);
        let program = match spec.program.as_str() {
            HOST_PROGRAM => self.host_program.clone(),
            name => find_program(name, &environment).ok_or_else(|| StartError::ProgramMissing {
                program: name.to_owned(),
                install: place.install.to_owned(),
            })?,
        };
        private::write_files(&folder, &spec.files).map_err(StartError::Files)?;

        // Written before there is a process, so that the marker is known whenever the host
        // dies.
        let record = RunRecord {
            run: run.to_owned(),
            agent: place.agent.to_owned(),
            pid: None,
            start_time: None,
            boot: None,
        };
        record.write(&self.run_dir).map_err(StartError::Files)?;
        let mut command = Command::new(&program);
        command
            .args(spec.args.iter().map(|argument| fill_in(argument, &folder_text)))
            .env_clear()
            .envs(&environment)
            .current_dir(place.cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let spawned = command
            .spawn()
            .map_err(|reason| StartError::Spawn { program: program.display().to_string(), reason });
        Ok(self.attach(spawned?, record, spec.framing))
    }

    /// Connects a spawned child: record, pipes, and the task that waits for its end.
    fn attach(&self, mut child: Child, record: RunRecord, framing: Framing) -> Process {
        let pid = child.id().unwrap_or_default();
        prefer_when_memory_runs_out(pid);
        let leader = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let record = leader.map_or(record.clone(), |leader| record.running(leader));
        if let Err(error) = record.write(&self.run_dir) {
            tracing::warn!(%error, "the run record could not be completed");
        }
        let (output_sender, output) = mpsc::channel(OUTPUT_CHUNKS);
        let (diagnostics_sender, diagnostics) = mpsc::channel(DIAGNOSTIC_LINES);
        let (end, end_asked) = oneshot::channel();
        let (exited_sender, exited) = oneshot::channel();
        let input = Arc::new(Input::start(child.stdin.take()));
        let readers = [
            tokio::spawn(read_output(child.stdout.take(), framing, output_sender)).abort_handle(),
            tokio::spawn(read_diagnostics(child.stderr.take(), diagnostics_sender)).abort_handle(),
        ];
        let keeper = Keeper {
            child,
            tree: Tree { group: leader, marker: record.run },
            input: input.clone(),
            run_dir: self.run_dir.clone(),
            close_grace: self.timing.close_grace,
            term_grace: self.timing.term_grace,
        };
        tokio::spawn(async move {
            let _ = exited_sender.send(keeper.keep(end_asked).await);
        });
        Process {
            pid,
            input,
            output,
            diagnostics,
            output_open: true,
            diagnostics_open: true,
            end: Some(end),
            exited,
            exit: None,
            told: false,
            drain: self.timing.drain,
            readers,
        }
    }
}

/// A harness that eats all memory is to be killed before the host and before what a person works
/// with; what it starts inherits that. There is no limit that fits all: JavaScript engines
/// reserve far more address space than they use.
fn prefer_when_memory_runs_out(pid: u32) {
    const LIKELY: &str = "500";
    // Only Linux has it, and a container may refuse it.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), LIKELY);
}

impl Process {
    /// The process id of the first process, which is also its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Queues bytes for its standard input, which are written whole and in order.
    ///
    /// # Errors
    /// Nothing of `bytes` was queued.
    pub fn write(&self, bytes: Vec<u8>) -> Result<(), InputError> {
        self.input.write(bytes)
    }

    /// Begins its end: its input is closed, then it is told, then forced, with everything
    /// it started. [`Happening::Exited`] follows.
    pub fn end(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }

    /// Waits for what it does next. After [`Happening::Exited`] nothing comes any more.
    pub async fn next(&mut self) -> Happening {
        loop {
            let drained = !self.output_open && !self.diagnostics_open;
            if let (Some((exit, _)), true, false) = (&self.exit, drained, self.told) {
                self.told = true;
                return Happening::Exited(exit.clone());
            }
            let drain_until = self.exit.as_ref().map(|(_, until)| *until);
            tokio::select! {
                biased;
                line = self.diagnostics.recv(), if self.diagnostics_open => match line {
                    Some(line) => return Happening::Diagnostics(line),
                    None => self.diagnostics_open = false,
                },
                pieces = self.output.recv(), if self.output_open => match pieces {
                    Some(pieces) => return Happening::Output(pieces),
                    None => self.output_open = false,
                },
                exit = &mut self.exited, if self.exit.is_none() => {
                    let lost = || Exit::FailedToStart { reason: "it was lost sight of".to_owned() };
                    let exit = exit.unwrap_or_else(|_| lost());
                    self.exit = Some((exit, Instant::now() + self.drain));
                }
                () = sleep_until(drain_until.unwrap_or_else(Instant::now)),
                    if drain_until.is_some() && !drained =>
                {
                    self.output_open = false;
                    self.diagnostics_open = false;
                }
                () = std::future::pending(), if self.told => {}
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Waits for the end of a process, or brings it about.
struct Keeper {
    child: Child,
    tree: Tree,
    input: Arc<Input>,
    run_dir: PathBuf,
    close_grace: Duration,
    term_grace: Duration,
}

impl Keeper {
    async fn keep(mut self, end_asked: oneshot::Receiver<()>) -> Exit {
        tokio::select! {
            _ = self.child.wait() => {}
            // A dropped handle asks for the end like one that was told to.
            _ = end_asked => {
                self.input.close();
                let _ = timeout(self.close_grace, self.child.wait()).await;
            }
        }
        self.input.abandon();
        let gone = self.tree.end(self.term_grace).await;
        let exit = match timeout(REAP, self.child.wait()).await {
            Ok(Ok(status)) => exit_of(status),
            Ok(Err(error)) => Exit::FailedToStart { reason: error.to_string() },
            Err(_) => Exit::Signal { signal: 9 },
        };
        if gone {
            remove(&self.run_dir, &self.tree.marker);
        } else {
            tracing::warn!(run = %self.tree.marker, "a process could not be ended");
        }
        exit
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code { code },
        (None, signal) => Exit::Signal { signal: signal.unwrap_or_default() },
    }
}

/// The queue in front of a process's standard input.
#[derive(Debug)]
struct Input {
    queue: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    waiting: Arc<AtomicUsize>,
    writer: AbortHandle,
}

impl Input {
    fn start(stdin: Option<ChildStdin>) -> Self {
        let (sender, queue) = mpsc::channel(INPUT_WRITES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = tokio::spawn(write_input(stdin, queue, waiting.clone())).abort_handle();
        Self { queue: Mutex::new(Some(sender)), waiting, writer }
    }

    fn write(&self, bytes: Vec<u8>) -> Result<(), InputError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(InputError::Closed)?;
        let length = bytes.len();
        if self.waiting.fetch_add(length, Ordering::Relaxed) + length > INPUT_LIMIT {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            return Err(InputError::Full);
        }
        queue.try_send(bytes).map_err(|error| {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => InputError::Full,
                mpsc::error::TrySendError::Closed(_) => InputError::Closed,
            }
        })
    }

    /// Closes the input behind what is queued.
    fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes the input now, whatever is queued.
    fn abandon(&self) {
        self.close();
        self.writer.abort();
    }
}

async fn write_input(
    stdin: Option<ChildStdin>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
) {
    let Some(mut stdin) = stdin else { return };
    while let Some(bytes) = queue.recv().await {
        // A pipe that broke is told by the exit of the process.
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
        waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
}

async fn read_output(
    stdout: Option<ChildStdout>,
    framing: Framing,
    output: mpsc::Sender<Vec<Piece>>,
) {
    let Some(mut stdout) = stdout else { return };
    let mut lines = LineSplitter::new(LINE_LIMIT);
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Ok(1..) = stdout.read_buf(&mut chunk).await {
        let pieces = match framing {
            Framing::Lines => lines.push(&chunk),
            Framing::Bytes => vec![Piece::Data(chunk.clone())],
        };
        chunk.clear();
        if !pieces.is_empty() && output.send(pieces).await.is_err() {
            return;
        }
    }
    if let Some(piece) = lines.finish() {
        let _ = output.send(vec![piece]).await;
    }
}

async fn read_diagnostics(stderr: Option<ChildStderr>, diagnostics: mpsc::Sender<String>) {
    let Some(mut stderr) = stderr else { return };
    let mut lines = DiagnosticLines::default();
    let began = Instant::now();
    let mut rate = DiagnosticRate::new(0);
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Ok(1..) = stderr.read_buf(&mut chunk).await {
        for line in lines.push(&chunk) {
            let now_ms = began.elapsed().as_millis() as u64;
            for line in rate.pass(line, now_ms) {
                // Standard error is always read, so that nobody hangs on it; what nobody
                // takes in time is left out.
                if diagnostics.try_send(line).is_err() {
                    rate.leave_out();
                }
            }
        }
        chunk.clear();
    }
    for line in rate.left_out().into_iter().chain(lines.finish()) {
        let _ = diagnostics.send(line).await;
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

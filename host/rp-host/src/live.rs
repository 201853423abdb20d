//! A harness in the person's own terminal, as an agent of the mesh.
//!
//! The harness inherits the terminal and is all that the person sees. This process stands behind it:
//! it holds the connection that keeps the agent on the mesh, and passes on how the harness ended.

pub mod hook;
mod launch;
mod transcript;

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};

use rp_watch::{DirectoryWatch, Notice};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};

pub use launch::Harness;

use crate::{
    api, cli,
    client::{Client, Held},
    commands, files,
    live::launch::Launch,
    output,
    paths::StateRoot,
    problem::{Problem, While},
    render::safe,
};

/// The file that says that an agent is back on the mesh.
const BACK: &str = "back";

/// A socket has its name a moment before it listens.
const UNTIL_IT_LISTENS: std::time::Duration = std::time::Duration::from_millis(20);

/// Runs a harness to its end.
pub async fn run(
    root: &StateRoot,
    global: &cli::Global,
    harness: Harness,
    asked: cli::Live,
) -> Result<ExitCode, Problem> {
    let name = asked.name.clone();
    let (folder, flags) = asked.split(std::env::args_os())?;
    harness.check(&flags)?;
    let folder = commands::agents::absolute(&folder)?;
    let client = commands::daemon_running(root, global).await?;
    let mut wanted = api::GoLive {
        folder,
        name,
        harness: harness.adapter().to_owned(),
        pid: std::process::id(),
        token: None,
    };
    let (live, held): (api::Live, Held) = client.hold("/v1/live", &wanted).await?;
    let own = root.live().join(&live.id);
    let launch = harness.launch(&live, &own)?;
    write_files(&own, &launch)?;
    // Before the harness has the screen.
    say_who_it_is(&live, &launch);
    let mut harness_process = start(&live, &launch, &flags)?;

    // It comes back as who it was.
    wanted.name = Some(live.name.clone());
    wanted.token = Some(live.token.clone());
    let pid = Pid::from_child(&harness_process);
    let ended = tokio::task::spawn_blocking(move || until_ended(pid));
    let ended = tokio::select! {
        ended = ended => ended.doing("wait for the harness")?,
        never = stay_on_the_mesh(&client, root, &wanted, held, &own) => match never {},
        never = pass_on_signals(pid) => match never {},
    };
    let _ = std::fs::remove_dir_all(&own);
    let status = match ended {
        Ok(status) => status,
        Err(_) => harness_process.wait().doing("wait for the harness")?,
    };
    Ok(exit_code(status))
}

/// Why another harness is not run.
pub fn not_live() -> Problem {
    Problem::usage("this harness cannot be an agent of the mesh in a terminal")
        .hint("claude, codex, pi and opencode can; `rp-host create` keeps an agent of any harness")
}

fn write_files(folder: &Path, launch: &Launch) -> Result<(), Problem> {
    files::private_folder(folder).doing(format!("create {}", folder.display()))?;
    for (name, content) in &launch.files {
        let path = folder.join(name);
        files::write_atomically(&path, content.as_bytes())
            .doing(format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Starts the harness in this terminal and this process group: the keys for interrupt and stop are
/// for it.
fn start(
    live: &api::Live,
    launch: &Launch,
    flags: &[OsString],
) -> Result<std::process::Child, Problem> {
    let program = std::env::current_exe().doing("find this program")?;
    Command::new(program)
        .args(["become", &std::process::id().to_string(), "--", &live.program])
        .args(&launch.arguments)
        .args(flags)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&live.cwd)
        .spawn()
        .doing(format!("start {}", live.title))
}

fn say_who_it_is(live: &api::Live, launch: &Launch) {
    let address = live.address.as_deref().unwrap_or("an agent of the mesh, once it is reached");
    output::note(&format!("on the mesh as {}", safe(address)));
    if let Some(note) = launch.note {
        output::note(note);
    }
}

/// Turns this process into the harness. Should its parent be killed, it hears that its terminal is
/// gone, which in a sense it is: nobody would wait for it in the foreground any more.
pub fn become_harness(parent: i32, command: &[OsString]) -> Result<ExitCode, Problem> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::HUP))
        .doing("end with the process that starts this")?;
    if rustix::process::getppid() != Pid::from_raw(parent) {
        return Err(Problem::failed("the process that starts this has ended"));
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Problem::usage("there is no program to become"));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Problem::failed(format!("could not start {}: {error}", Path::new(program).display())))
}

/// Holds the connection that keeps the agent on the mesh; after a daemon that ended, with the next.
/// What runs in the harness sees by a file in its private folder that it is back.
async fn stay_on_the_mesh(
    client: &Client,
    root: &StateRoot,
    wanted: &api::GoLive,
    mut held: Held,
    own: &Path,
) -> std::convert::Infallible {
    loop {
        if held.last::<api::Left>().await.is_some() {
            return std::future::pending().await;
        }
        let sockets = DirectoryWatch::on([root.host().as_path()], Notice::Names);
        held = loop {
            match client.hold::<api::Live>("/v1/live", wanted).await {
                Ok((_, held)) => break held,
                // It is refused; a note would spoil what the harness has on the screen.
                Err(problem) if problem.exit_code() != 3 => std::future::pending().await,
                Err(_) => sockets.changed().await,
            }
            tokio::time::sleep(UNTIL_IT_LISTENS).await;
        };
        // Where it cannot be written, the harness is told with the next turn.
        let _ = files::write_atomically(&own.join(BACK), b"");
    }
}

/// What the terminal sends reaches the harness without help; what is sent to this process does not.
async fn pass_on_signals(harness: Pid) -> std::convert::Infallible {
    let listen = |kind| signal(kind).ok();
    let (mut interrupt, mut quit) = (listen(SignalKind::interrupt()), listen(SignalKind::quit()));
    let (mut terminate, mut hangup) =
        (listen(SignalKind::terminate()), listen(SignalKind::hangup()));
    loop {
        let passed_on = tokio::select! {
            () = heard(&mut interrupt) => None,
            () = heard(&mut quit) => None,
            () = heard(&mut terminate) => Some(Signal::TERM),
            () = heard(&mut hangup) => Some(Signal::HUP),
        };
        if let Some(signal) = passed_on {
            // It may have ended a moment ago.
            let _ = kill_process(harness, signal);
        }
    }
}

async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Waits for the harness. When it is stopped, this process stops too, so that the shell has its
/// prompt back; the shell continues both.
fn until_ended(harness: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(Some(harness), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => {
                kill_process(getpid(), Signal::STOP)?;
            }
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As a shell says it: a signal is its number and 128.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

//! The daemon: from an empty machine to ready, and from a signal to nothing left behind.

use std::{
    io::IsTerminal,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    client::Client,
    config::Settings,
    control, embedded, files,
    host::Host,
    paths::StateRoot,
    problem::{Problem, While},
};

/// Bytes of a Unix socket's path that every system takes (`sockaddr_un` has room for 108 with
/// the terminating zero).
const LONGEST_SOCKET_PATH: usize = 107;

/// What a daemon says when another one has its database.
pub const IN_USE: &str = "is in use by another process";

/// How long a daemon that is just ending is waited for.
const ENDING: Duration = Duration::from_secs(2);

/// Runs until a signal or `rp-host stop`.
pub async fn serve(root: &StateRoot, started: Instant) -> Result<(), Problem> {
    check_sockets(root)?;
    prepare_folders(root)?;
    let settings = Settings::load(&root.settings())?;
    start_logging(settings.text("log"))?;
    refuse_a_second(root).await?;
    deploy_skill(root);
    allow_many_connections();

    let host = open_patiently(root, &settings, started).await?;
    let socket = root.control_socket();
    let listener = control::listen(&socket)?;
    // Only now: the tools of an agent connect as soon as it runs. What comes meanwhile waits.
    host.bring_up_kept_agents().await;
    tokio::spawn(Arc::clone(&host).follow_components());
    // Readiness for a service manager; without one nobody listens and nothing happens.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        socket = %socket.display(),
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    // The socket answers until all is over: whoever asked for the end sees it come.
    let router = control::router(Arc::clone(&host));
    let service = router.into_make_service_with_connect_info::<control::Process>();
    let served = axum::serve(listener, service);
    let done = tokio::select! {
        served = served => served.doing("serve the control API"),
        () = stopped(&host) => Ok(()),
    };
    let _ = std::fs::remove_file(&socket);
    done
}

async fn refuse_a_second(root: &StateRoot) -> Result<(), Problem> {
    if !Client::new(root.control_socket()).is_up().await {
        return Ok(());
    }
    let message = format!("a daemon already serves the state root {}", root.path().display());
    Err(Problem::failed(message).hint("`rp-host status` shows it, `rp-host stop` ends it"))
}

/// Opens everything. A daemon that is just ending still has the database for a moment.
async fn open_patiently(
    root: &StateRoot,
    settings: &Settings,
    started: Instant,
) -> Result<Arc<Host>, Problem> {
    let end = Instant::now() + ENDING;
    loop {
        match Host::open(root.clone(), settings, started).await {
            Err(problem) if problem.message().contains(IN_USE) && Instant::now() < end => {
                refuse_a_second(root).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened,
        }
    }
}

/// Waits until the daemon is to end, and ends it.
async fn stopped(host: &Host) {
    tokio::select! {
        () = signalled(SignalKind::interrupt()) => {}
        () = signalled(SignalKind::terminate()) => {}
        // The terminal it runs in was closed.
        () = signalled(SignalKind::hangup()) => {}
        () = signalled(SignalKind::quit()) => {}
        () = host.stop_asked() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    host.shut_down().await;
}

async fn signalled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

fn start_logging(filter: &str) -> Result<(), Problem> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Problem::failed(format!("the setting log is {filter:?}: {error}"))
            .hint("for example info, or info,rp_mesh=debug")
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn check_sockets(root: &StateRoot) -> Result<(), Problem> {
    for socket in [root.broker_socket(), root.control_socket()] {
        let length = socket.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            return Err(Problem::failed(format!(
                "the path {} has {length} bytes, but a socket's path may have {LONGEST_SOCKET_PATH}",
                socket.display()
            ))
            .hint("set REMOTE_PI_HOME to a folder with a shorter path"));
        }
    }
    Ok(())
}

fn prepare_folders(root: &StateRoot) -> Result<(), Problem> {
    for folder in [root.host(), root.cache(), root.logs(), root.sessions()] {
        prepare_folder(&folder)?;
    }
    Ok(())
}

/// Makes a folder of the state root.
pub fn prepare_folder(folder: &Path) -> Result<(), Problem> {
    files::private_folder(folder).map_err(|error| {
        Problem::failed(format!("could not create {}: {error}", folder.display()))
            .hint("the state root must be writable; REMOTE_PI_HOME names another place")
    })
}

/// Each peer on the mesh is an open file, and the usual limit of 1,024 is for programs that
/// do not expect that many.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

/// Puts the skill where harnesses look for it, unless the same text is there.
fn deploy_skill(root: &StateRoot) {
    // The same skill under its old path would be loaded a second time.
    let _ = std::fs::remove_file(root.old_skill());
    let path = root.skill().join("SKILL.md");
    if std::fs::read_to_string(&path).is_ok_and(|text| text == embedded::SKILL) {
        return;
    }
    if let Err(error) = files::write_atomically(&path, embedded::SKILL.as_bytes()) {
        tracing::warn!(path = %Path::display(&path), %error, "could not deploy the skill");
    }
}

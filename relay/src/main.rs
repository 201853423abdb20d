//! The program: read the command line, run one command, say what went wrong.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the edge of the program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rp_relay::doubts::doubts;
use rp_relay::import::{import, import_once};
use rp_relay::membership::Memberships;
use rp_relay::options::{LogFormat, Options};
use rp_relay::server::{Relay, Settings};
use rp_relay::tls::{Certificates, Source};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The file of Remote Pi's own relay.
const FOREIGN_DATABASE: &str = "REMOTEPI_MESH_DB_PATH";

/// File descriptors for what is no connection.
const OTHER_FILES: u64 = 64;

/// Relay between machines and apps that cannot reach each other
///
/// Clients of Remote Pi connect by WebSocket at /, hosts of this project by QUIC or WebSocket, all on
/// one port number. Without a command it serves. Every setting is a flag, an environment variable
/// or a line of the file, and counts in this order.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
    rp-relay --self-signed --name relay.example.org:3000\n  \
    rp-relay --acme-domain relay.example.org --port 443\n  \
    rp-relay --listen 127.0.0.1 --name relay.example.org:443 --trusted-proxy 127.0.0.1/32\n  \
    rp-relay check --config /etc/rp-relay.toml"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// TOML file with settings
    #[arg(long, global = true, env = "RP_RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Serve,
    /// Check the settings and show what they come to, without serving
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take memberships over from the SQLite file of Remote Pi's relay; it is only read
    Import {
        /// The file, usually mesh.db
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rp_store::expects_panic() {
            report(panic);
        }
    }));
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> Result<(), Failure> {
    let file = cli.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
    let options = cli.options.or(file);
    let (settings, foreign) = with_foreign_database(&options)?;
    match cli.command {
        None | Some(Command::Serve) => {
            start_log(options.log_format.unwrap_or_default());
            serve(settings, foreign.as_deref()).await
        }
        Some(Command::Check { json }) => check(&settings, json),
        Some(Command::Import { file, json }) => {
            let memberships = Memberships::open(&settings.database).await?;
            let imported = import(&file, &memberships).await?;
            if json {
                println!("{}", serde_json::to_string(&imported)?);
            } else {
                println!(
                    "{} owners taken over, {} of them with a blob that is not valid; {} were there already, {} rows unreadable",
                    imported.stored, imported.void, imported.not_newer, imported.unreadable
                );
            }
            Ok(())
        }
    }
}

/// Where only the variable of Remote Pi's relay says where memberships are, they are kept beside
/// its file. What that holds is taken over once.
fn with_foreign_database(options: &Options) -> Result<(Settings, Option<PathBuf>), Failure> {
    let foreign = std::env::var_os(FOREIGN_DATABASE).map(PathBuf::from);
    let mut options = options.clone();
    if let (None, Some(foreign)) = (&options.database, &foreign) {
        options.database = Some(foreign.with_extension("redb"));
    }
    let settings = options.settings()?;
    Ok((settings, foreign.filter(|file| file.exists())))
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

async fn serve(settings: Settings, foreign: Option<&Path>) -> Result<(), Failure> {
    let files = raise_file_limit();
    let wanted = u64::try_from(settings.limits.connections).unwrap_or(u64::MAX);
    if wanted.saturating_add(OTHER_FILES) > files {
        tracing::warn!(files, wanted, "fewer connections than allowed: too few file descriptors");
    }
    for doubt in doubts(&settings) {
        tracing::warn!(hint = doubt.hint(), "{doubt}");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if let Some(file) = foreign {
        let memberships = Memberships::open(&settings.database).await?;
        if let Some(imported) = import_once(file, &memberships).await? {
            tracing::info!(?imported, "memberships taken over from {}", file.display());
        }
    }
    let relay = Relay::start(settings).await?;
    tracing::info!(address = %relay.address(), "listening");
    if let Some(fingerprint) = relay.fingerprint() {
        tracing::info!(fingerprint, "clients know this relay by its own certificate");
    }
    // Only systemd listens to this.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        () = relay.end() => Ok(()),
        _ = interrupt.recv() => Err("interrupted while ending".into()),
    }
}

/// As many file descriptors as this process may have: each connection needs one.
fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}

#[derive(serde::Serialize)]
struct Checked {
    listen: String,
    database: PathBuf,
    names: Vec<String>,
    tls: &'static str,
    quic: bool,
    fingerprint: Option<String>,
    trusted_proxies: Vec<String>,
    max_connections: usize,
    max_connections_per_address: usize,
    file_descriptors: u64,
}

fn check(settings: &Settings, json: bool) -> Result<(), Failure> {
    let folder = settings.database.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    // Whatever is made on the way to the file belongs to the check.
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        return Err(
            format!("cannot keep memberships in {}: it is no folder", existing.display()).into()
        );
    }
    rustix::fs::access(existing, rustix::fs::Access::WRITE_OK)
        .map_err(|error| format!("cannot write in {}: {error}", existing.display()))?;
    let fingerprint = match &settings.certificate {
        // Nothing is asked of an authority, and nothing is made, by a check.
        None | Some(Source::Acme { .. }) => None,
        Some(Source::Own { file, .. }) if !file.exists() => None,
        Some(source) => Certificates::open(source)?.fingerprint,
    };
    for doubt in doubts(settings) {
        eprintln!("warning: {doubt}\nhint: {}", doubt.hint());
    }
    let checked = Checked {
        listen: settings.listen.to_string(),
        database: settings.database.clone(),
        names: settings.names.iter().map(ToString::to_string).collect(),
        tls: match (&settings.certificate, settings.plain_tcp) {
            (None, _) => "none",
            (Some(_), true) => "quic only",
            (Some(Source::Files { .. }), _) => "files",
            (Some(Source::Own { .. }), _) => "self-signed",
            (Some(Source::Acme { .. }), _) => "acme",
        },
        quic: settings.certificate.is_some(),
        fingerprint,
        trusted_proxies: settings.trusted_proxies.iter().map(ToString::to_string).collect(),
        max_connections: settings.limits.connections,
        max_connections_per_address: settings.limits.connections_per_address,
        file_descriptors: raise_file_limit(),
    };
    if json {
        println!("{}", serde_json::to_string(&checked)?);
        return Ok(());
    }
    println!("listen         {} (TCP{})", checked.listen, if checked.quic { ", UDP" } else { "" });
    println!("database       {}", checked.database.display());
    println!("names          {}", list(&checked.names));
    println!("tls            {}", checked.tls);
    if let Some(fingerprint) = &checked.fingerprint {
        println!("fingerprint    {fingerprint}");
    }
    println!("proxies        {}", list(&checked.trusted_proxies));
    println!(
        "connections    {} in all, {} of one address, {} file descriptors",
        checked.max_connections, checked.max_connections_per_address, checked.file_descriptors
    );
    Ok(())
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

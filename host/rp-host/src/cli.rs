//! The command line: what can be asked, and the help that teaches it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Keeps coding agents on this machine and lets them message each other.
#[derive(Debug, Parser)]
#[command(
    name = "rp-host",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Start here:
  rp-host create ~/project          keep an agent in a folder
  rp-host attach project            see it work and talk to it
  rp-host peers                     who is on the mesh
  rp-host send /home/me/project@project \"what are you doing?\"

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 daemon unreachable."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Fail instead of starting the daemon when it is not running
    #[arg(long, global = true)]
    pub no_start: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "\
Any command that needs the daemon starts one in the background, so this is for service
managers (readiness is told to systemd) and for watching what it does. Ctrl-C ends it and
every agent it runs; agents come back with the next start.")]
    Serve,
    /// Say whether the daemon runs and what it keeps
    Status,
    /// List everyone on the mesh
    Peers,
    /// Keep an agent in a folder and start it
    Create(Create),
    /// Stop an agent and keep it no longer
    #[command(after_help = "Nothing in the agent's folder is touched.")]
    Remove {
        /// Id, name or folder of the agent
        agent: String,
    },
    /// List the kept agents
    Daemons,
    /// Start, stop, restart or prompt kept agents
    #[command(subcommand)]
    Daemon(Daemon),
    /// Send a message to a peer as the person at this terminal
    Send(Send),
    /// List the messages in an agent's mailbox
    Inbox {
        /// Id, name or folder of the agent; `person` for answers to you
        #[arg(default_value = "person")]
        agent: String,
    },
    /// Show every step of a message with its time
    Trace {
        /// The id that `send` printed
        id: String,
    },
    /// Decide about messages that the routing policy holds
    #[command(subcommand)]
    Held(Held),
    /// Watch and drive an agent's session in this terminal
    #[command(after_help = "\
Type a line to prompt the agent. Ctrl-C stops the running turn, Ctrl-D leaves (the agent
goes on). A question of the agent is answered by typing the number of an answer.")]
    Attach {
        /// Id, name or folder of the agent
        agent: String,
        /// Show this many earlier events first
        #[arg(long, default_value_t = 50)]
        last: u64,
    },
    /// Show the daemon's log
    Logs {
        /// A component's log instead
        #[arg(long)]
        component: Option<String>,
        /// Only the last lines
        #[arg(long, default_value_t = 200)]
        lines: usize,
        /// Then print what is added, until Ctrl-C
        #[arg(long, short, conflicts_with = "json")]
        follow: bool,
    },
    /// Print every setting, its value and where that comes from
    Config,
    /// List the harnesses and whether they are installed
    Harnesses,
    /// Look at the components that are loaded
    #[command(subcommand)]
    Component(Component),
    /// Serve the mesh tools to a model over stdio (MCP)
    #[command(after_help = "\
Started by harnesses, not by people. The daemon hands over RP_AGENT_ID and RP_AGENT_TOKEN.")]
    Mcp,
    /// Stop the daemon and every agent it runs
    Stop,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    Manual {
        /// The folder; it must exist
        folder: std::path::PathBuf,
    },
    /// The scripted agent behind the `demo` harness
    #[command(hide = true)]
    DemoAgent,
    /// Compile the components for the daemon, which starts this itself
    #[command(hide = true)]
    CompileComponents,
}

#[derive(Debug, Args)]
pub struct Create {
    /// The folder the agent works in
    pub folder: String,
    /// Its name on the mesh [default: the folder's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Its harness [default: the setting `harness`]
    #[arg(long)]
    pub harness: Option<String>,
    /// The model to start with, as the harness spells it
    #[arg(long)]
    pub model: Option<String>,
    /// Settings for the harness's adapter, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub settings: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Daemon {
    /// Start an agent, or all
    Start {
        /// Id, name or folder of the agent
        agent: Option<String>,
    },
    /// Stop an agent, or all
    Stop {
        /// Id, name or folder of the agent
        agent: Option<String>,
    },
    /// Stop and start an agent, or all
    Restart {
        /// Id, name or folder of the agent
        agent: Option<String>,
    },
    /// Show an agent, or all
    Status {
        /// Id, name or folder of the agent
        agent: Option<String>,
    },
    /// Prompt an agent
    #[command(after_help = "\
The prompt waits for the running turn to end. To see the answer use `rp-host attach`.")]
    Send {
        /// Id, name or folder of the agent
        agent: String,
        /// What to say
        #[arg(required = true, num_args = 1..)]
        text: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
The answer, if one comes, waits in `rp-host inbox`; `--wait answered` waits for it.")]
pub struct Send {
    /// Address of the peer, as `rp-host peers` prints it
    pub address: String,
    /// What to say; `-` reads it from standard input
    #[arg(required_unless_present = "body", conflicts_with = "body", num_args = 1..)]
    pub text: Vec<String>,
    /// The message as JSON instead of text
    #[arg(long, value_name = "JSON")]
    pub body: Option<String>,
    /// Id of the message this answers
    #[arg(long, value_name = "ID")]
    pub re: Option<String>,
    /// Fail if the agent has not taken it by then, for example 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub expires: Option<std::time::Duration>,
    /// Wait until the message has come this far
    #[arg(long, value_enum)]
    pub wait: Option<Stage>,
    /// Give up waiting after this many seconds
    #[arg(
        long,
        default_value_t = 60,
        requires = "wait",
        value_parser = clap::value_parser!(u64).range(..=600)
    )]
    pub timeout: u64,
}

/// A stage that `send --wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// On disk in the recipient's mailbox
    Stored,
    /// Handed to the harness
    Injected,
    /// Part of a turn of the model
    TurnSeen,
    /// Answered by the recipient
    Answered,
}

impl Stage {
    /// Its name in a trace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Injected => "injected",
            Self::TurnSeen => "turn-seen",
            Self::Answered => "answered",
        }
    }
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Messages are held when the policy asks for a person's decision, and when the policy itself has
failed: nothing is delivered unasked.")]
pub enum Held {
    /// List the held messages
    List,
    /// Deliver one
    Allow {
        /// Its id
        id: String,
    },
    /// Throw one away; its sender is told if this host runs it
    Deny {
        /// Its id
        id: String,
        /// Why, for the sender
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Component {
    /// List all components
    List,
    /// Show one component: what it may do, its world, imports, size and hash
    Inspect {
        /// Its id
        id: String,
    },
    /// Let a routing policy run again that was switched off after three crashes in a minute
    Restart {
        /// Its id
        id: String,
    },
}

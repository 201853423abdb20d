//! The command line: what can be asked, and the help that teaches it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod live;
mod questions;
mod remote;

pub use live::Live;
pub use questions::{AnswerQuestions, Questions};
pub use remote::{Mesh, Relay, RelayCommand};

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
  rp-host claude ~/project          be one yourself: Claude Code in this terminal, on the mesh
  rp-host peers                     who is on the mesh
  rp-host questions                 what agents ask you
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
    /// List the agents: those that are kept, and those live in a terminal
    #[command(visible_alias = "agents")]
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
    /// List what agents ask you
    Questions(Questions),
    /// Show one question in full
    Question {
        /// Its id
        id: String,
    },
    /// Answer what agents ask: one question, several, or all
    Answer(AnswerQuestions),
    /// Run Claude Code in this terminal, as an agent of the mesh
    #[command(after_help = live::CLAUDE, alias = "claude-code")]
    Claude(Live),
    /// Run Codex in this terminal, as an agent of the mesh
    #[command(after_help = live::CODEX)]
    Codex(Live),
    /// Run Pi in this terminal, as an agent of the mesh
    #[command(after_help = live::PI)]
    Pi(Live),
    /// Run OpenCode in this terminal, as an agent of the mesh
    #[command(after_help = live::OPENCODE)]
    Opencode(Live),
    /// Harnesses that cannot live in a terminal
    #[command(hide = true, alias = "acp", alias = "pi-acp", alias = "demo")]
    Gemini(Live),
    /// Make a mesh of machines, let others join it, and look after it
    #[command(subcommand)]
    Mesh(Mesh),
    /// Connect to the relay through which other machines are reached, or disconnect
    Relay(RelayCommand),
    /// Set the relay's URL, as `relay url` does
    SetRelay {
        /// http:// or https://; it is kept exactly as you type it
        url: String,
    },
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
    /// List the actions of an agent, or run one
    #[command(subcommand)]
    Action(Action),
    /// Show the daemon's log
    Logs {
        /// Only the last lines
        #[arg(long, default_value_t = 200)]
        lines: usize,
        /// Then print what is added, until Ctrl-C
        #[arg(long, short, conflicts_with = "json")]
        follow: bool,
    },
    /// Print every setting, its value and where that comes from
    Config,
    /// List the harnesses, whether they are installed, and what they can do
    #[command(visible_alias = "harnesses")]
    Harness {
        #[command(subcommand)]
        command: Option<Harness>,
    },
    /// Look for what is missing or wrong on this machine, and say what to do about it
    #[command(after_help = "\
Starts no daemon and changes nothing; asks installed harnesses for their version. Exits with 1 when something does not work.")]
    Doctor,
    /// Add, grant, inspect and write components: adapters, routing policies, actions
    #[command(subcommand)]
    Component(Component),
    /// Look at the routing policies that decide about messages
    #[command(subcommand)]
    Policy(Policy),
    /// Serve the mesh tools to a model over stdio (MCP)
    #[command(after_help = "\
Started by harnesses, not by people. The daemon hands over RP_AGENT_ID and RP_AGENT_TOKEN.")]
    Mcp {
        /// Tell the model that messages do not come by themselves
        #[arg(long, hide = true)]
        ask: bool,
    },
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
    /// What a harness in a terminal runs at the edges of its turns
    #[command(hide = true)]
    Hook,
    /// Become a harness that ends with the process that started it
    #[command(hide = true)]
    Become {
        /// The process that starts it
        parent: i32,
        /// Program and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
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
    /// Fail if the agent has not taken it by then, for example 30s, 10m or 2h; 0s fails at once
    /// when the agent's machine is not connected
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
pub enum Harness {
    /// List the harnesses and whether they are installed (the default)
    #[command(after_help = "\
With --abilities: what each harness can do through its adapter, as it was measured with the
tested versions. What is not there is refused, and never imitated.")]
    List {
        /// Show what each can do
        #[arg(long)]
        abilities: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Actions are what the buttons of an app do: compact the context, hand the work over to another
agent, run the tests. Each comes from a component, which is called only while one of its
actions runs and has done only what it was granted.")]
pub enum Action {
    /// List what can be run for an agent, and the parameters
    #[command(after_help = "\
Parameters in brackets can be left out. With --json each has its whole description.")]
    List {
        /// Id, name or folder of the agent
        agent: String,
    },
    /// Run an action for an agent and wait until it is over
    Run(RunAction),
}

#[derive(Debug, Args)]
#[command(after_help = "\
For example:
  rp-host action run project set-thinking --param level=high
  rp-host action run project hand-over --param to=reviewer --param note=\"the tests are red\"
  rp-host action run project new-session --yes

Text is written as it is, every other value as JSON: --param minutes=5. An action has 10 minutes.
Ctrl-C ends it between two steps; what the agent was told goes on.")]
pub struct RunAction {
    /// Id, name or folder of the agent
    pub agent: String,
    /// The action, as `rp-host action list` prints it
    pub action: String,
    /// A parameter and its value; can be given several times
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub parameters: Vec<(String, String)>,
    /// Do not ask before an action that destroys something
    #[arg(long)]
    pub yes: bool,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is not a name and a value with = between them".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A component is a folder with component.toml and component.wasm. Dropping such a folder into
the folder that `component list` names has the same effect as `component add`; no restart is
needed. Nothing that a component asks for is given to it until you grant it.")]
pub enum Component {
    /// List all components, and what waits for you
    List,
    /// Show one component: what it may do, its world, imports, size, hash and signer
    Inspect {
        /// Its id
        id: String,
    },
    /// Install a component from a folder, an archive or an https address
    #[command(after_help = "\
All of it is installed or, if anything is wrong with it, nothing. On a terminal you are asked
about what it wants to do; elsewhere it waits until `rp-host component grant`, unless --yes or
--grant says what it gets.")]
    Add(AddComponent),
    /// Uninstall a component, with what it stored and what was granted to it
    Remove {
        /// Its id
        id: String,
    },
    /// Let a component do what it asks for, or some of it
    #[command(after_help = "\
Examples:
  rp-host component grant guarded              everything that it asks for
  rp-host component grant codex run=codex      only this
  rp-host component grant notes --none         nothing; it runs without")]
    Grant {
        /// Its id
        id: String,
        /// What, as `component inspect` prints it [default: everything it asks for]
        permits: Vec<String>,
        /// Nothing of what it asks for
        #[arg(long, conflicts_with = "permits")]
        none: bool,
        /// Do not show what it asks for and ask first, as is done at a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Take back what was granted to a component, or some of it
    Revoke {
        /// Its id
        id: String,
        /// What [default: everything]
        permits: Vec<String>,
    },
    /// List what components ask for and you have not decided about
    Pending,
    /// Show a component's log
    Logs {
        /// Its id
        id: String,
        /// Only the last lines
        #[arg(long, default_value_t = 200)]
        lines: usize,
        /// Then print what is added, until Ctrl-C
        #[arg(long, short, conflicts_with = "json")]
        follow: bool,
    },
    /// Let a routing policy run again that was switched off after three crashes in a minute
    Restart {
        /// Its id
        id: String,
    },
    /// Switch a component on again
    Enable {
        /// Its id
        id: String,
    },
    /// Switch a component off; sessions that run keep it until they end
    Disable {
        /// Its id
        id: String,
    },
    /// Install a component now and again whenever its folder changes, until Ctrl-C
    #[command(after_help = "\
For authors: build in another terminal, and each build is taken up at once. One that is broken
is reported, and the last good one stays in force. When something in the folder's src is newer than
the build, you are told how to build it.")]
    Dev {
        /// The component's folder
        folder: std::path::PathBuf,
        /// Grant everything it asks for
        #[arg(long)]
        yes: bool,
    },
    /// Write a project that builds and passes its own test
    New {
        /// What it is to be
        #[arg(value_enum)]
        kind: ComponentKind,
        /// The folder to make; its name becomes the component's id
        folder: std::path::PathBuf,
        /// The language
        #[arg(long, value_enum, default_value_t = Language::Rust)]
        lang: Language,
    },
    /// Check a component as its author should: what the host and a person rely on
    Test(TestComponent),
    /// Make one file of a component's folder, or a component of a core module
    #[command(after_help = "\
Examples:
  rp-host component pack my-policy                       writes my-policy.rpc
  rp-host component pack my-policy --key my.key          signed; the key is made if it is new
  rp-host component pack target/x.wasm -o component.wasm a component of a core module")]
    Pack {
        /// The component's folder, or a .wasm file
        input: std::path::PathBuf,
        /// The file to write [default: ID.rpc]
        #[arg(long, short)]
        output: Option<std::path::PathBuf>,
        /// Sign it with the key in this file; a new key is made if there is none
        #[arg(long)]
        key: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct AddComponent {
    /// A folder, an archive made by `component pack`, or an https address of one
    pub source: String,
    /// The archive's SHA-256, which an https address needs
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Grant this of what it asks for, for example run=pi or store; can be repeated
    #[arg(long, value_name = "PERMIT", conflicts_with = "yes")]
    pub grant: Vec<String>,
    /// Grant everything it asks for
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It is loaded as the host loads it, with the same limits, and needs no daemon. Checked are the
manifest, its first calls, that the same input gives the same, and that rubbish does it no harm;
of a policy what it decides about every sort of message and how fast; of actions their parameters
and their steps; of an adapter that every command is settled, and what its recordings show.

An adapter's recordings are in the folder `transcripts` beside component.toml. What they show of
each ability that the adapter declares is listed; --live asks the installed harness itself.

Examples:
  rp-host component test .                  the project in this folder, after it was built
  rp-host component test my-policy.rpc      an archive
  rp-host component test guarded            one that is installed or ships
  rp-host component test codex --live       also with the real Codex, which costs tokens

Exit code 1 if anything failed.")]
pub struct TestComponent {
    /// A folder with component.toml and component.wasm, an archive, or an id
    pub component: String,
    /// The folder of an adapter's recordings [default: transcripts in its folder]
    #[arg(long, value_name = "FOLDER")]
    pub transcripts: Option<std::path::PathBuf>,
    /// Also run the harness itself in a temporary folder; this uses your account with its model
    #[arg(long)]
    pub live: bool,
    /// Of the harnesses that an adapter drives, run only this one
    #[arg(long, requires = "live")]
    pub harness: Option<String>,
    /// The adapter's settings for the live run, a JSON object
    #[arg(long, value_name = "JSON", requires = "live")]
    pub settings: Option<String>,
}

/// What a component can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ComponentKind {
    /// Drives a harness
    Adapter,
    /// Decides about messages
    Policy,
    /// Buttons in an app
    Action,
}

/// A language that projects can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust
    Rust,
    /// JavaScript
    Js,
    /// Python
    Python,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Several policies decide one after the other, and the strictest decision wins. Their order and
their settings are in the file that `policy list` names; it is read again when it changes.")]
pub enum Policy {
    /// List the policies in force, in their order
    List,
    /// Say what would happen to a message, and which policy says so
    #[command(after_help = "\
The policies are asked as if nothing had been sent before: what they count, such as messages a
minute, is not counted here.")]
    Explain {
        /// Address of the sender, as `rp-host peers` prints it; `person` for you
        from: String,
        /// Address of the recipient
        to: String,
        /// The message
        #[arg(long, default_value = "")]
        text: String,
        /// The message as JSON instead of text
        #[arg(long, value_name = "JSON", conflicts_with = "text")]
        body: Option<String>,
    },
    /// Ask a policy about what was sent, and list what it would have decided otherwise
    #[command(after_help = "\
What was sent is in the routing log, which has neither texts nor sizes. A policy whose settings have
it read what messages say is not asked, and a rule about size stops nothing here.")]
    Replay {
        /// How far back
        #[arg(long, default_value = "7d", value_parser = humantime::parse_duration)]
        since: std::time::Duration,
        /// Ask what the policies of this file would decide, which is written like policy.toml,
        /// instead of those in force
        #[arg(long, value_name = "FILE")]
        settings: Option<std::path::PathBuf>,
    },
}

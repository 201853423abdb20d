//! Other machines on the command line: the relay, the owner's mesh, and joining it.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "\
Through its relay this machine reaches the other machines of its owner. Nothing on this machine
waits for it: without a relay, messages for other machines stay on disk until there is one.

  rp-host relay                       connect, or disconnect when connected
  rp-host relay url https://r.example use this relay from now on

The relay is the first of these that is set: REMOTE_PI_RELAY, `relay` in config.json of the state
root (what `relay url` writes), and https://relay-rp1.jacobmoura.work.")]
pub struct RelayCommand {
    #[command(subcommand)]
    pub command: Option<Relay>,
}

#[derive(Debug, Subcommand)]
pub enum Relay {
    /// Connect, until the daemon ends or `relay stop`
    #[command(alias = "on")]
    Start,
    /// End the connection; messages for other machines wait
    #[command(alias = "off")]
    Stop,
    /// Say which relay it is and how it is connected
    Status,
    /// Connect, or disconnect when connected (the default)
    Toggle,
    /// Print the relay's URL, or set it
    Url {
        /// http:// or https://; it is kept exactly as you type it
        url: Option<String>,
    },
    /// Print the state of the connection and every change of it, until Ctrl-C
    Watch,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
An owner is a key; its machines find each other through the relay, and agents on them write to
each other by addresses such as laptop:/home/me/project@project.

  rp-host mesh create        on the first machine: make an owner, write down the recovery words
  rp-host mesh invite        there: show a code
  rp-host mesh join CODE     on the second machine; then compare the words on both

A phone with the Remote Pi app is an owner too, and goes on beside this.")]
pub enum Mesh {
    /// Make an owner whose first machine this is, and print the recovery words once
    Create {
        /// What this machine is called [default: its host name]
        #[arg(long)]
        name: Option<String>,
    },
    /// List the owners of this machine and their machines
    List,
    /// Show a code with which another machine joins, and wait for it
    #[command(after_help = "\
The code is good for one machine and ten minutes. Both machines then show the same three words;
if they differ, say no: somebody stands in between.")]
    Invite {
        /// Do not ask whether the words are the same
        #[arg(long)]
        yes: bool,
    },
    /// Become one of an owner's machines, with the code that `mesh invite` shows
    Join {
        /// The code: four words
        code: String,
        /// What this machine would like to be called [default: its host name]
        #[arg(long)]
        name: Option<String>,
        /// Do not ask whether the words are the same
        #[arg(long)]
        yes: bool,
    },
    /// Call one of the owner's machines otherwise
    Rename {
        /// Its name or fingerprint, as `mesh list` prints them
        machine: String,
        /// What it is called from now on
        name: String,
    },
    /// Take a machine out of the owner's mesh; it is cut off at once
    Remove {
        /// Its name or fingerprint, as `mesh list` prints them
        machine: String,
    },
    /// Bring the owner's key to this machine by its recovery words
    #[command(after_help = "\
The 24 words are read from standard input, so that they stand in no history of a shell.")]
    Recover {
        /// What this machine is called if it is new [default: its host name]
        #[arg(long)]
        name: Option<String>,
    },
}

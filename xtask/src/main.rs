//! Everything a person or a machine does with this repository beyond plain `cargo`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod bench;
mod demo;
mod fuzz;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, components, demo, tests, benches.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show two agents talk through the mesh (builds what it needs; about 15 minutes the first time)
    Demo {
        /// `demo` needs nothing; `pi` installs the real Pi and a scripted model on loopback
        #[arg(long, default_value = "demo", value_parser = ["demo", "pi"])]
        harness: String,
    },
    /// Run every check: format, lints, unit, replay, end-to-end, docs (about an hour the first time)
    Test {
        /// Run only the steps whose name contains this
        only: Option<String>,
    },
    /// Install what is needed to compile WebAssembly, if it is missing
    Setup,
    /// Build the WebAssembly components and list them
    Components,
    /// Measure against floors taken in the same run; writes target/bench.json
    Bench {
        /// Measure only the groups whose name contains this, such as relay
        only: Option<String>,
    },
    /// Fuzz one parser for some minutes (needs a nightly toolchain and cargo-fuzz)
    Fuzz {
        /// A target of fuzz/fuzz_targets
        target: String,
        /// How long
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo { harness } => demo::demo(&harness),
        Task::Test { only } => test::test(only.as_deref()),
        Task::Setup => setup::toolchain(),
        Task::Components => setup::components(),
        Task::Bench { only } => bench::bench(only.as_deref()),
        Task::Fuzz { target, minutes } => fuzz::fuzz(&target, minutes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

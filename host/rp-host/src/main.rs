//! The program: parse the command line, run one command, say what went wrong.
#![allow(missing_docs, reason = "a program, not a library")]

mod api;
mod attach;
mod cli;
mod client;
mod commands;
mod components;
mod config;
mod conformance;
mod control;
mod demo_agent;
mod embedded;
mod files;
mod host;
mod mcp;
mod output;
mod paths;
mod problem;
mod registry;
mod render;
mod serve;
mod tokens;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    paths::StateRoot,
    problem::Problem,
};

fn main() -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rp_store::expects_panic() {
            report(panic);
        }
    }));
    let cli = Cli::parse();
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::problem(&problem, json);
            ExitCode::from(problem.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Problem> {
    let started = std::time::Instant::now();
    match cli.command {
        Command::Completions { shell } => return commands::completions(shell),
        Command::Manual { folder } => return commands::manual(&folder),
        Command::DemoAgent => return demo_agent::run(),
        _ => {}
    }
    let root = StateRoot::from_environment()?;
    let workers = matches!(cli.command, Command::Serve);
    let mut runtime = if workers {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().build().map_err(|error| {
        Problem::failed(format!("the asynchronous runtime did not start: {error}"))
    })?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve => serve::serve(&root, started).await,
            Command::Mcp => mcp::serve(&root).await,
            Command::CompileComponents => components::compile(&root).await,
            command => commands::run(&root, &cli.global, command).await,
        }
    });
    // A read of standard input that is still waiting must not keep the program alive.
    runtime.shutdown_background();
    done
}

//! The program: parse the command line, run one command, say what went wrong.
#![allow(missing_docs, reason = "a program, not a library")]

mod ancestry;
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
mod live;
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
    live::Harness as Live,
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
        Ok(code) => code,
        Err(problem) => {
            output::problem(&problem, json);
            ExitCode::from(problem.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Problem> {
    let started = std::time::Instant::now();
    let done = ExitCode::SUCCESS;
    match cli.command {
        Command::Completions { shell } => return commands::completions(shell).map(|()| done),
        Command::Manual { folder } => return commands::manual(&folder).map(|()| done),
        Command::DemoAgent => return demo_agent::run().map(|()| done),
        Command::Become { parent, command } => return live::become_harness(parent, &command),
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
        let ran = match cli.command {
            Command::Serve => serve::serve(&root, started).await,
            Command::Mcp { ask } => mcp::serve(&root, ask).await,
            Command::Hook => live::hook::run(&root).await,
            Command::CompileComponents => components::compile(&root).await,
            Command::Claude(asked) => {
                return live::run(&root, &cli.global, Live::Claude, asked).await;
            }
            Command::Codex(asked) => {
                return live::run(&root, &cli.global, Live::Codex, asked).await;
            }
            Command::Pi(asked) => return live::run(&root, &cli.global, Live::Pi, asked).await,
            Command::Opencode(asked) => {
                return live::run(&root, &cli.global, Live::OpenCode, asked).await;
            }
            Command::Gemini(_) => Err(live::not_live()),
            command => commands::run(&root, &cli.global, command).await,
        };
        ran.map(|()| done)
    });
    // A read of standard input that is still waiting must not keep the program alive.
    runtime.shutdown_background();
    done
}

//! The relay's binary: command line, configuration, wiring, admin server.
//!
//! Only this crate reads configuration, environment and signals. Every command is a module.

#![cfg_attr(
    not(all(feature = "demo", feature = "file", feature = "websocket")),
    expect(
        dead_code,
        reason = "what only the parts use that this build leaves out"
    )
)]

mod admin;
mod check;
mod cli;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod failure;
mod http;
mod logging;
mod offline;
mod output;
mod relay;
mod steer;
mod tail;
#[cfg(feature = "traces")]
mod traces;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, ConfigFiles};
use config::Config;
use failure::{Failure, USAGE};
use relay::{Relay, Signals};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => return explain(&help),
    };
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            logging::last_words(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// Prints help, the version, or what is wrong with the command line.
fn explain(help: &clap::Error) -> ExitCode {
    help.print().ok();
    match help.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(USAGE),
    }
}

fn start(command: Command) -> Result<(), Failure> {
    // The one TLS provider there is; a second installation (never in this program) would change nothing.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    match command {
        Command::Run(args) => run(args)?,
        Command::Check(args) => alone()?.block_on(check::run(args))?,
        #[cfg(feature = "demo")]
        Command::Demo(args) => {
            let runtime = crew()?;
            let result = runtime.block_on(demo::run(args));
            runtime.shutdown_background();
            result?;
        }
        Command::Tail(args) => alone()?.block_on(tail::run(args))?,
        Command::Journal { command } => alone()?.block_on(offline::run(command))?,
        Command::Sink { command } => alone()?.block_on(steer::sink(command))?,
        Command::DeadLetters { command } => alone()?.block_on(steer::dead_letters(command))?,
        Command::Health(args) => alone()?.block_on(steer::health(args))?,
    }
    Ok(())
}

/// Configure, build, run, drain.
fn run(args: ConfigFiles) -> Result<(), Failure> {
    let config = Config::load(&args.files, &environment())?;
    logging::start(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = crew()?;
    let result = runtime.block_on(async {
        let signals = Signals::new(CancellationToken::new())?;
        let relay = Relay::build(config, args.files).await?;
        relay.run(signals).await
    });
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    result
}

/// A runtime for the daemon.
fn crew() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// A runtime for a command that does one thing.
fn alone() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// The environment, as far as it is text.
fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

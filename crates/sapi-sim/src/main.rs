//! sapi-sim, the program: its command line. What it does is the library's.

mod cli;

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use sapi_sim::{Config, Simulator, faults};
use tokio::signal::unix::{SignalKind, signal};

use self::cli::{Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(70)
        }
    }
}

/// Whether it is only that whoever reads our output has gone: `sapi-sim faults | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(broken)
}

fn run(cli: Cli) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::new(&cli.run.log))
        .init();
    if matches!(cli.command, Some(Command::Faults)) {
        return list_faults();
    }
    let config = cli.run.config();
    let threads = if config.burst.is_some() { 1 } else { 2 };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(serve(config))
}

/// Serves until SIGINT or SIGTERM.
async fn serve(config: Config) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let simulator = Simulator::start(config).await?;
    let (ws, page) = (simulator.ws_url(), simulator.http_url());
    // Tests read the address from the first line.
    let greeting =
        format!("listening on {ws}\ntest page {page}/api/streaming/v1/TenantUpdates.jsp\n");
    if let Err(error) = std::io::stdout().write_all(greeting.as_bytes()) {
        tracing::debug!(%error, "nobody reads standard output");
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

/// Every fault with its row, and the rows that have none.
fn list_faults() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for fault in faults::all() {
        let takes = match fault.takes {
            faults::Takes::Nothing => String::new(),
            faults::Takes::Number(_) | faults::Takes::Text(_) | faults::Takes::Choice(_) => {
                format!(" [takes {}]", fault.takes)
            }
        };
        let once = if fault.once { " [once]" } else { "" };
        writeln!(
            out,
            "{:4} {:28} {}{takes}{once}",
            fault.row, fault.name, fault.description
        )?;
    }
    writeln!(out, "\nWithout a fault:")?;
    for (row, reason) in faults::WITHOUT_FAULT {
        writeln!(out, "{row:4} {reason}")?;
    }
    Ok(())
}

//! Owns `demo`: simulator, relay and clients on one machine, nothing installed, nothing left behind.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sapi_sim::Simulator;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cli::Demo;
use crate::config::Config;
use crate::failure::Failure;
use crate::logging;
use crate::output::{say, stdout};
use crate::relay::{Relay, SharedState, Signals};

/// The ports of the documentation, if they are free.
const DOWNSTREAM: u16 = 8080;
const ADMIN: u16 = 9464;
/// The name of the sink.
const SINK: &str = "downstream";

/// Runs until Ctrl-C, or for as long as asked.
pub(crate) async fn run(args: Demo) -> Result<(), Failure> {
    let simulator = simulate(&args).await?;
    let home = tempfile::Builder::new()
        .prefix("sapi-relay-demo-")
        .tempdir()?;
    let file = home.path().join("relay.toml");
    std::fs::write(&file, configuration(&args, &simulator, home.path()))?;
    let config = Config::load(std::slice::from_ref(&file), &[])?;
    logging::start(&config.log);
    let stop = CancellationToken::new();
    let signals = Signals::new(stop.clone())?;
    let relay = Relay::build(config, vec![file.clone()]).await?;
    let downstream = relay
        .sink_address(SINK)
        .await
        .context("the websocket sink has no address")?;
    explain(&file, downstream, relay.admin_address())?;
    let state = Arc::clone(relay.state());
    let mut running = std::pin::pin!(relay.run(signals));
    let show = show(&state, args.length.map(|length| Instant::now() + length));
    tokio::select! {
        ended = &mut running => ended?,
        () = show => {
            stop.cancel();
            running.await?;
        }
    }
    summary(&state);
    simulator.stop().await;
    home.close()?;
    Ok(())
}

async fn simulate(args: &Demo) -> Result<Simulator, Failure> {
    let config = sapi_sim::Config {
        rate: args.rate,
        session_length: args.session_length,
        // A few in each session, so that it shows that they are no gaps for the other subscription.
        heartbeat: args.session_length / 4,
        // What was written last comes again after each cut, as it may from 8x8.
        overlap: 5,
        ..sapi_sim::Config::default()
    };
    Ok(Simulator::start(config)
        .await
        .context("starting the simulator")?)
}

fn configuration(args: &Demo, simulator: &Simulator, home: &Path) -> String {
    let (upstream, tenant) = (simulator.ws_url(), &simulator.config().tenant);
    let token = &simulator.config().token;
    let length = match args.session_length {
        length if length.subsec_nanos() == 0 => format!("{}s", length.as_secs()),
        length => format!("{}ms", length.as_millis()),
    };
    let (downstream, admin) = (free(DOWNSTREAM), free(ADMIN));
    let dir = home.join("journal");
    format!(
        r#"[upstream]
url            = "{upstream}"
tenant_id      = "{tenant}"
token          = "{token}"
subs_ids       = ["relay_a", "relay_b"]
session_length = "{length}"

[journal]
dir = {dir:?}

[admin]
listen = "{admin}"

[log]
level = "warn"

[sinks.{SINK}]
type   = "websocket"
listen = "{downstream}"
{archive}"#,
        dir = dir.display().to_string(),
        archive = archive(home),
    )
}

/// A sink that the relay delivers to: one can be paused on the dashboard, and seen to catch up.
fn archive(home: &Path) -> String {
    if !cfg!(feature = "file") {
        return String::new();
    }
    let path = home.join("events.ndjson").display().to_string();
    format!(
        "\n[sinks.archive]\ntype = \"file\"\npath = {path:?}\nrotate_bytes = \"64MiB\"\nkeep = 1\n"
    )
}

/// A port on loopback: the wanted one, or any.
fn free(port: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(address).is_ok() {
        address
    } else {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }
}

fn explain(file: &Path, downstream: SocketAddr, admin: SocketAddr) -> std::io::Result<()> {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "sapi-relay".to_owned());
    let mut out = stdout();
    writeln!(
        out,
        "\
A simulated contact centre, a relay with two subscriptions to it, and a WebSocket sink are running.
The simulator cuts each subscription again and again, as 8x8 does hourly; events come once, none is missing.

The dashboard:         http://{admin}/

Watch the events:      {program} tail --url http://{downstream}
  over SSE:            curl -N http://{downstream}/v1/events
  over WebSocket:      ws://{downstream}/v1/stream
  agents only:         curl -N 'http://{downstream}/v1/events?types=AgentStatusChange'
What has been:         curl 'http://{downstream}/v1/history?limit=5'
In a browser:          http://{downstream}/api/streaming/v1/TenantUpdates.jsp
As a client of 8x8:    ws://{downstream}/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=mine&desiredOutputType=JSON
For programs:          http://{admin}/v1/status and http://{admin}/metrics
Its configuration:     {}

Ctrl-C ends it and removes everything.
",
        file.display(),
    )?;
    out.flush()
}

/// A line that says how it goes: once a second on a terminal, every ten seconds elsewhere.
async fn show(state: &SharedState, until: Option<Instant>) {
    let terminal = std::io::stderr().is_terminal();
    let mut ticks = interval(Duration::from_secs(if terminal { 1 } else { 10 }));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = (Instant::now(), state.bus.last().0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        }
        let now = (Instant::now(), state.bus.last().0);
        let elapsed = now.0.duration_since(before.0).as_millis().max(1);
        let rate = u128::from(now.1.saturating_sub(before.1)) * 1000 / elapsed;
        before = now;
        let line = format!("{}, {rate}/s", line(state));
        if terminal {
            write!(std::io::stderr(), "\r\x1b[2K{line}").ok();
        } else {
            say(&line);
        }
    }
}

fn line(state: &SharedState) -> String {
    let boards: Vec<_> = state.boards.iter().map(|board| board.snapshot()).collect();
    let reconnects: u64 = boards.iter().map(|board| board.reconnects).sum();
    let gaps: u64 = boards.iter().map(|board| board.gaps).sum();
    let replayed: u64 = boards
        .iter()
        .map(|board| {
            state
                .metrics
                .duplicates_total
                .with_label_values(&[&*board.id])
                .get()
        })
        .sum();
    let mut line = String::new();
    // Writing to a String can't fail.
    write!(
        line,
        "{} events, {reconnects} rotations survived, {replayed} repetitions held back, {gaps} gaps",
        state.bus.last(),
    )
    .ok();
    line
}

fn summary(state: &SharedState) {
    say(&format!("\n{}. Bye.", line(state)));
}

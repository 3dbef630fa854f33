//! Intake end to end: socket, framing, dedup, journal with fsync.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::{committed, relay};
use crate::Bench;
use crate::process::{Cpu, memory_kib};
use crate::report::{Row, count};

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(1_000_000);
    let burst = Burst {
        events,
        ..Burst::default()
    };
    let simulator = Simulator::start(Config {
        burst: Some(burst),
        ..Config::default()
    })
    .await?;
    let journal = bench.journal()?;
    let start = Instant::now();
    let relay = relay(&simulator.ws_url(), &journal).await;
    let cpu = Cpu::of(relay.pid())?;
    committed(&relay, events).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let used = Cpu::since(relay.pid(), cpu)?;
    let peak = memory_kib(relay.pid(), "VmHWM")? / 1024.0;
    relay.terminate().await;
    simulator.stop().await;
    let total = events as f64;
    Ok(vec![
        Row::new(
            "events a second",
            count(total / elapsed),
            "at least 100,000",
        ),
        Row::new("CPU an event", used.each(total), "at most 6 µs"),
        Row::new(
            "peak resident memory, 64 MiB bus, dedup of all events",
            format!("{peak:.0} MiB"),
            "96 MiB + budgets",
        ),
    ])
}

//! Intake end to end: socket, framing, dedup, journal with fsync.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::{committed, relay};
use crate::Bench;
use crate::memory;
use crate::process::Cpu;
use crate::report::{Row, at_least, at_most, count};

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
    let peak = memory::peak("", &relay, 0).await?;
    relay.terminate().await;
    simulator.stop().await;
    let total = events as f64;
    Ok(vec![
        Row::new(
            "events a second",
            count(total / elapsed),
            at_least(total / elapsed, 100_000.0, "100,000"),
        ),
        Row::new(
            "CPU an event",
            used.each(total),
            at_most(used.micros(total), 6.0, "6 µs"),
        ),
        peak,
    ])
}

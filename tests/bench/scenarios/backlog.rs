//! What an outage leaves: a million events that arrive at once.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::relay;
use crate::Bench;
use crate::client::Client;
use crate::memory;
use crate::process::Cpu;
use crate::report::{Row, count, seconds};

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(1_000_000);
    let burst = Burst {
        events,
        batch: 4_096,
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
    let address = relay.address("downstream").await;
    let mut client = Client::connect(address, "/v1/stream?from=earliest", 1 << 18).await?;
    client.receive(events, None).await?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), Cpu::since(relay.pid(), cpu)?);
    let peak = memory::peak("", &relay, 1).await?;
    relay.terminate().await;
    simulator.stop().await;
    let total = events as f64;
    Ok(vec![
        Row::new("until the client has the last event", seconds(elapsed), ""),
        Row::new("events a second", count(total / elapsed), ""),
        Row::new("CPU an event, intake and one delivery", cpu.each(total), ""),
        peak,
    ])
}

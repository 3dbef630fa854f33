//! A relay with nothing to do.

use std::time::Duration;

use anyhow::Result;
use sapi_sim::{Config, Simulator};

use super::relay;
use crate::Bench;
use crate::process::{Cpu, memory_kib};
use crate::report::{Row, at_most};

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let simulator = Simulator::start(Config::default()).await?;
    let journal = bench.journal()?;
    let relay = relay(&simulator.ws_url(), &journal).await;
    relay
        .status_where("a subscription", |status| {
            status["subscriptions"][0]["state"] == "streaming"
        })
        .await;
    let length = Duration::from_secs(if bench.quick { 5 } else { 20 });
    // Start-up is not idling: let it settle before the clock runs.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu = Cpu::of(relay.pid())?;
    tokio::time::sleep(length).await;
    let used = Cpu::since(relay.pid(), cpu)?.total() / length.as_secs_f64();
    let resident = memory_kib(relay.pid(), "VmRSS")? / 1024.0;
    relay.terminate().await;
    simulator.stop().await;
    Ok(vec![
        Row::new(
            "CPU, of a core (ticks of 10 ms)",
            format!("{:.3}%", used * 100.0),
            at_most(used, 0.001, "0.1%"),
        ),
        Row::new(
            "resident memory",
            format!("{resident:.1} MiB"),
            at_most(resident, 20.0, "20 MiB"),
        ),
    ])
}

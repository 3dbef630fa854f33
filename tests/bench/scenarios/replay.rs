//! Replay of a journal that memory does not hold.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::{committed, relay};
use crate::Bench;
use crate::client::{Client, receive_all};
use crate::memory;
use crate::process::Cpu;
use crate::report::{Row, at_least, count};

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(2_000_000);
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
    let filler = relay(&simulator.ws_url(), &journal).await;
    committed(&filler, events).await?;
    filler.terminate().await;
    simulator.stop().await;

    let mut rows = Vec::new();
    for clients in [1_u64, 10] {
        // Nothing listens upstream: the relay only serves what it has.
        let relay = relay("ws://127.0.0.1:9", &journal).await;
        let address = relay.address("downstream").await;
        let mut connected = Vec::new();
        let (start, cpu) = (Instant::now(), Cpu::of(relay.pid())?);
        for _ in 0..clients {
            connected.push(Client::connect(address, "/v1/stream?from=earliest", 1 << 18).await?);
        }
        receive_all(connected, events, None).await?;
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), Cpu::since(relay.pid(), cpu)?);
        let case = format!("{} events to {clients} client(s)", count(events as f64));
        let peak = memory::peak(&format!("{case}: "), &relay, clients).await?;
        relay.terminate().await;
        let deliveries = (events * clients) as f64;
        let rate = deliveries / elapsed;
        let bound = match clients {
            1 => at_least(rate, 300_000.0, "300,000"),
            _ => "".into(),
        };
        rows.extend([
            Row::new(
                format!("{case}: deliveries a second, all clients"),
                count(rate),
                bound,
            ),
            Row::new(format!("{case}: CPU a delivery"), cpu.each(deliveries), ""),
            peak,
        ]);
    }
    Ok(rows)
}

//! Many clients: what a delivery and a connection cost.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::{committed, relay};
use crate::Bench;
use crate::client::{Client, Percentiles, receive_all};
use crate::process::{Cpu, memory_kib};
use crate::report::{Row, count, seconds};
use crate::source::Source;

/// A steady load: so many events a second, so many of them in one write.
#[derive(Clone, Copy)]
struct Load {
    events: u64,
    rate: f64,
    together: usize,
}

#[derive(Debug)]
struct Measured {
    cpu: Cpu,
    latency: Percentiles,
    kib_a_connection: f64,
}

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let steady = |together| Load {
        events: bench.events(20_000),
        rate: 2_000.0,
        together,
    };
    for together in [1, 8] {
        let load = steady(together);
        let without = paced(bench, load, 0).await?;
        for clients in [1, 100] {
            // A hundred clients at 2,000 events/s, each alone in its flush, are more than a core.
            let load = if (clients, together) == (100, 1) {
                Load {
                    rate: 500.0,
                    ..load
                }
            } else {
                load
            };
            let without = if load.rate < 2_000.0 {
                paced(bench, load, 0).await?
            } else {
                Measured { ..without }
            };
            rows.extend(delivery_rows(
                load,
                clients,
                &without,
                &paced(bench, load, clients).await?,
            ));
        }
    }
    let load = Load {
        events: bench.events(1_000).max(200),
        rate: 50.0,
        together: 1,
    };
    let without = paced(bench, load, 0).await?;
    let with = paced(bench, load, 2_000).await?;
    rows.extend(delivery_rows(load, 2_000, &without, &with));
    rows.push(Row::new(
        "memory a connection, 2,000 clients",
        format!("{:.1} KiB", with.kib_a_connection),
        "at most 8 KiB",
    ));
    for clients in [1, 100] {
        rows.extend(highest(bench, clients).await?);
    }
    Ok(rows)
}

fn delivery_rows(load: Load, clients: u64, without: &Measured, with: &Measured) -> Vec<Row> {
    let deliveries = (load.events * clients) as f64;
    let cpu = Cpu {
        user: with.cpu.user - without.cpu.user,
        system: with.cpu.system - without.cpu.system,
    };
    let case = format!(
        "{} client(s), {} events/s, {} together",
        count(clients as f64),
        load.rate,
        load.together
    );
    let bound = match load.together {
        1 => "at most 7 µs",
        _ => "at most 1.3 µs",
    };
    let Percentiles { p50, p99, p999 } = with.latency;
    vec![
        Row::new(
            format!("{case}: CPU a delivery"),
            cpu.each(deliveries),
            bound,
        ),
        Row::new(
            format!("{case}: latency p50 / p99 / p99.9"),
            format!("{} / {} / {}", seconds(p50), seconds(p99), seconds(p999)),
            "",
        ),
    ]
}

/// A steady load to so many clients.
async fn paced(bench: &Bench, load: Load, clients: u64) -> Result<Measured> {
    let source = Source::bind(load.events).await?;
    let frames = source.frames(0..load.events)?;
    let journal = bench.journal()?;
    let upstream = format!("ws://{}", source.address()?);
    let (relay, stream) = tokio::join!(relay(&upstream, &journal), source.accept());
    let mut stream = stream?;
    let address = relay.address("downstream").await;
    let before = memory_kib(relay.pid(), "RssAnon")?;
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(address, "/v1/stream", 1 << 14).await?);
    }
    let cpu = Cpu::of(relay.pid())?;
    let (sent, received) = tokio::join!(
        source.pace(&mut stream, 0, &frames, load.rate, load.together),
        receive_all(connected, load.events, Some(&source.sent)),
    );
    sent?;
    let (_connected, latencies) = received?;
    committed(&relay, load.events).await?;
    let cpu = Cpu::since(relay.pid(), cpu)?;
    // The bus's own memory grew too: what it holds is not the connections'.
    let bus = relay
        .metric("sapi_relay_bus_memory_bytes")
        .await
        .unwrap_or(0.0)
        / 1024.0;
    let after = memory_kib(relay.pid(), "RssAnon")?;
    relay.terminate().await;
    Ok(Measured {
        cpu,
        latency: Percentiles::of(latencies),
        kib_a_connection: (after - before - bus) / (clients.max(1)) as f64,
    })
}

/// As fast as relay and clients go, together on the same cores.
async fn highest(bench: &Bench, clients: u64) -> Result<Vec<Row>> {
    let events = bench.events(if clients == 1 { 500_000 } else { 50_000 });
    let burst = Burst {
        events,
        ..Burst::default()
    };
    let config = Config {
        burst: Some(burst),
        faults: Vec::new(),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await?;
    let journal = bench.journal()?;
    let relay = relay(&simulator.ws_url(), &journal).await;
    let address = relay.address("downstream").await;
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(address, "/v1/stream?from=earliest", 1 << 18).await?);
    }
    let (start, cpu) = (Instant::now(), Cpu::of(relay.pid())?);
    receive_all(connected, events, None).await?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), Cpu::since(relay.pid(), cpu)?);
    let peak = memory_kib(relay.pid(), "VmHWM")? / 1024.0;
    relay.terminate().await;
    simulator.stop().await;
    let deliveries = (events * clients) as f64;
    let case = format!("{} client(s), highest rate", count(clients as f64));
    Ok(vec![
        Row::new(
            format!("{case}: deliveries a second"),
            count(deliveries / elapsed),
            "",
        ),
        Row::new(
            format!("{case}: CPU a delivery, intake included"),
            cpu.each(deliveries),
            "",
        ),
        Row::new(
            format!("{case}: peak resident memory"),
            format!("{peak:.0} MiB"),
            "96 MiB + budgets",
        ),
    ])
}

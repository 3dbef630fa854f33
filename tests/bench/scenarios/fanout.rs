//! Many clients: what a delivery and a connection cost.

use std::time::Instant;

use anyhow::Result;
use sapi_sim::{Burst, Config, Simulator};

use super::{committed, relay};
use crate::client::{Client, Percentiles, receive_all};
use crate::process::{Cpu, memory_kib};
use crate::report::{Row, at_most, count, seconds};
use crate::source::Source;
use crate::{Bench, bare, memory};

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
    // A hundred clients at 2,000 events/s, each alone in its flush, are more than a core.
    for (clients, rate, together) in [
        (1, 2_000.0, 1),
        (1, 2_000.0, 8),
        (100, 500.0, 1),
        (100, 2_000.0, 8),
        (2_000, 50.0, 1),
    ] {
        let seconds = if bench.quick { 2.0 } else { 5.0 };
        let load = Load {
            events: (rate * seconds) as u64,
            rate,
            together,
        };
        // What one client costs drowns in what the intake of its events does.
        if clients == 1 {
            let measured = paced(bench, load, clients).await?;
            rows.push(latency_row(load, clients, &measured));
        } else {
            rows.extend(several(bench, load, clients).await?);
        }
    }
    for clients in [1, 100] {
        rows.extend(highest(bench, clients).await?);
    }
    Ok(rows)
}

/// With clients, without, and by the bare program, in turn, so that a machine whose speed drifts
/// gives each the same: of the repetitions the one in the middle counts.
async fn several(bench: &Bench, load: Load, clients: u64) -> Result<Vec<Row>> {
    let deliveries = (load.events * clients) as f64;
    let mut repetitions = Vec::new();
    let mut bares = Vec::new();
    for _ in 0..if bench.quick { 1 } else { 3 } {
        let with = paced(bench, load, clients).await?;
        let without = paced(bench, load, 0).await?;
        let Load { rate, together, .. } = load;
        bares.push(bare::write(clients, rate, together, load.events).await? * 1e6);
        let cpu = Cpu {
            user: with.cpu.user - without.cpu.user,
            system: with.cpu.system - without.cpu.system,
        };
        repetitions.push((cpu, with));
    }
    repetitions.sort_by(|(one, _), (other, _)| one.total().total_cmp(&other.total()));
    bares.sort_by(f64::total_cmp);
    let (cpu, with) = repetitions.swap_remove(repetitions.len() / 2);
    let bare = bares.swap_remove(bares.len() / 2);
    let (limit, text) = match load.together {
        1 => (7.0, "7 µs"),
        _ => (1.3, "1.3 µs"),
    };
    let case = load.case(clients);
    let mut rows = vec![
        latency_row(load, clients, &with),
        Row::new(
            format!("{case}: CPU a delivery"),
            cpu.each(deliveries),
            at_most(cpu.micros(deliveries), limit, text),
        ),
        Row::new(
            format!("{case}: CPU a delivery of a bare program"),
            format!("{bare:.2} µs"),
            "",
        ),
    ];
    if clients == 2_000 {
        let kib = with.kib_a_connection;
        rows.push(Row::new(
            "memory a connection, 2,000 clients",
            format!("{kib:.1} KiB"),
            at_most(kib, 8.0, "8 KiB"),
        ));
    }
    Ok(rows)
}

impl Load {
    fn case(self, clients: u64) -> String {
        let Self { rate, together, .. } = self;
        format!(
            "{} client(s), {rate} events/s, {together} together",
            count(clients as f64)
        )
    }
}

fn latency_row(load: Load, clients: u64, measured: &Measured) -> Row {
    let Percentiles { p50, p99, p999 } = measured.latency;
    Row::new(
        format!("{}: latency p50 / p99 / p99.9", load.case(clients)),
        format!("{} / {} / {}", seconds(p50), seconds(p99), seconds(p999)),
        "",
    )
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
    let case = format!("{} client(s), highest rate", count(clients as f64));
    let peak = memory::peak(&format!("{case}: "), &relay, clients).await?;
    relay.terminate().await;
    simulator.stop().await;
    let deliveries = (events * clients) as f64;
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
        peak,
    ])
}

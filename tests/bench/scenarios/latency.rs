//! Added latency at a steady rate.

use anyhow::Result;

use super::relay;
use crate::Bench;
use crate::client::{Client, Percentiles};
use crate::machine::fdatasync;
use crate::process::Cpu;
use crate::report::{Row, at_most, seconds};
use crate::source::Source;

const RATE: f64 = 2_000.0;
const WINDOW: f64 = 0.002;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(40_000);
    let source = Source::bind(events).await?;
    let frames = source.frames(0..events)?;
    let journal = bench.journal()?;
    let before = fdatasync(&bench.disk)?.p50;
    let upstream = format!("ws://{}", source.address()?);
    let (relay, stream) = tokio::join!(relay(&upstream, &journal), source.accept());
    let mut stream = stream?;
    let mut client =
        Client::connect(relay.address("downstream").await, "/v1/stream", 1 << 16).await?;
    let cpu = Cpu::of(relay.pid())?;
    let (sent, received) = tokio::join!(
        source.pace(&mut stream, 0, &frames, RATE, 1),
        client.receive(events, Some(&source.sent))
    );
    sent?;
    let latencies = received?;
    let used = Cpu::since(relay.pid(), cpu)?;
    anyhow::ensure!(latencies.len() as u64 == events, "every event was timed");
    let Percentiles { p50, p99, p999 } = Percentiles::of(latencies);
    relay.terminate().await;
    let after = fdatasync(&bench.disk)?.p50;
    let sync = f64::midpoint(before, after);
    let bound = |measured: f64, window: f64, syncs: f64, text: &str| {
        let limit = window + syncs * sync;
        at_most(measured, limit, format!("{} ({text})", seconds(limit)))
    };
    let half = "half the window and 5 fdatasyncs";
    Ok(vec![
        Row::new(
            "the disk's own fdatasync, p50 before / after",
            format!("{} / {}", seconds(before), seconds(after)),
            "",
        ),
        Row::new("p50", seconds(p50), bound(p50, WINDOW / 2.0, 5.0, half)),
        Row::new(
            "p99",
            seconds(p99),
            bound(p99, WINDOW, 10.0, "the window and 10 fdatasyncs"),
        ),
        Row::new("p99.9", seconds(p999), ""),
        Row::new(
            "CPU an event, intake and one delivery",
            used.each(events as f64),
            "",
        ),
    ])
}

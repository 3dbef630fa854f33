//! What delivery costs beside a sink: `cargo run --release -p relay-core --features testing --example
//! delivery_speed`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement for a terminal"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "a measurement of events that were just made"
)]

use std::time::Instant;

use bytes::Bytes;
use sapi_protocol::{Document, Framed};

use relay_core::admit::{Admit as _, Received};
use relay_core::cloudevents;
use relay_core::contract::{FakePeer, Relay};
use relay_core::filter::Filter;
use relay_core::worker::WorkerConfig;
use relay_core::{Batch, Limit, Offset};

const EVENTS: usize = 100_000;

async fn commit_kilobytes(relay: &Relay) {
    let text = "x".repeat(800);
    for start in (0..EVENTS).step_by(500) {
        let documents = (start..start + 500).map(|number| {
            let json = format!(
                r#"{{"Interaction":{{"event":"InteractionCreated","interactionGUID":"int-{}-phone","text":"{text}","msgInfo":{{"instanceId":"i","sequenceId":{number},"timestamp":{number}}}}}}}"#,
                number % 1000
            );
            Framed::Document(Document::parse(Bytes::from(json)).unwrap())
        });
        let received = Received {
            subscription: "relay_a".into(),
            at_ms: 1_700_000_000_000,
            documents: documents.collect(),
        };
        relay.core.intake.documents(received).await.unwrap();
    }
    relay.core.intake.flush().await;
}

async fn batches(relay: &Relay) -> Vec<Batch> {
    let mut reader = relay.core.bus.reader_after(Offset(0));
    let limit = Limit {
        events: 512,
        bytes: 1 << 20,
    };
    let mut batches = Vec::new();
    while batches.len() < 20 {
        batches.extend(reader.ready_batch(limit).await);
    }
    batches.into_iter().flatten().collect()
}

#[tokio::main]
async fn main() {
    let relay = Relay::roomy();
    commit_kilobytes(&relay).await;
    let (source, filter) = (
        relay.source(),
        Filter::parse(&["Interaction/*", "!Nothing*"]).unwrap(),
    );
    let held = batches(&relay).await;
    let events: Vec<_> = held.iter().flat_map(Batch::events).collect();
    let each = |start: Instant, rounds: usize| {
        start.elapsed().as_nanos() / (events.len() * rounds) as u128
    };
    let (start, mut out) = (Instant::now(), Vec::new());
    for event in events.iter().cycle().take(events.len() * 20) {
        out.clear();
        cloudevents::structured(event, &source, &mut out);
    }
    println!(
        "structured: {} ns an event of {} bytes",
        each(start, 20),
        events[0].bytes().len()
    );
    let start = Instant::now();
    let passed = events
        .iter()
        .cycle()
        .take(events.len() * 20)
        .filter(|event| filter.passes(event));
    assert_eq!(passed.count(), events.len() * 20);
    println!("filter: {} ns an event", each(start, 20));
    drop(events);
    drop(held);
    let peer = FakePeer::default();
    let start = Instant::now();
    let sink = relay.start_with(&peer, |config| {
        let defaults = WorkerConfig::new("lake", "test");
        config.batch_events = defaults.batch_events;
        config.batch_bytes = defaults.batch_bytes;
        config.in_flight_bytes = defaults.in_flight_bytes;
        config.ahead_events = defaults.ahead_events;
    });
    relay.settled(&sink).await;
    let rate = EVENTS as u128 * 1_000_000_000 / start.elapsed().as_nanos();
    println!("worker, from disk, to a peer that confirms at once: {rate} events/s");
}

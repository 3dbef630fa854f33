//! Burst mode: distinct documents, counted and hashed instead of kept.

use std::collections::HashSet;

use sapi_protocol::{Document, event_id};
use sapi_sim::{Burst, Config, burst_document, burst_hash};
use xxhash_rust::xxh3::xxh3_128;

use crate::client::{connect, gone, start, within};

fn config(burst: Burst) -> Config {
    Config {
        burst: Some(burst),
        ..Config::default()
    }
}

#[tokio::test]
async fn each_subscription_gets_all_distinct_documents_and_goes_on_after_a_reconnect() {
    let burst = Burst {
        events: 5000,
        batch: 64,
        ..Burst::default()
    };
    let sim = start(config(burst), &[]).await;
    let mut ids = HashSet::new();
    let mut sum = 0_u128;
    let mut client = connect(&sim, "a").await;
    let mut bytes = client.events(1000).await;
    let rest = client.close().await;
    bytes.extend(rest.into_iter().map(Document::into_bytes));
    gone(&sim).await;
    // What was written and not read is lost, as with SAPI.
    let written = usize::try_from(sim.status().subscriptions[0].burst).unwrap();
    assert!(bytes.len() <= written);
    let read = bytes.len();
    let mut client = connect(&sim, "a").await;
    bytes.extend(client.events(5000 - written).await);
    within(sim.finished()).await;
    for (n, document) in bytes.iter().enumerate() {
        assert_eq!(document.len(), 1024);
        let n = if n < read { n } else { n + written - read };
        assert_eq!(*document, burst_document(sim.config(), burst, n as u64));
        sum = sum.wrapping_add(xxh3_128(document));
        let parsed = Document::parse(document.clone()).unwrap();
        assert!(ids.insert(event_id("acmecorp01", &parsed.msg_info()).unwrap()));
    }
    if read == written {
        assert_eq!(sum, burst_hash(sim.config(), burst, 5000));
    }
}

#[tokio::test]
async fn a_pace_is_kept() {
    let burst = Burst {
        events: 300,
        batch: 10,
        rate: 1000.0,
        event_bytes: 2000,
    };
    let sim = start(config(burst), &[]).await;
    let begun = std::time::Instant::now();
    let mut client = connect(&sim, "a").await;
    assert!(
        client
            .events(300)
            .await
            .iter()
            .all(|event| event.len() == 2000)
    );
    let took = begun.elapsed().as_millis();
    assert!(took >= 295, "{took}");
}

#[tokio::test]
async fn a_size_that_is_too_small_is_refused() {
    let burst = Burst {
        event_bytes: 100,
        ..Burst::default()
    };
    assert!(sapi_sim::Simulator::start(config(burst)).await.is_err());
}

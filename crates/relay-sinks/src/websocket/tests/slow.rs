//! Clients that do not read.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::fixture::{Fixture, config, number, soon};

const PAD: usize = 4000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing_cost_the_others_nothing_and_no_memory() {
    const MEMORY: usize = 2 << 20;
    let mut relay = Fixture::with(config(), MEMORY).await;
    let mut sleepers = Vec::new();
    for _ in 0..10 {
        sleepers.push(relay.connect("/v1/stream").await);
    }
    let mut reader = relay.connect("/v1/stream").await;
    relay.until_connected(11).await;
    let mut most = 0;
    for round in 0..60 {
        let last = relay.commit_padded("AgentStatusChange", 100, PAD).await;
        let numbers = reader.numbers(100).await;
        assert_eq!(numbers.last(), Some(&last), "round {round}");
        most = most.max(relay.core.bus.memory_bytes());
    }
    assert!(
        most < 3 * MEMORY,
        "24 MB went through, {most} bytes were held"
    );
    assert_eq!(
        relay.clients.connected(),
        11,
        "nobody is dropped for being slow"
    );
    for sleeper in &mut sleepers {
        let numbers = sleeper.numbers(6000).await;
        assert_eq!(numbers, (1..=6000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_client_whose_kernel_refuses_for_too_long_is_told_so_and_its_cursor_is_good() {
    let mut config = config();
    config.slow_client_timeout = Duration::from_millis(300);
    let mut relay = Fixture::with(config, 1 << 20).await;
    let mut peer = relay.connect("/v1/stream").await;
    relay.until_connected(1).await;
    for _ in 0..200 {
        relay.commit_padded("AgentStatusChange", 20, PAD).await;
    }
    relay.until_connected(0).await;
    assert_eq!(relay.left("slow"), 1);
    let (mut numbers, mut cursor, mut close) = (Vec::new(), String::new(), None);
    while let Some(Ok(said)) = soon("what was sent before", peer.0.next()).await {
        match said {
            Message::Text(text) => {
                let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                numbers.push(number(&event["data"]));
                event["relaycursor"]
                    .as_str()
                    .unwrap()
                    .clone_into(&mut cursor);
            }
            Message::Close(frame) => close = frame,
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    assert!(numbers.len() < 4000);
    let counted = &relay.metrics.client_events_total;
    let counted = counted.with_label_values(&["downstream"]).get();
    assert_eq!(counted, numbers.len() as u64);
    if let Some(close) = close {
        assert_eq!(close.code, CloseCode::Again);
    }
    let mut peer = relay.connect(&format!("/v1/stream?from={cursor}")).await;
    numbers.extend(peer.numbers(4000 - numbers.len() as u64).await);
    assert_eq!(numbers, (1..=4000).collect::<Vec<_>>());
}

#[tokio::test]
async fn so_is_one_of_server_sent_events() {
    let mut config = config();
    config.slow_client_timeout = Duration::from_millis(300);
    let mut relay = Fixture::with(config, 1 << 20).await;
    let _sleeper = relay
        .tcp("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    relay.until_connected(1).await;
    for _ in 0..200 {
        relay.commit_padded("AgentStatusChange", 20, PAD).await;
    }
    relay.until_connected(0).await;
    assert_eq!(relay.left("slow"), 1);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_one_that_does_not_read() {
    let mut relay = Fixture::with(config(), 1 << 20).await;
    let mut peer = relay.connect("/v1/stream").await;
    relay.until_connected(1).await;
    for _ in 0..100 {
        relay.commit_padded("AgentStatusChange", 20, PAD).await;
    }
    relay.drain().await;
    let mut bytes = vec![0; 1 << 16];
    let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = peer.0.get_mut() else {
        panic!("plain")
    };
    while soon("the end", tcp.read(&mut bytes))
        .await
        .is_ok_and(|read| read > 0)
    {}
}

#[tokio::test]
async fn nor_for_a_download_that_nobody_reads() {
    let mut relay = Fixture::with(config(), 1 << 20).await;
    for _ in 0..100 {
        relay.commit_padded("AgentStatusChange", 20, PAD).await;
    }
    let request = "GET /v1/history HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _sleeper = relay.tcp(request).await;
    relay.until_connected(1).await;
    relay.drain().await;
    assert_eq!((relay.clients.connected(), relay.left("shutdown")), (0, 1));
}

/// A second connection on the subsId of one that does not read: the first keeps what its kernel
/// has, the second gets all the rest.
#[tokio::test]
async fn a_stuck_sapi_client_is_taken_over_and_nothing_is_lost_or_doubled() {
    let mut relay = Fixture::with(config(), 1 << 20).await;
    let path = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a&desiredOutputType=JSON";
    let mut stuck = relay.connect(path).await;
    relay.until_connected(1).await;
    for _ in 0..150 {
        relay.commit_padded("AgentStatusChange", 20, PAD).await;
    }
    let mut next = relay.connect(path).await;
    let mut numbers = Vec::new();
    while let Some(Ok(said)) = soon("what the first has", stuck.0.next()).await {
        if let Message::Text(text) = said {
            numbers.push(number(&serde_json::from_str(&text).unwrap()));
        }
    }
    assert!(numbers.len() < 3000, "it was stuck");
    while numbers.last() != Some(&3000) {
        numbers.push(number(&next.json().await));
    }
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>());
    relay.until_connected(1).await;
    assert_eq!(relay.left("taken_over"), 1);
}

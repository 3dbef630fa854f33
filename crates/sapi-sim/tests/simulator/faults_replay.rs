//! Faults of what happens around a reconnect, and of the store.

use std::time::Duration;

use bytes::Bytes;
use sapi_sim::{Config, Kind, Simulator};

use crate::client::{Client, Ended, bytes, connect, gone, made, start};

/// A subscription that was written ten events and has ten more stored, connected again.
async fn reconnected(faults: &[&str]) -> (Simulator, Client) {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(10);
    client.events(10).await;
    client.close().await;
    gone(&sim).await;
    sim.emit(10);
    for fault in faults {
        sim.set_fault(fault).unwrap();
    }
    let client = connect(&sim, "a").await;
    (sim, client)
}

fn fired(sim: &Simulator, faults: &[&str]) {
    for fault in faults {
        let name = fault.split('=').next().unwrap();
        assert!(sim.fired(name) > 0, "{name} did not fire");
    }
}

/// Which of the made events, from 1, these are.
fn numbers(sim: &Simulator, events: &[Bytes]) -> Vec<usize> {
    let made = bytes(&made(sim));
    events
        .iter()
        .map(|event| 1 + made.iter().position(|other| other == event).unwrap())
        .collect()
}

/// Each row: a fault, and what comes after the reconnect, the event emitted then included.
#[tokio::test]
async fn stored_events_come_as_faults_want() {
    let table: Vec<(&str, Vec<usize>)> = vec![
        ("replay-newest-first", (11..=20).rev().chain([21]).collect()),
        ("replay-duplicates=3", (8..=21).collect()),
        ("cache-drop-oldest=4", (17..=21).collect()),
        ("cache-drop-newest=4", (11..=14).chain([21]).collect()),
        ("cache-lost", vec![21]),
        ("cache-short=0", vec![21]),
        ("first-history=5", (11..=21).collect()),
    ];
    for (fault, expected) in table {
        let (sim, mut client) = reconnected(&[fault]).await;
        sim.emit(1);
        let events = client.events(expected.len()).await;
        assert_eq!(numbers(&sim, &events), expected, "{fault}");
        if fault != "first-history=5" {
            fired(&sim, &[fault]);
        }
    }
}

#[tokio::test]
async fn all_that_is_stored_in_one_message() {
    let (sim, mut client) = reconnected(&["replay-one-message"]).await;
    let events = client.events(10).await;
    assert_eq!(numbers(&sim, &events), (11..=20).collect::<Vec<_>>());
    assert_eq!(client.messages.len(), 1);
    sim.emit(2);
    client.events(2).await;
    assert_eq!(client.messages.len(), 3);
    fired(&sim, &["replay-one-message"]);
}

#[tokio::test]
async fn live_events_before_or_between_the_stored() {
    let (sim, mut client) = reconnected(&["replay-live-first=3"]).await;
    sim.emit(4);
    let events = client.events(14).await;
    let expected: Vec<usize> = (21..=23).chain(11..=20).chain([24]).collect();
    assert_eq!(numbers(&sim, &events), expected);
    fired(&sim, &["replay-live-first"]);

    // Held back until both kinds are there.
    let (sim, mut client) = reconnected(&["replay-interleaved", "silent"]).await;
    sim.emit(4);
    sim.clear_fault("silent").unwrap();
    let events = client.events(14).await;
    assert_eq!(
        numbers(&sim, &events)[..8],
        [11, 21, 12, 22, 13, 23, 14, 24]
    );
    fired(&sim, &["replay-interleaved"]);
}

#[tokio::test]
async fn a_replay_that_is_late() {
    let begun = std::time::Instant::now();
    let (sim, mut client) = reconnected(&["replay-delay=200"]).await;
    sim.emit(1);
    let events = client.events(11).await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let expected: Vec<usize> = [21].into_iter().chain(11..=20).collect();
    assert_eq!(numbers(&sim, &events), expected);
    fired(&sim, &["replay-delay"]);
}

#[tokio::test]
async fn heartbeats_are_stored_too() {
    let heartbeat = Duration::from_millis(20);
    let config = Config {
        heartbeat,
        ..Config::default()
    };
    let sim = start(config, &["replay-heartbeats"]).await;
    connect(&sim, "a").await.close().await;
    gone(&sim).await;
    let beats = |sim: &Simulator| {
        sim.ledger()
            .iter()
            .filter(|one| one.kind == Kind::Heartbeat)
            .count()
    };
    let before = beats(&sim);
    sim.wait_until(|sim| beats(sim) >= before + 3).await;
    let mut client = connect(&sim, "a").await;
    for _ in 0..3 {
        assert!(client.next().await.unwrap().is_heartbeat());
    }
    fired(&sim, &["replay-heartbeats"]);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_the_replay() {
    for (more, expected) in [
        (None, (15..=21).collect::<Vec<usize>>()),
        (Some("replay-rest-lost"), vec![21]),
        (Some("replay-whole-again"), (11..=21).collect()),
    ] {
        let faults: Vec<&str> = ["cut-during-replay=4"].into_iter().chain(more).collect();
        let (sim, mut client) = reconnected(&faults).await;
        let events = client.events(4).await;
        assert_eq!(numbers(&sim, &events), [11, 12, 13, 14]);
        assert_eq!(client.end().await, Ended::Dropped);
        gone(&sim).await;
        let mut client = connect(&sim, "a").await;
        sim.emit(1);
        let events = client.events(expected.len()).await;
        assert_eq!(numbers(&sim, &events), expected, "{more:?}");
        fired(&sim, &faults);
    }
}

#[tokio::test]
async fn events_written_into_a_dead_socket_are_lost() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(3);
    client.events(3).await;
    sim.set_fault("half-open-loss=4").unwrap();
    sim.emit(4);
    assert_eq!(client.end().await, Ended::Dropped);
    gone(&sim).await;
    sim.emit(2);
    let mut client = connect(&sim, "a").await;
    let events = client.events(2).await;
    assert_eq!(numbers(&sim, &events), [8, 9]);
    let lost: Vec<bool> = made(&sim)
        .iter()
        .map(|entry| entry.written[0].lost)
        .collect();
    assert_eq!(
        lost,
        [false, false, false, true, true, true, true, false, false]
    );
    fired(&sim, &["half-open-loss"]);
}

#[tokio::test]
async fn an_intermediary_forgets_an_idle_connection() {
    let sim = start(Config::default(), &["idle-drop=0"]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(1);
    assert_eq!(client.end().await, Ended::Dropped);
    assert!(made(&sim)[0].written[0].lost);
    fired(&sim, &["idle-drop"]);
}

#[tokio::test]
async fn a_failed_write_goes_to_the_end_of_the_queue() {
    // The client reads nothing: the kernel's buffers fill up, and a write hangs.
    let config = Config {
        event_bytes: Some(200_000),
        ..Config::default()
    };
    let sim = start(config, &["requeue-at-tail", "slow-drop=100"]).await;
    let client = connect(&sim, "a").await;
    sim.emit(100);
    gone(&sim).await;
    drop(client);
    fired(&sim, &["requeue-at-tail", "slow-drop"]);
    let written = made(&sim)
        .iter()
        .filter(|entry| !entry.written.is_empty())
        .count();
    assert!(written < 100);
    sim.clear_fault("slow-drop").unwrap();
    let mut client = connect(&sim, "a").await;
    let events = client.events(100 - written).await;
    let order = numbers(&sim, &events);
    assert!(!order.is_sorted(), "{order:?}");
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (written + 1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_reader_loses_the_oldest() {
    let sim = start(Config::default(), &["slow-discard=10", "silent"]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(50);
    sim.clear_fault("silent").unwrap();
    let events = client.events(10).await;
    assert_eq!(numbers(&sim, &events), (41..=50).collect::<Vec<_>>());
    fired(&sim, &["slow-discard"]);
}

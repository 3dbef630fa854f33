//! Framing torture: however documents come, every good one arrives and every bad one is accounted for.

use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, load, soon, until};
use sapi_sim::{Config, DEMO_TOKEN, Kind, Simulator};
use serde_json::Value;

async fn connected(config: Config) -> (Simulator, Relay) {
    let simulator = Simulator::start(config).await.unwrap();
    let relay = Relay::start(&Setup::new(&simulator.ws_url(), DEMO_TOKEN)).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    (simulator, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_put_documents_into_messages() {
    let cases: [&[&str]; 11] = [
        &["split=50"],
        &["split=50", "binary"],
        &["concat=500"],
        &["concat=7", "concat-newline"],
        &["fragment=5"],
        &["padding=2048"],
        &["stray-x"],
        &["blank"],
        &["binary"],
        &["bom"],
        &["crlf"],
    ];
    for faults in cases {
        let (simulator, relay) = connected(Config::default()).await;
        for fault in faults {
            simulator.set_fault(fault).unwrap();
        }
        simulator.emit(1_500);
        let emitted = emitted(&simulator);
        assert_same(&recorded(&relay, emitted.len()).await, &emitted);
        for fault in faults {
            assert!(
                simulator.fired(fault.split('=').next().unwrap()) > 0,
                "{fault} fired"
            );
        }
        assert_eq!(malformed(&relay).await, 0, "{faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pretty_printed_documents_keep_their_bytes() {
    let (simulator, relay) = connected(Config::default()).await;
    simulator.set_fault("pretty").unwrap();
    simulator.emit(200);
    let delivered = recorded(&relay, 200).await;
    assert!(simulator.fired("pretty") > 0);
    for (have, want) in delivered.iter().zip(emitted(&simulator)) {
        assert!(
            !have.data.get().contains('\n'),
            "NDJSON has one line an event"
        );
        let want: Value = serde_json::from_slice(&want).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(have.data.get()).unwrap(),
            want
        );
    }
}

/// What the relay counts as malformed.
async fn malformed(relay: &Relay) -> usize {
    let url = relay.admin("/metrics").await;
    let text = relay_tests::http::get(&url)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let counts = text
        .lines()
        .filter(|line| line.starts_with("sapi_relay_malformed_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

async fn dead_letters(relay: &Relay) -> Vec<Value> {
    let url = relay.admin("/v1/dead-letters?limit=1000").await;
    let mut page: Value = relay_tests::http::get(&url)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    match page["items"].take() {
        Value::Array(items) => items,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_between_good_ones() {
    for fault in ["truncated=10", "invalid-utf8=10", "not-a-document=10"] {
        let (simulator, relay) = connected(Config::default()).await;
        simulator.set_fault(fault).unwrap();
        simulator.emit(500);
        simulator
            .clear_fault(fault.split('=').next().unwrap())
            .unwrap();
        // A truncated document ends where the next one begins.
        simulator.emit(1);
        let emitted = emitted(&simulator);
        assert_same(&recorded(&relay, emitted.len()).await, &emitted);
        let bad = simulator
            .ledger()
            .iter()
            .filter(|entry| entry.kind == Kind::Malformed)
            .count();
        assert!(bad >= 50, "{fault} fired {bad} times");
        until("each bad document in the dead letters", || async {
            (dead_letters(&relay).await.len() == bad).then_some(())
        })
        .await;
        assert_eq!(malformed(&relay).await, bad, "{fault}");
        for letter in dead_letters(&relay).await {
            assert_eq!(letter["origin"], "upstream", "{letter}");
            assert!(letter["size"].as_u64().unwrap() > 0, "{letter}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eight_megabyte_document() {
    let (simulator, relay) = connected(Config::default()).await;
    simulator.emit(10);
    simulator.set_fault("huge=8100000").unwrap();
    simulator.emit(20);
    let emitted = emitted(&simulator);
    assert!(emitted.iter().any(|bytes| bytes.len() >= 8_000_000));
    assert_same(&recorded(&relay, emitted.len()).await, &emitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_beyond_the_bound_costs_only_itself() {
    let (simulator, relay) = connected(Config::default()).await;
    simulator.emit(10);
    simulator.set_fault("huge=20100000").unwrap();
    simulator.emit(20);
    let kept: Vec<_> = emitted(&simulator)
        .into_iter()
        .filter(|bytes| bytes.len() < 16 << 20)
        .collect();
    assert_eq!(kept.len(), 29);
    assert_same(&recorded(&relay, kept.len()).await, &kept);
    let letter = until("the dead letter", || async {
        dead_letters(&relay).await.pop()
    })
    .await;
    assert_eq!(
        (&letter["reason"], &letter["truncated"]),
        (&"too_large".into(), &true.into())
    );
    assert!(letter["size"].as_u64().unwrap() >= 20_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_of_stored_events_in_one_message() {
    const EVENTS: u64 = 50_000;
    let _alone = load::alone().await;
    let config = Config {
        event_bytes: Some(2_100),
        preload: EVENTS,
        preload_subs: vec!["relay_a".to_owned()],
        faults: vec!["replay-one-message".parse().unwrap()],
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let emitted = emitted(&simulator);
    let size: usize = emitted.iter().map(|bytes| bytes.len()).sum();
    assert!(size > 100 << 20, "{size} bytes in one message");
    let relay = Relay::start(&Setup::new(&simulator.ws_url(), DEMO_TOKEN)).await;
    assert_same(&recorded(&relay, emitted.len()).await, &emitted);
    assert!(simulator.fired("replay-one-message") > 0);
    // The message itself, twice while its buffer grows, beside the bus and what the relay always takes.
    let bound = (96 + 64 + 2 * 128) << 20;
    assert!(
        relay.peak_memory() < bound,
        "{} MiB",
        relay.peak_memory() >> 20
    );
}

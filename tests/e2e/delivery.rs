//! Nothing lost, nothing doubled: the history of the relay equals the ledger of the simulator, across
//! rotations, several subscriptions and `kill -9`.

use std::time::Duration;

use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::{Setup, offset};
use relay_tests::{PATIENCE, Relay, load, within};
use sapi_sim::{Config, Simulator};

const RATE: f64 = 2_000.0;

/// A simulator that cuts every 5 s, replays the last 200 events, and emits for `length`.
async fn simulator(length: Duration, overlap: usize, subscriptions: usize) -> Simulator {
    let events = RATE * length.as_secs_f64();
    let config = Config {
        rate: RATE,
        events: Some(events as u64),
        session_length: Duration::from_secs(5),
        overlap,
        wait_clients: subscriptions,
        ..Config::default()
    };
    Simulator::start(config).await.unwrap()
}

fn setup(simulator: &Simulator, subscriptions: usize) -> Setup {
    let mut setup =
        Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN).subscriptions(subscriptions);
    setup.upstream_keys = "session_length = \"5s\"".to_owned();
    setup
}

async fn every_event_once_in_order(subscriptions: usize) {
    let _alone = load::alone().await;
    let simulator = simulator(load::length(), 200, subscriptions).await;
    let relay = Relay::start(&setup(&simulator, subscriptions)).await;
    within(
        load::length() + PATIENCE,
        "the last event",
        simulator.finished(),
    )
    .await;
    let emitted = emitted(&simulator);
    let delivered = recorded(&relay, emitted.len()).await;
    assert_same(&delivered, &emitted);

    let status = relay.status().await;
    for subscription in status["subscriptions"].as_array().unwrap() {
        assert!(
            subscription["reconnects"].as_u64().unwrap() >= 1,
            "it was cut: {status}"
        );
    }
    let duplicates = relay
        .metric("sapi_relay_duplicates_total{subscription=\"relay_a\"}")
        .await;
    assert!(
        duplicates.is_some_and(|count| count >= 200.0),
        "replays were recognised: {duplicates:?}"
    );
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_through_rotations() {
    every_event_once_in_order(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_through_rotations() {
    every_event_once_in_order(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_subscriptions_through_rotations() {
    every_event_once_in_order(3).await;
}

/// The relay killed ten times while events flow, on one journal. The replay overlaps what was in
/// flight: 5,000 events are two and a half seconds of them.
async fn every_event_once_through_kills(subscriptions: usize) {
    const KILLS: u64 = 10;
    let _alone = load::alone().await;
    let length = load::length();
    let simulator = simulator(length, 5_000, subscriptions).await;
    let journal = tempfile::tempdir().unwrap();
    let setup = setup(&simulator, subscriptions).dir(journal.path());
    let events = (RATE * length.as_secs_f64()) as u64;
    for kill in 1..=KILLS {
        let relay = Relay::start(&setup).await;
        let wanted = events * kill / (KILLS + 2);
        relay
            .status_where("enough events before the kill", |status| {
                offset(&status["journal"]["last"]) >= wanted
            })
            .await;
        relay.kill().await;
    }
    let relay = Relay::start(&setup).await;
    within(
        load::length() + PATIENCE,
        "the last event",
        simulator.finished(),
    )
    .await;
    let emitted = emitted(&simulator);
    let delivered = recorded(&relay, emitted.len()).await;
    assert_same(&delivered, &emitted);
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_through_ten_kills() {
    every_event_once_through_kills(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_subscriptions_through_ten_kills() {
    every_event_once_through_kills(3).await;
}

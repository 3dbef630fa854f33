//! Whatever the server's numbering does, no event is dropped; and a quiet night is no loss.

use std::time::Duration;

use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, soon, until};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::Value;

async fn no_event_is_dropped(faults: &[&str]) {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let relay = Relay::start(&Setup::new(&simulator.ws_url(), DEMO_TOKEN)).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(40);
    for fault in faults {
        simulator.set_fault(fault).unwrap();
        simulator.emit(60);
    }
    let mut emitted = emitted(&simulator);
    if faults.iter().any(|fault| fault.starts_with("same-id-")) {
        // A call can say the same twice in a row; where the fault numbers both alike, that is a repetition.
        emitted.dedup();
    }
    let delivered = recorded(&relay, emitted.len()).await;
    assert_same(&delivered, &emitted);
    for fault in faults {
        let name = fault.split('=').next().unwrap();
        assert!(simulator.fired(name) > 0, "{name} fired");
    }
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_that_restart() {
    no_event_is_dropped(&["seq-restart=1", "seq-gap=7", "seq-restart=5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_change() {
    no_event_is_dropped(&["instance-switch=us1tomcat05", "instances=3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_out_of_order_and_as_text() {
    no_event_is_dropped(&["seq-out-of-order=5", "seq-string"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_under_different_ids() {
    no_event_is_dropped(&["same-content-different-id=3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_ids_with_different_content() {
    no_event_is_dropped(&["same-id-different-content=3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_numbers_at_all() {
    no_event_is_dropped(&["no-msg-info"]).await;
    no_event_is_dropped(&["empty-msg-info"]).await;
    no_event_is_dropped(&["no-instance"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_classes_fields_and_arrays() {
    no_event_is_dropped(&["unknown-class=3", "unknown-fields", "array-of-events=4"]).await;
}

/// The kinds of the relay's gaps.
async fn gaps(relay: &Relay) -> Vec<String> {
    let url = relay.admin("/v1/gaps").await;
    let page: Value = relay_tests::http::get(&url)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let kinds = page["items"].as_array().unwrap().iter();
    kinds
        .map(|notice| notice["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_a_quiet_night_announces_no_loss() {
    // Away for less than the horizon, though the last event is much older: heartbeats are evidence.
    let config = Config {
        heartbeat: Duration::from_millis(100),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let journal = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(journal.path());
    setup.upstream_keys = "cache_horizon = \"4s\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(5);
    recorded(&relay, 5).await;
    // The quiet night: so many heartbeats that the last event is older than the horizon.
    let heartbeats = |sim: &Simulator| {
        sim.ledger()
            .iter()
            .filter(|e| e.kind == sapi_sim::Kind::Heartbeat)
            .count()
    };
    soon(
        "a quiet night",
        simulator.wait_until(|sim| heartbeats(sim) > 60),
    )
    .await;
    assert!(relay.terminate().await.success());

    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(5);
    assert_same(&recorded(&relay, 10).await, &emitted(&simulator));
    let gaps = gaps(&relay).await;
    let losses: Vec<_> = gaps
        .iter()
        .filter(|kind| kind.contains("loss") || kind.contains("gap"))
        .collect();
    assert!(losses.is_empty(), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_away_than_the_horizon_is_certain_loss() {
    let config = Config {
        cache: Duration::from_millis(300),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let journal = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(journal.path());
    setup.upstream_keys = "cache_horizon = \"300ms\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(5);
    recorded(&relay, 5).await;
    assert!(relay.terminate().await.success());
    // Emitted while nobody listens, and forgotten by the server.
    simulator.emit(5);
    // Being away is what is tested: only time does it.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(5);
    until("the loss to be said", || async {
        gaps(&relay)
            .await
            .iter()
            .any(|kind| kind == "certain_loss")
            .then_some(())
    })
    .await;
}

//! Whatever the server's numbering does, no event is dropped; and a quiet night is no loss.

use std::collections::HashSet;
use std::time::Duration;

use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, load, soon, until};
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

/// The notices of the relay's gaps.
async fn listed(relay: &Relay) -> Vec<Value> {
    let url = relay.admin("/v1/gaps?limit=1000").await;
    let answer = relay_tests::http::get(&url).await.unwrap();
    let page: Value = answer.json().await.unwrap();
    page["items"].as_array().unwrap().clone()
}

/// The kinds of the relay's gaps.
async fn gaps(relay: &Relay) -> Vec<String> {
    let notices = listed(relay).await;
    let kinds = notices.iter();
    kinds
        .map(|notice| notice["kind"].as_str().unwrap().to_owned())
        .collect()
}

/// The numbers that a notice says are missing: "number 5 of x", "numbers 5 to 7 of x".
fn missing(notice: &Value) -> Vec<u64> {
    let words: Vec<_> = notice["text"].as_str().unwrap().split(' ').collect();
    let number = |place: usize| words[place].parse::<u64>().unwrap();
    match words[0] {
        "number" => vec![number(1)],
        "numbers" => (number(1)..=number(3)).collect(),
        _ => Vec::new(),
    }
}

/// The numbers that the simulator wrote to some subscription, and those of what it wrote to none.
fn written(simulator: &Simulator) -> (HashSet<u64>, HashSet<u64>) {
    let (mut heard, mut lost) = (HashSet::new(), HashSet::new());
    for entry in simulator.ledger() {
        let Some(number) = entry.sequence else {
            continue;
        };
        if entry.written.iter().any(|to| !to.lost) {
            heard.insert(number);
        } else {
            lost.insert(number);
        }
    }
    (heard, lost)
}

fn announced(notices: &[Value]) -> HashSet<u64> {
    let gaps = notices
        .iter()
        .filter(|notice| notice["kind"] == "sequence_gap");
    gaps.flat_map(missing).collect()
}

/// Numbered tenant-wide, with heartbeats that only one subscription sees, twenty a second, and cut
/// again and again: what is announced as missing was heard by no subscription.
async fn heartbeats_of_others_are_no_gaps(subscriptions: usize) {
    let _alone = load::alone().await;
    let config = Config {
        rate: 100.0,
        events: Some(1_000),
        wait_clients: subscriptions,
        heartbeat: Duration::from_millis(50),
        session_length: Duration::from_secs(3),
        overlap: 5,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).subscriptions(subscriptions);
    setup.upstream_keys = "session_length = \"3s\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon("the last event", simulator.finished()).await;
    assert_same(&recorded(&relay, 1_000).await, &emitted(&simulator));
    // A quiet time, of heartbeats and cuts alone.
    let until_now = simulator.connections().len();
    let cuts = |sim: &Simulator| sim.connections().len() >= until_now + 2 * subscriptions;
    soon("more cuts", simulator.wait_until(cuts)).await;
    // Numbers that nobody gets: when they are announced, all before them were due.
    simulator.set_fault("seq-gap=7").unwrap();
    simulator.emit(1);
    let notices = until("the gap to be announced", || async {
        let notices = listed(&relay).await;
        let found = notices.iter().any(|notice| notice["missing"] == 7);
        found.then_some(notices)
    })
    .await;
    assert!(simulator.fired("seq-gap") > 0);
    let (heard, lost) = written(&simulator);
    for number in announced(&notices) {
        assert!(!heard.contains(&number), "{number} was heard: {notices:#?}");
    }
    // A heartbeat may be lost in a cut, and that is said of the subscription that was cut.
    let losses = notices.iter().filter(|notice| {
        ["possible_loss", "certain_loss"].contains(&notice["kind"].as_str().unwrap())
            && notice["missing"] != 7
    });
    assert!(losses.count() <= lost.len(), "{lost:?} {notices:#?}");
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_of_another_subscription_are_no_gaps() {
    heartbeats_of_others_are_no_gaps(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_of_two_other_subscriptions_are_no_gaps() {
    heartbeats_of_others_are_no_gaps(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_subscriptions_lose_is_announced() {
    let config = Config {
        heartbeat: Duration::from_millis(100),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let relay = Relay::start(&Setup::new(&simulator.ws_url(), DEMO_TOKEN).subscriptions(2)).await;
    let both = |sim: &Simulator| sim.connected() == 2;
    soon("both subscriptions", simulator.wait_until(both)).await;
    simulator.emit(20);
    recorded(&relay, 20).await;
    // Emitted while both are away, and not stored.
    simulator.set_fault("cache-lost").unwrap();
    simulator.set_fault("cut-now=1000").unwrap();
    let none = |sim: &Simulator| sim.connected() == 0;
    soon("both to be cut", simulator.wait_until(none)).await;
    simulator.emit(10);
    soon("both subscriptions", simulator.wait_until(both)).await;
    simulator.emit(10);
    let said = until("the loss to be announced", || async {
        Some(announced(&listed(&relay).await)).filter(|said| said.len() >= 10)
    })
    .await;
    let (heard, never) = written(&simulator);
    assert!(
        said.iter().all(|number| !heard.contains(number)),
        "{said:?}"
    );
    let events = simulator.ledger().into_iter();
    let events = events.filter(|entry| entry.kind == sapi_sim::Kind::Event);
    let lost: Vec<_> = events
        .filter_map(|entry| entry.sequence.filter(|number| never.contains(number)))
        .collect();
    assert_eq!(
        lost.len(),
        10,
        "the events that were emitted while both were away"
    );
    assert!(
        lost.iter().all(|number| said.contains(number)),
        "{lost:?} of {said:?}"
    );
    assert!(relay.terminate().await.success());
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

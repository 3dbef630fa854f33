//! The upstream is treated well: refusals are not hammered, and slots are never taken twice.

use std::time::Duration;

use relay_tests::ledger::{emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, load, soon};
use sapi_sim::{Config, Connection, DEMO_TOKEN, Simulator};

/// The attempts that have been answered.
fn attempts(simulator: &Simulator) -> Vec<Connection> {
    let attempts = simulator.connections().into_iter();
    attempts.filter(|attempt| attempt.status != 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_is_not_hammered_and_a_new_token_is_picked_up() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let token = secrets.path().join("token");
    std::fs::write(&token, "ffffffffffffffffffffffffffffffff\n").unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), "");
    setup.credential = format!("token_file = {:?}", token.display().to_string());
    setup.upstream_keys = "backoff.auth_min = \"2s\"\nbackoff.auth_max = \"4s\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon(
        "four refusals",
        simulator.wait_until(|sim| attempts(sim).len() >= 4),
    )
    .await;
    let refused = attempts(&simulator);
    assert!(
        refused.iter().all(|attempt| attempt.status == 401),
        "{refused:?}"
    );
    for pair in refused.windows(2) {
        // Half to the whole of a back-off of two seconds at least.
        assert!(pair[1].at - pair[0].at >= 950, "{pair:?}");
    }
    relay
        .status_where("a back-off from the credential", |status| {
            status["subscriptions"][0]["state"]
                .to_string()
                .contains("auth")
        })
        .await;

    std::fs::write(&token, DEMO_TOKEN).unwrap();
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn never_two_sockets_on_one_id_and_never_a_fourth_client() {
    let _alone = load::alone().await;
    let config = Config {
        rate: 500.0,
        events: Some(5_000),
        wait_clients: 3,
        session_length: Duration::from_secs(2),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).subscriptions(3);
    setup.upstream_keys = "session_length = \"2s\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon("the last event", simulator.finished()).await;
    recorded(&relay, emitted(&simulator).len()).await;
    assert!(relay.terminate().await.success());

    let attempts = attempts(&simulator);
    assert!(attempts.len() > 6, "sessions were cut: {}", attempts.len());
    for (place, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt.status, 101, "{attempt:?}");
        let open = |other: &&Connection| other.ended.as_ref().is_none_or(|end| end.at > attempt.at);
        let beside: Vec<_> = attempts[..place].iter().filter(open).collect();
        assert!(
            beside.len() < 3,
            "a fourth client: {attempt:?} beside {beside:?}"
        );
        assert!(
            beside.iter().all(|other| other.subs_id != attempt.subs_id),
            "{attempt:?} {beside:?}"
        );
    }
    // The relay's own Close ended the last ones.
    let closed = attempts
        .iter()
        .rev()
        .take(3)
        .filter_map(|attempt| attempt.ended.as_ref());
    assert!(
        closed
            .filter(|end| end.by == sapi_sim::EndedBy::Client)
            .count()
            >= 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_is_waited_for() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.set_fault("quota-full").unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.upstream_keys = "backoff.quota_min = \"1s\"\nbackoff.quota_max = \"2s\"".to_owned();
    let relay = Relay::start(&setup).await;
    soon(
        "three refusals",
        simulator.wait_until(|sim| attempts(sim).len() >= 3),
    )
    .await;
    for pair in attempts(&simulator).windows(2) {
        assert!(pair[1].at - pair[0].at >= 450, "{pair:?}");
    }
    let ids: Vec<_> = attempts(&simulator)
        .into_iter()
        .map(|attempt| attempt.subs_id)
        .collect();
    assert!(
        ids.iter().all(|id| id.as_deref() == Some("relay_a")),
        "never another id: {ids:?}"
    );
    simulator.clear_fault("quota-full").unwrap();
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    relay
        .status_where("streaming", |status| {
            status["subscriptions"][0]["state"] == "streaming"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_found_and_remembered() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.set_fault("path-suffixed-only").unwrap();
    let journal = tempfile::tempdir().unwrap();
    let setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(journal.path());
    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    // Remembered once it has proven itself: a document came.
    simulator.emit(1);
    recorded(&relay, 1).await;
    assert!(relay.terminate().await.success());
    let before = attempts(&simulator).len();
    let _relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| attempts(sim).len() > before && sim.connected() == 1),
    )
    .await;
    let after = attempts(&simulator);
    assert_eq!(
        after.len(),
        before + 1,
        "the first attempt was the right one: {after:?}"
    );
}

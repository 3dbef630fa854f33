//! No secret in any log, metric, error or status, at any log level.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use relay_tests::relay::Setup;
use relay_tests::{Relay, soon};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};

const CLIENT_TOKEN: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
const ADMIN_TOKEN: &str = "ad0be000ad0be000ad0be000ad0be000";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_the_relay() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    // Refused first, so that the words for failures are looked at too.
    simulator.set_fault("auth-403-xml").unwrap();
    simulator.set_fault("auth-reject").unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.log = "trace".to_owned();
    setup.upstream_keys = "backoff.auth_min = \"200ms\"\nbackoff.auth_max = \"400ms\"".to_owned();
    setup.downstream_keys =
        format!("[sinks.downstream.clients.wallboard]\ntoken = \"{CLIENT_TOKEN}\"\n");
    let relay = Relay::start(&setup).await;
    soon(
        "refusals",
        simulator.wait_until(|sim| sim.connections().len() >= 2),
    )
    .await;
    let mut shown = relay.status().await.to_string();
    simulator.clear_fault("auth-reject").unwrap();
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(3);

    let stream = relay.downstream("/v1/history").await;
    let http = relay_tests::http::client();
    for token in [CLIENT_TOKEN, ADMIN_TOKEN] {
        let answer = http.get(&stream).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status().is_success(), token == CLIENT_TOKEN);
        shown += &answer.text().await.unwrap();
    }
    for path in [
        "/v1/status",
        "/metrics",
        "/v1/gaps",
        "/v1/dead-letters",
        "/readyz",
    ] {
        shown += &relay_tests::http::get(&relay.admin(path).await)
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
    }
    let mut relay = relay;
    relay.signal(rustix::process::Signal::TERM);
    assert!(relay.ended().await.success());
    shown += &relay.log();
    assert!(shown.len() > 10_000, "there is something to look through");
    for secret in [DEMO_TOKEN, CLIENT_TOKEN, ADMIN_TOKEN] {
        assert!(!shown.contains(secret), "{secret} is shown");
        let basic = BASE64_STANDARD.encode(format!("acmecorp01:{secret}"));
        assert!(
            !shown.contains(&basic),
            "the Basic credential of {secret} is shown"
        );
    }
}

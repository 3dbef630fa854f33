//! What a server refuses, and what an operator is told.

use async_nats::jetstream::stream::Config as StreamConfig;
use relay_tests::ledger::emitted;
use relay_tests::servers::nats::NatsServer;

use super::fixture::{Whole, assert_same, lake, quiet, stored};

const KEYS: &str = "stream = \"SAPI\"\ncreate_stream = true";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_and_right_ones_are_taken_up() {
    const USERS: &str = "authorization { users = [{ user: relay, password: \"s3cret-pass\" }] }";
    let server = NatsServer::start_with(USERS).await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "wr0ng-pass\n").unwrap();
    let keys = format!(
        "{KEYS}\nuser = \"relay\"\npassword_file = {:?}",
        password.display().to_string()
    );
    let whole = Whole::start(quiet().await, server, &keys).await;
    whole.simulator.emit(10);
    whole.blocked(&["uthorization", "user and password"]).await;
    assert!(!whole.relay.log().contains("wr0ng-pass"));
    std::fs::write(&password, "s3cret-pass\n").unwrap();
    whole.delivered(10).await;
    let status = whole.relay.status().await;
    assert_eq!(lake(&status)["state"], "running");
    assert!(!whole.relay.log().contains("s3cret-pass"));
    assert!(!status.to_string().contains("s3cret-pass"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_cover_the_subject_is_named() {
    let server = NatsServer::start().await;
    let jetstream = server.jetstream().await;
    let config = |subjects: &[&str]| StreamConfig {
        name: "SAPI".to_owned(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        num_replicas: 1,
        ..StreamConfig::default()
    };
    jetstream
        .create_stream(config(&["orders.>"]))
        .await
        .unwrap();
    let whole = Whole::start(quiet().await, server, KEYS).await;
    whole.simulator.emit(20);
    whole
        .blocked(&[
            "does not take sapi.acmecorp01.*.*",
            "orders.>",
            "nats stream edit SAPI",
        ])
        .await;

    // Some of the subjects: what fits is delivered as far as the order allows, the rest is named.
    jetstream
        .update_stream(config(&["sapi.acmecorp01.Interaction.*"]))
        .await
        .unwrap();
    whole
        .blocked(&["does not take sapi.acmecorp01.AgentStatusChange.AgentStatusChange"])
        .await;
    still_blocked(&whole).await;

    jetstream
        .update_stream(config(&["sapi.acmecorp01.>"]))
        .await
        .unwrap();
    whole.delivered(20).await;
    let stored = stored(&jetstream).await;
    let emitted = emitted(&whole.simulator);
    super::fixture::assert_complete(&stored, &emitted);
}

/// The sink stays blocked, attempt after attempt, and an operator is told once.
async fn still_blocked(whole: &Whole) {
    let stops = "sapi_relay_notices_total{kind=\"sink_stopped\"}";
    let told = whole.relay.metric(stops).await;
    let row = whole.lake("its retries", |_row| true).await;
    let tried = row["retries"].as_u64().unwrap();
    let again = |row: &serde_json::Value| {
        assert_eq!(row["state"], "blocked", "{row}");
        row["retries"].as_u64().unwrap() >= tried + 4
    };
    whole.lake("four more attempts", again).await;
    assert_eq!(whole.relay.metric(stops).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_named_another_stream_may_take_the_rest() {
    let server = NatsServer::start().await;
    let jetstream = server.jetstream().await;
    let make = async |name: &str, subject: &str| {
        let config = StreamConfig {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            num_replicas: 1,
            ..StreamConfig::default()
        };
        jetstream.create_stream(config).await.unwrap();
    };
    make("CALLS", "sapi.acmecorp01.Interaction.*").await;
    let whole = Whole::start(quiet().await, server, "").await;
    whole.simulator.emit(20);
    whole
        .blocked(&["no stream takes sapi.acmecorp01.AgentStatusChange.AgentStatusChange"])
        .await;
    still_blocked(&whole).await;
    make("AGENTS", "sapi.acmecorp01.AgentStatusChange.*").await;
    whole.delivered(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_event_is_a_dead_letter_and_the_rest_goes_on() {
    let server = NatsServer::start_with("max_payload: 16KB").await;
    let jetstream = server.jetstream().await;
    let config = StreamConfig {
        name: "SAPI".to_owned(),
        subjects: vec!["sapi.>".to_owned()],
        num_replicas: 1,
        max_message_size: 8 << 10,
        duplicate_window: std::time::Duration::from_mins(20),
        ..StreamConfig::default()
    };
    jetstream.create_stream(config).await.unwrap();
    let whole = Whole::start(quiet().await, server, KEYS).await;
    whole.simulator.emit(5);
    // Too large for the stream, and for the server.
    for (number, bytes) in [(1, 9 << 10), (2, 20 << 10)] {
        let blob = "x".repeat(bytes);
        let event = format!(
            "{{\"Interaction\":{{\"event\":\"Blob\",\"interactionGUID\":\"g{number}\",\"blob\":\"{blob}\"}}}}"
        );
        whole.simulator.emit_raw("Interaction", event);
    }
    whole.simulator.emit(5);
    whole.delivered(12).await;
    let all = emitted(&whole.simulator);
    let fit: Vec<_> = all
        .iter()
        .filter(|event| event.len() < 8 << 10)
        .cloned()
        .collect();
    assert_eq!(fit.len(), 10);
    assert_same(&stored(&jetstream).await, &fit);
    let rejected = whole
        .relay
        .metric("sapi_relay_sink_rejected_total{sink=\"lake\"}")
        .await;
    assert_eq!(rejected, Some(2.0));
    let url = whole.relay.admin("/v1/dead-letters?sink=lake").await;
    let letters: serde_json::Value = relay_tests::http::get(&url)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let reasons: Vec<_> = letters["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["reason"])
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons[0]
            .as_str()
            .unwrap()
            .contains("max_msg_size of stream SAPI"),
        "{reasons:?}"
    );
    assert!(
        reasons[1]
            .as_str()
            .unwrap()
            .contains("server's max_payload"),
        "{reasons:?}"
    );
    let log = whole.relay.log();
    assert!(
        log.contains("refuses an event for good") && log.contains("max_msg_size"),
        "{log}"
    );
    assert!(
        !log.contains("duplicate window"),
        "twenty minutes are enough"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_is_waited_for_and_named() {
    let server = NatsServer::start().await;
    let jetstream = server.jetstream().await;
    let mut config = StreamConfig {
        name: "SAPI".to_owned(),
        subjects: vec!["sapi.>".to_owned()],
        num_replicas: 1,
        max_messages: 15,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..StreamConfig::default()
    };
    jetstream.create_stream(config.clone()).await.unwrap();
    let whole = Whole::start(quiet().await, server, KEYS).await;
    whole.simulator.emit(20);
    let full = |row: &serde_json::Value| {
        let error = row["last_error"].to_string();
        row["state"] == "retrying"
            && error.contains("maximum messages exceeded")
            && error.contains("raise its limits")
    };
    whole.lake("the stream to be full", full).await;
    config.max_messages = 100;
    jetstream.update_stream(config).await.unwrap();
    whole.delivered(20).await;
    assert_same(&stored(&jetstream).await, &emitted(&whole.simulator));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_is_named() {
    const USERS: &str = "authorization { users = [{ user: relay, password: pw, permissions: { \
         publish: { deny: \"sapi.acmecorp01.AgentStatusChange.>\" } } }] }";
    let server = NatsServer::start_with(USERS).await;
    let keys = format!("{KEYS}\nuser = \"relay\"\npassword = \"pw\"");
    let whole = Whole::start(quiet().await, server, &keys).await;
    whole.simulator.emit(20);
    whole
        .blocked(&[
            "Permissions Violation",
            "let the relay's user publish to sapi.acmecorp01.*.*",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_named() {
    let server = NatsServer::start_with("jetstream: disabled").await;
    let whole = Whole::start(quiet().await, server, KEYS).await;
    whole.simulator.emit(1);
    whole
        .blocked(&["nobody answers for JetStream", "turn JetStream on"])
        .await;
}

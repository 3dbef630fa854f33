//! What an event looks like in NATS, and where it may go.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt;
use relay_core::contract::Relay;
use relay_sinks::nats::JetStream;
use relay_tests::ledger::emitted;
use relay_tests::servers::nats::NatsServer;
use relay_tests::soon;

use super::fixture::{Plain, STREAM, Whole, config, quiet, stored};

#[tokio::test]
async fn binary_events_have_their_attributes_in_headers() {
    let server = NatsServer::start().await;
    let relay = Relay::new();
    let sink = relay.start(&Plain(config(&server), relay.source()));
    relay.commit(&["ada \\\"ä\\\""]).await;
    relay.settled(&sink).await;
    let stored = stored(&server.jetstream().await).await;
    let event = &stored[0];
    assert_eq!(
        event.subject,
        "sapi.acme.AgentStatusChange.AgentStatusChange"
    );
    let id = "acme:i:1:1000001";
    for (name, value) in [
        ("Nats-Msg-Id", id),
        ("Nats-Expected-Stream", STREAM),
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "urn:8x8:cc:acme"),
        ("ce-type", "com.8x8.cc.AgentStatusChange"),
        ("ce-subject", "ada%20%22%C3%A4%22"),
        ("ce-partitionkey", "ada%20%22%C3%A4%22"),
        ("ce-sequence", "00000000000000000001"),
        ("ce-sapisequence", "1"),
        ("ce-sapiinstance", "i"),
    ] {
        assert_eq!(event.header(name), Some(value), "{name}");
    }
    assert!(event.header("ce-time").is_some() && event.header("ce-relaycursor").is_some());
    assert!(event.payload.starts_with(b"{\"AgentStatusChange\""));
}

#[tokio::test]
async fn structured_events_are_whole_in_the_payload() {
    let server = NatsServer::start().await;
    let relay = Relay::new();
    let mut config = config(&server);
    config.format = relay_sinks::Format::Structured;
    let sink = relay.start(&Plain(config, relay.source()));
    relay.commit(&["ada"]).await;
    relay.settled(&sink).await;
    let stored = stored(&server.jetstream().await).await;
    let kind = stored[0].header("content-type");
    assert_eq!(kind, Some("application/cloudevents+json; charset=UTF-8"));
    assert_eq!(stored[0].header("ce-id"), None);
    assert_eq!(stored[0].header("Nats-Msg-Id"), Some("acme:i:1:1000001"));
    let event: serde_json::Value = serde_json::from_slice(&stored[0].payload).unwrap();
    assert_eq!(event["id"], "acme:i:1:1000001");
    assert_eq!(event["data"]["AgentStatusChange"]["agentId"], "ada");
}

#[tokio::test]
async fn core_nats_hands_over_without_a_stream() {
    let server = NatsServer::start_with("jetstream: disabled").await;
    let client = server.client().await;
    let mut subscriber = client.subscribe("sapi.>").await.unwrap();
    client.flush().await.unwrap();
    let relay = Relay::new();
    let mut config = config(&server);
    config.jetstream = None;
    let sink = relay.start(&Plain(config, relay.source()));
    let sent = relay.commit_many(50).await;
    relay.settled(&sink).await;
    for number in sent {
        let message = soon("an event", subscriber.next()).await.unwrap();
        let headers = message.headers.unwrap();
        assert_eq!(
            headers.get("ce-sapisequence").unwrap().as_str(),
            number.to_string()
        );
        assert!(headers.get("Nats-Msg-Id").is_none());
    }
}

#[tokio::test]
async fn a_later_event_that_was_stored_first_is_stored_again_behind_the_earlier_one() {
    let server = NatsServer::start().await;
    let jetstream = server.jetstream().await;
    let relay = Relay::new();
    let sink = relay.start(&Plain(config(&server), relay.source()));
    relay.commit(&["zoe"]).await;
    relay.settled(&sink).await;
    sink.pause().await.unwrap();
    // As if 3 had been stored where 2 failed.
    relay.commit(&["ada", "ada", "ben", "ada"]).await;
    let stored_first = PublishMessage::build().message_id("acme:i:3:1000003");
    let stored_first = stored_first
        .header("ce-sapisequence", "3")
        .payload("early".into());
    let subject = "sapi.acme.AgentStatusChange.AgentStatusChange";
    jetstream
        .send_publish(subject, stored_first)
        .await
        .unwrap()
        .await
        .unwrap();
    sink.resume().await.unwrap();
    relay.settled(&sink).await;
    let stored = stored(&jetstream).await;
    let numbers: Vec<_> = stored
        .iter()
        .map(|one| one.header("ce-sapisequence").unwrap())
        .collect();
    // 5 was on its way before 3 was known to be misplaced: it follows it once more.
    assert_eq!(numbers, ["1", "3", "2", "4", "5", "3", "5"]);
    assert_eq!(
        stored[5].header("ce-id"),
        Some("acme:i:3:1000003"),
        "the event is the same"
    );
}

#[tokio::test]
async fn a_stream_is_found_by_its_subjects() {
    let server = NatsServer::start().await;
    let jetstream = server.jetstream().await;
    let relay = Relay::new();
    let mut config = config(&server);
    config.jetstream = Some(JetStream {
        stream: None,
        create: false,
    });
    let sink = relay.start(&Plain(config, relay.source()));
    relay.commit(&["ada"]).await;
    let blocked = |status: &relay_core::worker::SinkStatus| {
        let text = status.last_error.as_ref().map(|error| error.text.as_str());
        text.is_some_and(|text| text.contains("no stream takes sapi.acme.*.*"))
    };
    soon("a word on it", sink.wait_for(blocked)).await;
    let made = async_nats::jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["sapi.acme.>".to_owned()],
        num_replicas: 1,
        duplicate_window: Duration::from_mins(10),
        ..Default::default()
    };
    jetstream.create_stream(made).await.unwrap();
    relay.settled(&sink).await;
    assert_eq!(stored(&jetstream).await.len(), 1);
}

/// Whatever stands in an event, its subject has the tokens of the template.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_stay_in_their_token() {
    const HOSTILE: [&str; 12] = [
        "a.b.c",
        ">",
        "*",
        "..",
        " ",
        "\\n",
        "\\r\\nPUB sapi.evil 0\\r\\n",
        "\\u0000",
        "$JS.API.STREAM.DELETE.SAPI",
        "ä→𝄞",
        "-ERR",
        "\\\"",
    ];
    let keys =
        "stream = \"SAPI\"\ncreate_stream = true\nsubject = \"sapi.{tenant}.{class}.{type}.{key}\"";
    let whole = Whole::start(quiet().await, NatsServer::start().await, keys).await;
    let client = whole.server.client().await;
    let mut everything = client.subscribe("sapi.>").await.unwrap();
    client.flush().await.unwrap();
    for value in HOSTILE {
        let event = format!(
            "{{\"Interaction\":{{\"event\":\"{value}\",\"interactionGUID\":\"{value}\",\"msgInfo\":{{\"instanceId\":\"{value}\",\
             \"sequenceId\":1,\"timestamp\":1}}}}}}"
        );
        whole.simulator.emit_raw("Interaction", event);
        let class = format!("{{\"{value}\":{{\"agentId\":\"{value}\"}}}}");
        whole.simulator.emit_raw("Odd", class);
    }
    // A subject longer than a line of NATS would end the connection, again and again.
    let long = format!(
        "{{\"Interaction\":{{\"interactionGUID\":\"{}\"}}}}",
        "k".repeat(10_000)
    );
    whole.simulator.emit_raw("Interaction", long.clone());
    whole.simulator.emit(1);
    let events = emitted(&whole.simulator).len();
    whole.delivered(events).await;
    let stored = stored(&whole.server.jetstream().await).await;
    assert_eq!(stored.len(), events - 1, "all but the long one");
    for one in &stored {
        let tokens: Vec<_> = one.subject.split('.').collect();
        assert_eq!(tokens.len(), 5, "{}", one.subject);
        assert_eq!(&tokens[..2], ["sapi", "acmecorp01"]);
        let tame = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(
            tokens
                .iter()
                .all(|token| !token.is_empty() && token.chars().all(tame))
        );
    }
    for _ in &stored {
        let message = soon("what was published", everything.next()).await.unwrap();
        assert_eq!(message.subject.split('.').count(), 5, "{}", message.subject);
    }
    let rejected = whole
        .relay
        .metric("sapi_relay_sink_rejected_total{sink=\"lake\"}")
        .await;
    assert_eq!(rejected, Some(1.0));
    assert!(
        whole
            .relay
            .log()
            .contains("more than the 2048 that fit a line of NATS")
    );
}

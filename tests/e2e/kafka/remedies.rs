//! What an operator has to do is said: in the log, in `/v1/status` and in a metric.

use relay_tests::Relay;
use relay_tests::servers::kafka::{self, KafkaServer};

use super::records;
use super::relay::{row, setup, simulator};

pub(super) async fn blocked(relay: &Relay, wanted: &str, remedy: &str) {
    let status = relay
        .status_where("a blocked sink", |status| row(status)["state"] == "blocked")
        .await;
    let error = &row(&status)["last_error"];
    let text = error["text"].as_str().unwrap().to_lowercase();
    assert!(text.contains(wanted), "{error}");
    assert!(
        error["remedy"].as_str().unwrap().contains(remedy),
        "{error}"
    );
    let series = "sapi_relay_sink_state{sink=\"lake\",state=\"blocked\"}";
    assert_eq!(relay.metric(series).await, Some(1.0));
    assert!(relay.log().contains(remedy), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_and_an_event_that_is_too_large() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start_with("auto.create.topics.enable=false").await;
    let simulator = simulator(2_000).await;
    let more = "topic = \"small\"\nmax_consecutive_rejections = 100000";
    let relay = Relay::start(&setup(&simulator, &server, more)).await;
    blocked(&relay, "topic small", "make the topic").await;
    // Smaller than any record: each is refused, by itself.
    server
        .create_topic("small", 1, &[("max.message.bytes", "100")])
        .await;
    relay
        .status_where("dead letters", |status| row(status)["state"] != "blocked")
        .await;
    let url = relay.admin("/v1/dead-letters?sink=lake").await;
    let reason = relay_tests::until("a dead letter", || async {
        let page = relay_tests::http::get(&url).await.ok()?;
        let page: serde_json::Value = page.json().await.ok()?;
        Some(page["items"][0]["reason"].as_str()?.to_owned())
    })
    .await;
    assert!(reason.to_lowercase().contains("too large"), "{reason}");
    let rejected = relay
        .metric("sapi_relay_sink_rejected_total{sink=\"lake\"}")
        .await;
    assert!(rejected.is_some_and(|count| count >= 1.0), "{rejected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_events() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start().await;
    let simulator = simulator(200).await;
    let more = "format = \"structured\"\ncompression = \"zstd\"\nkey = \"{class}/{key}\"";
    let relay = Relay::start(&setup(&simulator, &server, more)).await;
    super::relay::drained(&relay, &simulator).await;
    let found = records::all(&server, "sapi.acmecorp01").await;
    assert_eq!(found.len(), relay_tests::ledger::emitted(&simulator).len());
    let first: serde_json::Value = serde_json::from_slice(&found[0].value).unwrap();
    assert_eq!(first["specversion"], "1.0");
    assert!(
        found[0]
            .header("content-type")
            .starts_with("application/cloudevents+json")
    );
    let class = first["type"].as_str().unwrap().split('.').nth(3).unwrap();
    assert!(found[0].key.starts_with(class), "{}", found[0].key);
}

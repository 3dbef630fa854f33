//! Every event arrives, in order, through a broker that dies, stops, and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relay_tests::relay::{Setup, offset};
use relay_tests::servers::kafka::{self, KafkaServer};
use relay_tests::{PATIENCE, Relay, load, within};
use sapi_sim::{Config, Simulator};
use serde_json::Value;

use super::records::{self, Record};

pub(super) const RATE: f64 = 500.0;

pub(super) async fn simulator(events: u64) -> Simulator {
    let config = Config {
        rate: RATE,
        events: Some(events),
        overlap: 2_000,
        wait_clients: 1,
        ..Config::default()
    };
    Simulator::start(config).await.unwrap()
}

pub(super) fn setup(simulator: &Simulator, server: &KafkaServer, more: &str) -> Setup {
    let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    setup.more = format!(
        "[sinks.lake]\ntype = \"kafka\"\nbrokers = [\"{}\"]\nstart_from = \"earliest\"\nretry_max = \"1s\"\n\
         librdkafka.\"message.timeout.ms\" = 4000\nlibrdkafka.topic.metadata.propagation.max.ms = 2000\n{more}\n",
        server.address()
    );
    setup
}

/// The row of the sink in `/v1/status`.
pub(super) fn row(status: &Value) -> &Value {
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["name"] == "lake").unwrap()
}

/// Returns once the simulator is done and the sink has delivered everything.
pub(super) async fn drained(relay: &Relay, simulator: &Simulator) {
    within(PATIENCE * 2, "the last event", simulator.finished()).await;
    relay
        .status_where("everything delivered", |status| {
            let emitted = relay_tests::ledger::emitted(simulator).len() as u64;
            // The first is the notice of the connection.
            offset(&status["journal"]["last"]) > emitted && row(status)["lag_events"] == 0
        })
        .await;
}

/// Nothing is missing; seen by its last occurrence, everything is in the journal's order; what comes
/// again has the same id.
fn assert_complete(records: &[Record], emitted: usize) {
    let mut ids = BTreeMap::new();
    let mut last = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        let id = ids
            .entry(record.sequence())
            .or_insert(record.header("ce_id"));
        assert_eq!(*id, record.header("ce_id"));
        last.insert(record.sequence(), at);
    }
    let distinct: BTreeSet<_> = ids.values().collect();
    assert_eq!(distinct.len(), emitted);
    assert!(last.values().is_sorted(), "out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_through_a_broker_that_dies_and_stops() {
    if !kafka::is_there() {
        return;
    }
    let _alone = load::alone().await;
    let mut server = KafkaServer::start().await;
    server.create_topic("sapi.acmecorp01", 1, &[]).await;
    let simulator = simulator(5_000).await;
    let relay = Relay::start(&setup(&simulator, &server, "")).await;
    let reached = async |count: u64| {
        relay
            .status_where("events delivered", |status| {
                offset(&row(status)["cursor"]) >= count
            })
            .await
    };
    reached(500).await;
    server.kill().await;
    let failing = |status: &Value| row(status)["state"] == "retrying";
    relay.status_where("a sink that retries", failing).await;
    server.restart().await;
    reached(2_500).await;
    server.freeze();
    relay.status_where("a sink that retries", failing).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.thaw();
    drained(&relay, &simulator).await;
    let emitted = relay_tests::ledger::emitted(&simulator);
    let found = records::all(&server, "sapi.acmecorp01").await;
    assert_complete(&found, emitted.len());
    eprintln!("{} records of {} events", found.len(), emitted.len());
    assert_binary(&found[0]);
    assert!(relay.terminate().await.success());
}

/// As CloudEvents' Kafka binding says, binary mode.
fn assert_binary(record: &Record) {
    let body: Value = serde_json::from_slice(&record.value).unwrap();
    assert!(body.is_object());
    let names: Vec<_> = record.headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ce_id",
            "ce_partitionkey",
            "ce_relaycursor",
            "ce_sapiinstance",
            "ce_sapisequence",
            "ce_sequence",
            "ce_source",
            "ce_specversion",
            "ce_subject",
            "ce_time",
            "ce_type",
            "content-type",
        ]
    );
    assert_eq!(record.header("ce_specversion"), "1.0");
    assert_eq!(record.header("ce_source"), "urn:8x8:cc:acmecorp01");
    assert_eq!(record.header("content-type"), "application/json");
    assert_eq!(record.key, record.header("ce_partitionkey"));
    // The simulator's msgInfo is complete: an id ends with its timestamp.
    let (_, time) = record.header("ce_id").rsplit_once(':').unwrap();
    assert_eq!(record.time.to_string(), time);
}

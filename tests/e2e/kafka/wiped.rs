//! A broker that comes back with nothing: what was not confirmed is not lost, what was is delivered again when
//! an operator asks for it, and a cursor that is gone there is the one that the relay has itself.

use std::collections::BTreeMap;

use relay_tests::relay::offset;
use relay_tests::servers::kafka::{self, KafkaServer};
use relay_tests::{PATIENCE, Relay, within};
use serde_json::{Value, json};

use super::records::{self, Record};
use super::relay::{setup, simulator};

/// Its events, and the topic of its cursors, are gone as well.
const EXACT: &str = "[sinks.vault]\ntype = \"kafka\"\nstart_from = \"earliest\"\nretry_max = \"1s\"\n\
                     librdkafka.\"message.timeout.ms\" = 4000\ntopic = \"vault.{tenant}\"\nexactly_once = true";

/// The sinks, and their topics.
const SINKS: [(&str, &str); 2] = [("lake", "sapi.acmecorp01"), ("vault", "vault.acmecorp01")];

fn sink<'a>(status: &'a Value, name: &str) -> &'a Value {
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["name"] == name).unwrap()
}

fn bodies(records: &[Record]) -> BTreeMap<u64, &[u8]> {
    let bodies = records
        .iter()
        .map(|record| (record.sequence(), record.value.as_slice()));
    bodies.collect()
}

async fn caught_up(relay: &Relay) {
    relay
        .status_where("everything delivered", |status| {
            SINKS.iter().all(|(name, _)| {
                let sink = sink(status, name);
                sink["lag_events"] == 0 && sink["state"] == "running"
            })
        })
        .await;
}

async fn seek(relay: &Relay, name: &str) {
    let url = relay.admin(&format!("/v1/sinks/{name}/seek")).await;
    let seek = relay_tests::http::client().post(&url);
    let answer = seek.json(&json!({"to": "earliest"})).send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_empty_handed() {
    if !kafka::is_there() {
        return;
    }
    let mut server = KafkaServer::start_with("num.partitions=1").await;
    let simulator = simulator(3_000).await;
    let vault = format!("{EXACT}\nbrokers = [\"{}\"]", server.address());
    let relay = Relay::start(&setup(&simulator, &server, &vault)).await;
    relay
        .status_where("events delivered", |status| {
            let reached = |(name, _): &(&str, &str)| offset(&sink(status, name)["cursor"]) >= 500;
            SINKS.iter().all(reached)
        })
        .await;
    server.kill().await;
    let failing = relay
        .status_where("sinks that retry", |status| {
            let failing = |(name, _): &(&str, &str)| sink(status, name)["state"] == "retrying";
            SINKS.iter().all(failing)
        })
        .await;
    server.wipe().await;
    server.restart().await;
    within(PATIENCE * 2, "the last event", simulator.finished()).await;
    let emitted = relay_tests::ledger::emitted(&simulator);
    let all = |status: &Value| offset(&status["journal"]["last"]) >= emitted.len() as u64;
    relay.status_where("everything received", all).await;
    caught_up(&relay).await;

    let mut before = Vec::new();
    for (name, topic) in SINKS {
        let confirmed = offset(&sink(&failing, name)["cursor"]);
        assert!(confirmed >= 500);
        let found = records::all(&server, topic).await;
        before.push((confirmed, found));
        seek(&relay, name).await;
    }
    caught_up(&relay).await;
    for ((name, topic), (confirmed, before)) in SINKS.into_iter().zip(before) {
        let found = records::all(&server, topic).await;
        let everything = bodies(&found);
        let bytes: Vec<_> = everything.values().copied().collect();
        assert_eq!(
            bytes,
            emitted.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>(),
            "{name}"
        );
        let mut unconfirmed = everything.clone();
        unconfirmed.retain(|sequence, _| *sequence > confirmed);
        assert!(!unconfirmed.is_empty() && unconfirmed.len() < everything.len());
        assert_eq!(bodies(&before), unconfirmed, "{name}");
        if name == "vault" {
            // Once each before the seek, and once more after it.
            assert_eq!(before.len(), unconfirmed.len());
            assert_eq!(found.len(), before.len() + everything.len());
        }
    }
    let cursors = records::all(&server, "sapi-relay-cursors").await;
    let last = cursors.last().unwrap();
    let status = relay.status().await;
    assert_eq!(last.key, "acmecorp01/vault");
    assert_eq!(
        String::from_utf8_lossy(&last.value),
        sink(&status, "vault")["cursor"].as_str().unwrap()
    );
    assert!(relay.terminate().await.success());
}

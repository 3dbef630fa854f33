//! Exactly once: no event is missing and none is there twice, whatever is killed; and of two producers
//! with one id, one stays away.

use relay_tests::servers::kafka::KafkaServer;
use relay_tests::{Relay, load};

use super::records;
use super::relay::{drained, row, setup, simulator};

const TOPIC: &str = "sapi.acmecorp01";

#[tokio::test(flavor = "multi_thread")]
async fn each_event_once_through_kills() {
    let _alone = load::alone().await;
    let server = KafkaServer::start().await;
    server.create_topic(TOPIC, 1, &[]).await;
    let journal = tempfile::tempdir().unwrap();
    let simulator = simulator(6_000).await;
    let setup = setup(&simulator, &server, "exactly_once = true").dir(journal.path());
    for kill in 1..=6 {
        let relay = Relay::start(&setup).await;
        relay
            .status_where("enough events before the kill", |status| {
                relay_tests::relay::offset(&row(status)["cursor"]) >= kill * 700
            })
            .await;
        relay.kill().await;
    }
    let relay = Relay::start(&setup).await;
    drained(&relay, &simulator).await;
    let emitted = relay_tests::ledger::emitted(&simulator);
    let found = records::all(&server, TOPIC).await;
    let ids: Vec<_> = found.iter().map(records::Record::sequence).collect();
    assert!(
        ids.is_sorted_by(|a, b| a < b),
        "one is there twice, or out of order"
    );
    assert_eq!(found.len(), emitted.len());
    for (record, emitted) in found.iter().zip(&emitted) {
        assert_eq!(record.value, emitted.as_ref());
    }
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_id_the_first_stays_away() {
    let _alone = load::alone().await;
    let server = KafkaServer::start().await;
    server.create_topic(TOPIC, 1, &[]).await;
    let same = "exactly_once = true\ntransactional_id = \"same\"";
    let (one, two) = (simulator(200_000).await, simulator(200_000).await);
    let first = Relay::start(&setup(&one, &server, same)).await;
    first
        .status_where("events delivered", |status| {
            relay_tests::relay::offset(&row(status)["cursor"]) >= 100
        })
        .await;
    // Another journal: it finds a cursor that is not its own, and leaves the id alone.
    let second = Relay::start(&setup(&two, &server, same)).await;
    let foreign = second
        .status_where("a foreign cursor", |status| {
            row(status)["state"] == "blocked"
        })
        .await;
    let text = row(&foreign)["last_error"]["text"].as_str().unwrap();
    assert!(text.contains("not of this journal"), "{text}");
    let before = relay_tests::relay::offset(&row(&first.status().await)["cursor"]);
    first
        .status_where("the first to go on", |status| {
            relay_tests::relay::offset(&row(status)["cursor"]) > before
        })
        .await;
    // An operator wants the second to deliver.
    let url = second.admin("/v1/sinks/lake/seek").await;
    let seek = relay_tests::http::client().post(&url);
    let answer = seek
        .json(&serde_json::json!({"to": "earliest"}))
        .send()
        .await;
    let answer = answer.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
    second
        .status_where("the second to deliver", |status| {
            row(status)["state"] == "running"
        })
        .await;
    let fenced = first
        .status_where("a fenced sink", |status| row(status)["state"] == "blocked")
        .await;
    let error = &row(&fenced)["last_error"];
    let text = error["text"].as_str().unwrap();
    assert!(text.contains("fenced") && text.contains("same"), "{text}");
    assert!(
        error["remedy"].as_str().unwrap().contains("seek"),
        "{error}"
    );
}

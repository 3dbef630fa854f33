//! Exactly once: no event is missing and none is there twice, whatever is killed; and of two producers
//! with one id, one stays away.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use relay_tests::proxy::Proxy;
use relay_tests::relay::offset;
use relay_tests::servers::kafka::{self, KafkaServer};
use relay_tests::{Relay, load};
use rustix::process::Signal;
use sapi_sim::Simulator;

use super::records::{self, Record};
use super::relay::{RATE, drained, row, setup, simulator};

const TOPIC: &str = "sapi.acmecorp01";
/// What a sink says whose producer was ended, though nobody took its id.
const ENDED: &str = "the brokers have ended it";

#[tokio::test(flavor = "multi_thread")]
async fn each_event_once_through_kills() {
    if !kafka::is_there() {
        return;
    }
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
    assert_once(&records::all(&server, TOPIC).await, &emitted);
    assert!(relay.terminate().await.success());
}

/// Each event once, in order.
fn assert_once(found: &[Record], emitted: &[Bytes]) {
    let ids: Vec<_> = found.iter().map(Record::sequence).collect();
    assert!(
        ids.is_sorted_by(|a, b| a < b),
        "one is there twice, or out of order"
    );
    assert_eq!(found.len(), emitted.len());
    for (record, emitted) in found.iter().zip(emitted) {
        assert_eq!(record.value, emitted.as_ref());
    }
}

async fn seek(relay: &Relay) {
    let url = relay.admin("/v1/sinks/lake/seek").await;
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
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_id_the_first_stays_away() {
    if !kafka::is_there() {
        return;
    }
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
    seek(&second).await;
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

/// Brokers end a producer whose transaction is open for too long, as if another had taken its id. Nobody
/// has: it goes on by itself, and nothing is there twice. Where somebody has, it stays away.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_longer_than_a_transaction_may_last() {
    if !kafka::is_there() {
        return;
    }
    let _alone = load::alone().await;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let proxy = Proxy::start(nowhere).await;
    let soon = "transaction.abort.timed.out.transaction.cleanup.interval.ms=100";
    let server = KafkaServer::start_behind(proxy.address(), soon).await;
    proxy.retarget(server.address());
    server.create_topic(TOPIC, 1, &[]).await;
    let short = "exactly_once = true\ntransactional_id = \"same\"\nlibrdkafka.transaction.timeout.ms = 2000";
    let short = |simulator: &Simulator| {
        let mut setup = setup(simulator, &server, short);
        // The relay fits it to the transaction's by itself.
        let own = "librdkafka.\"message.timeout.ms\" = 4000\n";
        assert!(setup.more.contains(own));
        setup.more = setup.more.replace(own, "");
        setup
    };
    let simulator = simulator(200_000).await;
    let relay = Relay::start(&short(&simulator)).await;
    let cursor = async |relay: &Relay| offset(&row(&relay.status().await)["cursor"]);
    let passes = async |relay: &Relay, mark: u64| {
        relay
            .status_where("events delivered", |status| {
                offset(&row(status)["cursor"]) > mark
            })
            .await
    };
    passes(&relay, 200).await;
    // A transaction takes several round trips: most of the time one is open.
    proxy.delay(Duration::from_millis(40));
    let mut stops = 0;
    while !relay.log().contains(ENDED) {
        stops += 1;
        assert!(stops <= 15, "no transaction was open in any stop");
        passes(&relay, cursor(&relay).await).await;
        relay.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        relay.signal(Signal::CONT);
        passes(&relay, cursor(&relay).await + 200).await;
    }
    eprintln!("ended by the brokers in stop {stops}");
    proxy.heal();
    simulator.set_rate(0.0);
    relay
        .status_where("everything delivered", |status| {
            let emitted = relay_tests::ledger::emitted(&simulator).len() as u64;
            offset(&status["journal"]["last"]) >= emitted
                && row(status)["lag_events"] == 0
                && row(status)["state"] == "running"
        })
        .await;
    let emitted = relay_tests::ledger::emitted(&simulator);
    assert_once(&records::all(&server, TOPIC).await, &emitted);
    assert!(!relay.log().contains("fenced"), "{}", relay.log());

    // Another takes the id while this one is stopped.
    let other = super::relay::simulator(200_000).await;
    let second = Relay::start(&short(&other)).await;
    second
        .status_where("a foreign cursor", |status| {
            row(status)["state"] == "blocked"
        })
        .await;
    proxy.delay(Duration::from_millis(40));
    simulator.set_rate(RATE);
    passes(&relay, cursor(&relay).await).await;
    relay.signal(Signal::STOP);
    seek(&second).await;
    passes(&second, 100).await;
    relay.signal(Signal::CONT);
    let fenced = relay
        .status_where("a fenced sink", |status| row(status)["state"] == "blocked")
        .await;
    let text = row(&fenced)["last_error"]["text"].as_str().unwrap();
    assert!(text.contains("fenced") && text.contains("same"), "{text}");
    passes(&second, cursor(&second).await).await;
    assert!(!second.log().contains("fenced"), "{}", second.log());
}

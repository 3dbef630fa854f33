//! Events that are larger than their topic takes, and their neighbours, which are not.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use relay_core::admit::{Admit as _, Received};
use relay_core::contract::Relay;
use relay_core::sink::{Delivery, Next, Outcome, Outcomes, Sink as _};
use relay_core::{Limit, Offset, Reader};
use relay_sinks::kafka::{Config, Kafka};
use relay_tests::servers::kafka::{self, KafkaServer};
use relay_tests::soon;
use sapi_protocol::{Document, Framed};

use super::contract::config;

/// What the topic takes, in bytes. What is larger still is well below librdkafka's own limit.
const LIMIT: usize = 100_000;

/// A topic, and a sink that leads there.
async fn place(server: &KafkaServer, topic: &str) -> Config {
    let limit = LIMIT.to_string();
    server
        .create_topic(topic, 1, &[("max.message.bytes", &limit)])
        .await;
    Config {
        compression: "none",
        ..config(&server.address().to_string(), topic)
    }
}

/// Commits an event of each size.
async fn commit(relay: &Relay, sizes: impl IntoIterator<Item = usize>) {
    let documents = sizes.into_iter().enumerate().map(|(number, bytes)| {
        let blob = "x".repeat(bytes);
        let json = format!(
            r#"{{"Interaction":{{"event":"Blob","interactionGUID":"g{number}","blob":"{blob}"}}}}"#
        );
        Framed::Document(Document::parse(Bytes::from(json)).unwrap())
    });
    let now = UNIX_EPOCH.elapsed().unwrap();
    let received = Received {
        subscription: "relay_a".into(),
        at_ms: u64::try_from(now.as_millis()).unwrap(),
        documents: documents.collect(),
    };
    relay.core.intake.documents(received).await.unwrap();
    relay.core.intake.flush().await;
}

/// The next so many events.
async fn next(reader: &mut Reader, events: usize) -> Delivery {
    let limit = Limit {
        events,
        bytes: usize::MAX,
    };
    let batch = reader.next_batch(limit).await.unwrap();
    assert_eq!(batch.len(), events);
    Delivery {
        selected: (0..).take(events).collect(),
        upto: batch.upto(),
        batch,
        again: false,
    }
}

/// Delivers, and connects anew where the worker would.
async fn deliver(sink: &mut Kafka, delivery: &Delivery) -> Vec<Outcome> {
    let answer = sink.deliver(delivery.clone()).await.unwrap();
    match soon("an answer", answer).await {
        Outcomes::Confirmed => vec![Outcome::Confirmed; delivery.len()],
        Outcomes::Each(outcomes) => outcomes,
        Outcomes::Partly(outcomes, failure) => {
            assert_eq!(failure.next, Next::Reconnect, "{failure:?}");
            sink.connect().await.unwrap();
            outcomes
        }
        Outcomes::Failed(failure) => panic!("{failure:?}"),
    }
}

fn is_rejected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_fit_one_by_one_but_not_together() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start().await;
    let mut config = place(&server, "narrow").await;
    config.properties.set("linger.ms", "200").unwrap();
    let relay = Relay::new();
    commit(&relay, [70_000, 70_000]).await;
    let mut reader = relay.core.bus.reader_after(Offset(0));
    let mut sink = Kafka::new(config, relay.source());
    sink.connect().await.unwrap();
    let (one, other) = (next(&mut reader, 1).await, next(&mut reader, 1).await);
    // They leave in one request.
    let answers = [
        sink.deliver(one.clone()).await.unwrap(),
        sink.deliver(other.clone()).await.unwrap(),
    ];
    for answer in answers {
        match soon("an answer", answer).await {
            Outcomes::Partly(outcomes, failure) => {
                assert_eq!(outcomes, [Outcome::Retry]);
                assert_eq!(failure.next, Next::Reconnect);
            }
            other => panic!("{other:?}"),
        }
    }
    sink.connect().await.unwrap();
    for delivery in [one, other] {
        assert_eq!(deliver(&mut sink, &delivery).await, [Outcome::Confirmed]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_together_again_once_the_one_that_is_too_large_was_found() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start().await;
    let config = place(&server, "narrow").await;
    let relay = Relay::roomy();
    commit(&relay, [10, 2 * LIMIT, 20]).await;
    commit(&relay, [100; 1_000]).await;
    let mut reader = relay.core.bus.reader_after(Offset(0));
    let mut sink = Kafka::new(config, relay.source());
    sink.connect().await.unwrap();
    let few = next(&mut reader, 3).await;
    let outcomes = deliver(&mut sink, &few).await;
    assert!(!outcomes.iter().any(is_rejected), "{outcomes:?}");
    let outcomes = deliver(&mut sink, &few).await;
    assert!(is_rejected(&outcomes[1]), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|one| is_rejected(one)).count(), 1);

    let before = server.requests("narrow");
    let mut left = 1_000;
    while left > 0 {
        let many = next(&mut reader, 50).await;
        let outcomes = deliver(&mut sink, &many).await;
        assert!(outcomes.iter().all(|one| *one == Outcome::Confirmed));
        left -= 50;
    }
    let requests = server.requests("narrow") - before;
    assert!(requests <= 500, "{requests} requests for 1000 records");
}

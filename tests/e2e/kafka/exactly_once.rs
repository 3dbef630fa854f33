//! Exactly once: no event is missing and none is there twice, whatever is killed; and of two producers
//! with one id, one stays away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use relay_tests::proxy::Proxy;
use relay_tests::relay::offset;
use relay_tests::servers::kafka::{self, KafkaServer, Plan};
use relay_tests::{PATIENCE, Relay, load};
use rustix::process::Signal;
use sapi_sim::Simulator;

use super::records::{self, Record};
use super::relay::{RATE, drained, row, setup, simulator};

const TOPIC: &str = "sapi.acmecorp01";
/// What a sink says whose producer was ended, though nobody took its id.
const ENDED: &str = "the brokers have ended it";
/// And one whose id was taken.
const TAKEN: &str = "fenced: another producer has taken";

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

/// Sees whether a transaction is open that has written to the topic: beyond it nothing is committed.
struct Ends {
    all: BaseConsumer,
    committed: BaseConsumer,
}

impl Ends {
    fn new(config: &ClientConfig) -> Arc<Self> {
        let consumer = |isolation: &str| {
            let mut config = config.clone();
            config.set("group.id", "tests");
            config.set("isolation.level", isolation);
            config.create().unwrap()
        };
        Arc::new(Self {
            all: consumer("read_uncommitted"),
            committed: consumer("read_committed"),
        })
    }

    fn is_open(&self) -> bool {
        let end = |consumer: &BaseConsumer| {
            let marks = consumer.fetch_watermarks(TOPIC, 0, PATIENCE);
            marks.unwrap().1
        };
        let all = end(&self.all);
        end(&self.committed) < all
    }

    /// Returns once one is open, or none.
    async fn wait_for(self: &Arc<Self>, open: bool) {
        let what = format!("a transaction to be open: {open}");
        relay_tests::until(&what, || async {
            let ends = Arc::clone(self);
            let found = tokio::task::spawn_blocking(move || ends.is_open()).await;
            (found.unwrap() == open).then_some(())
        })
        .await;
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
    let server = KafkaServer::start_as(Plan {
        advertised: Some(proxy.address()),
        settings: "transaction.abort.timed.out.transaction.cleanup.interval.ms=100\n\
                   sasl.enabled.mechanisms=PLAIN\n\
                   listener.name.sasl_plaintext.plain.sasl.jaas.config=\
                   org.apache.kafka.common.security.plain.PlainLoginModule required user_tests=\"right\";"
            .to_owned(),
        // The way of the test itself, past the proxy.
        listeners: vec!["SASL_PLAINTEXT"],
        ..Plan::default()
    })
    .await;
    let mut past = server.client();
    past.set(
        "bootstrap.servers",
        server.address_of("SASL_PLAINTEXT").to_string(),
    )
    .set("security.protocol", "sasl_plaintext")
    .set("sasl.mechanism", "PLAIN")
    .set("sasl.username", "tests")
    .set("sasl.password", "right");
    let ends = Ends::new(&past);
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
    // A transaction takes three round trips: partitions are added, records are written, it is ended. What
    // is to be met is the second: then records are acknowledged while nobody hears it.
    proxy.delay(Duration::from_millis(150));
    let (mut stops, mut ended) = (0, 0);
    while ended == 0 || !relay.log().contains(ENDED) {
        stops += 1;
        assert!(stops <= 15, "{ended} transactions ended, and none said so");
        ends.wait_for(false).await;
        ends.wait_for(true).await;
        relay.signal(Signal::STOP);
        // What was under way has arrived: what is open now stays open until the brokers end it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = ends.is_open();
        ends.wait_for(false).await;
        relay.signal(Signal::CONT);
        ended += u32::from(open);
        passes(&relay, cursor(&relay).await + 200).await;
        eprintln!("stop {stops}: {ended} transactions ended by the brokers");
    }
    proxy.heal();
    simulator.set_rate(0.0);
    relay
        .status_where("everything delivered", |status| {
            let emitted = relay_tests::ledger::emitted(&simulator).len() as u64;
            // The first is the notice of the connection.
            offset(&status["journal"]["last"]) > emitted
                && row(status)["lag_events"] == 0
                && row(status)["state"] == "running"
        })
        .await;
    let emitted = relay_tests::ledger::emitted(&simulator);
    assert_once(&records::all(&server, TOPIC).await, &emitted);
    assert!(!relay.log().contains(TAKEN), "{}", relay.log());

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
    assert!(!second.log().contains(TAKEN), "{}", second.log());
}

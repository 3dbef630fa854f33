//! The shared contract, check after check on one real server.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use relay_core::contract::{self, Fault, Peer, Relay, Seen};
use relay_sinks::Format;
use relay_sinks::kafka::{Config, Kafka, Properties};
use relay_sinks::template::Template;
use relay_tests::servers::kafka::{self, KafkaServer};
use tokio::sync::Mutex;

use super::records::{self, Record};

/// A topic of a server is what the peer has received.
struct KafkaPeer {
    server: Arc<Mutex<KafkaServer>>,
    brokers: String,
    topic: String,
    fault: std::sync::Mutex<Option<Fault>>,
}

impl KafkaPeer {
    async fn new(server: &Arc<Mutex<KafkaServer>>, topic: &str) -> Self {
        let held = server.lock().await;
        held.create_topic(topic, 1, &[]).await;
        Self {
            brokers: held.address().to_string(),
            server: Arc::clone(server),
            topic: topic.to_owned(),
            fault: std::sync::Mutex::default(),
        }
    }
}

/// A sink of one topic, impatient enough for a test.
pub(super) fn config(brokers: &str, topic: &str) -> Config {
    let mut properties = Properties::default();
    for (name, value) in [
        ("message.timeout.ms", "3000"),
        ("topic.metadata.propagation.max.ms", "1000"),
        ("reconnect.backoff.max.ms", "300"),
    ] {
        properties.set(name, value).unwrap();
    }
    Config {
        name: "lake".to_owned(),
        tenant: "acme".to_owned(),
        brokers: vec![brokers.to_owned()],
        topic: Template::confined(topic).unwrap(),
        key: Template::verbatim("{key}").unwrap(),
        format: Format::Binary,
        compression: "lz4",
        exactly_once: None,
        tls: None,
        sasl: None,
        properties,
        in_flight_bytes: 1 << 20,
    }
}

/// What a topic holds.
pub(super) fn seen(records: &[Record]) -> Vec<Seen> {
    let seen = records.iter().map(|record| Seen {
        number: record.header("ce_sapisequence").parse().unwrap(),
        key: record.key.clone(),
    });
    seen.collect()
}

impl Peer for KafkaPeer {
    type Sink = Kafka;

    fn sink(&self) -> impl FnMut() -> Kafka + Send + 'static {
        let config = config(&self.brokers, &self.topic);
        let source = Relay::new().source();
        move || Kafka::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        seen(&records::all(&*self.server.lock().await, &self.topic).await)
    }

    async fn inject(&self, fault: Fault) -> bool {
        let mut server = self.server.lock().await;
        match fault {
            Fault::Away => server.kill().await,
            Fault::Hang | Fault::Stalled => server.freeze(),
            Fault::Blocked => {
                let admin: AdminClient<DefaultClientContext> = server.client().create().unwrap();
                let options = AdminOptions::new();
                let gone = admin.delete_topics(&[&self.topic], &options).await.unwrap();
                gone.into_iter().for_each(|gone| drop(gone.unwrap()));
            }
            Fault::Gone | Fault::Reversed | Fault::Partly | Fault::Poison | Fault::Panic => {
                return false;
            }
        }
        *self.fault.lock().unwrap() = Some(fault);
        true
    }

    async fn mend(&self) {
        let mut server = self.server.lock().await;
        let fault = self.fault.lock().unwrap().take();
        match fault {
            Some(Fault::Away) => server.restart().await,
            Some(Fault::Hang | Fault::Stalled) => server.thaw(),
            Some(Fault::Blocked) => server.create_topic(&self.topic, 1, &[]).await,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start_with("auto.create.topics.enable=false").await;
    let server = Arc::new(Mutex::new(server));
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {
            $(
                let begun = std::time::Instant::now();
                contract::$check(KafkaPeer::new(&server, stringify!($check)).await).await;
                eprintln!("{}: {:?}", stringify!($check), begun.elapsed());
            )+
        };
    }
    checks! {
        confirms_and_does_not_repeat, keeps_the_order, crosses_from_disk_to_memory, seeks,
        pauses_across_a_restart, goes_on_from_its_cursor, stops_cleanly, survives_a_crash,
        stops_when_blocked_and_goes_on, bears_a_peer_that_is_slow, redelivers_after_an_absence,
    }
}

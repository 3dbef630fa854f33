//! A relay with every sink, its destinations behind proxies, and a consumer at each.

use std::collections::BTreeMap;

use relay_tests::arrivals::Arrivals;
use relay_tests::client::history;
use relay_tests::proxy::Proxy;
use relay_tests::relay::{Setup, offset};
use relay_tests::servers::kafka::KafkaServer;
use relay_tests::servers::nats::NatsServer;
use relay_tests::servers::rabbitmq::RabbitServer;
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{PATIENCE, Relay};
use sapi_sim::{Config, Simulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::consumers;

/// The destinations that can be in trouble.
pub const NAMES: [&str; 4] = ["kafka", "nats", "rabbitmq", "webhook"];

/// The bound on the relay's resident memory with every sink at work, bytes.
pub const MEMORY: u64 = 160 << 20;

const RATE: f64 = 1_000.0;
/// What a sink may lag behind while all is well, events: two seconds, on a machine that also runs every
/// server and consumer.
const LEVEL: u64 = 2_000;

/// What happens to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; it is started again, with its data.
    Killed,
    /// SIGSTOP: its sockets stand, and nobody answers.
    Stopped,
    /// The network is gone; the server is not.
    CutOff,
}

/// All of it.
pub struct World {
    /// A log for each consumer.
    pub arrivals: Vec<Arrivals>,
    simulator: Simulator,
    relay: Option<Relay>,
    setup: Setup,
    kafka: KafkaServer,
    nats: NatsServer,
    rabbitmq: RabbitServer,
    receiver: Receiver,
    proxies: BTreeMap<&'static str, Proxy>,
    tasks: JoinSet<()>,
    /// Whether the relay was.
    killed: bool,
    _journal: TempDir,
}

impl World {
    /// Starts everything, and events at a steady rate. `exactly_once`: Kafka's sink is.
    pub async fn start(exactly_once: bool) -> Self {
        relay_tests::install_crypto();
        let mut proxies = BTreeMap::new();
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        for name in NAMES {
            proxies.insert(name, Proxy::start(nowhere).await);
        }
        let (kafka, nats, rabbitmq, receiver) = tokio::join!(
            KafkaServer::start_behind(proxies["kafka"].address(), ""),
            NatsServer::start(),
            RabbitServer::start(),
            Receiver::start(),
        );
        proxies["kafka"].retarget(kafka.address());
        proxies["nats"].retarget(nats.address());
        proxies["rabbitmq"].retarget(rabbitmq.address());
        proxies["webhook"].retarget(receiver.address());
        kafka.create_topic("sapi.acmecorp01", 1, &[]).await;

        // What the relay had not read when it was killed is sent again: five seconds of it.
        let config = Config {
            overlap: 5_000,
            ..Config::default()
        };
        let simulator = Simulator::start(config).await.expect("it starts");
        let journal = tempfile::tempdir().expect("a temporary folder");
        let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN).dir(journal.path());
        setup.more = sinks(&proxies, &receiver, exactly_once);
        let relay = Relay::start(&setup).await;

        let mut tasks = JoinSet::new();
        let arrivals = vec![
            consumers::kafka(kafka.address(), "sapi.acmecorp01", &mut tasks),
            consumers::nats(nats.jetstream().await, "SAPI", &mut tasks).await,
            consumers::rabbitmq(rabbitmq.url("guest", "guest", ""), "sapi", &mut tasks).await,
            consumers::webhook(&receiver),
            consumers::websocket(&relay, &mut tasks).await,
        ];
        simulator.set_rate(RATE);
        Self {
            arrivals,
            simulator,
            relay: Some(relay),
            setup,
            kafka,
            nats,
            rabbitmq,
            receiver,
            proxies,
            tasks,
            killed: false,
            _journal: journal,
        }
    }

    /// The relay that runs.
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("it runs")
    }

    /// Waits until every consumer has so many events.
    ///
    /// # Panics
    /// With what the relay says of its sinks, when they do not come.
    pub async fn everyone_has(&self, count: usize) {
        let all = async {
            for arrivals in &self.arrivals {
                arrivals.reach(count).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            let have: Vec<_> = self
                .arrivals
                .iter()
                .map(|one| (one.name(), one.count()))
                .collect();
            let sinks = self.relay().status().await["sinks"].take();
            panic!("{count} events did not come to everyone: {have:?}\n{sinks:#}");
        }
    }

    /// Makes a fault of a destination.
    pub async fn inflict(&mut self, target: &str, fault: Fault) {
        match (fault, target) {
            (Fault::Killed, "kafka") => self.kafka.kill().await,
            (Fault::Killed, "nats") => self.nats.kill().await,
            (Fault::Killed, "rabbitmq") => self.rabbitmq.kill(),
            (Fault::Killed, _) => self.proxies[target].refuse(),
            (Fault::Stopped, "kafka") => self.kafka.freeze(),
            (Fault::Stopped, "nats") => self.nats.freeze(),
            (Fault::Stopped, "rabbitmq") => self.rabbitmq.freeze(),
            (Fault::Stopped, _) => self.receiver.answers_all(Answer::hang()),
            (Fault::CutOff, _) => self.proxies[target].black_hole(),
        }
    }

    /// Undoes it.
    pub async fn heal(&mut self, target: &str, fault: Fault) {
        match (fault, target) {
            (Fault::Killed, "kafka") => self.kafka.restart().await,
            (Fault::Killed, "nats") => self.nats.restart().await,
            (Fault::Killed, "rabbitmq") => self.rabbitmq.restart().await,
            (Fault::Stopped, "kafka") => self.kafka.thaw(),
            (Fault::Stopped, "nats") => self.nats.thaw(),
            (Fault::Stopped, "rabbitmq") => self.rabbitmq.thaw(),
            (Fault::Stopped, _) => consumers::listen(&self.receiver, &self.arrivals),
            (Fault::Killed, _) => self.proxies[target].heal(),
            (Fault::CutOff, _) => {
                // Connections that lost packets for so long do not come back.
                self.proxies[target].cut();
                self.proxies[target].heal();
            }
        }
    }

    /// How many events a sink is behind.
    pub async fn lag(&self, sink: &str) -> u64 {
        lag(&self.relay().status().await, sink)
    }

    /// Waits until a sink is level again, and so is its consumer.
    pub async fn caught_up(&self, sink: &str) {
        let level = |status: &Value| lag(status, sink) < LEVEL;
        self.relay().status_where(sink, level).await;
        let count = |name: &str| {
            let mut named = self.arrivals.iter().filter(|one| one.name() == name);
            named.next().map_or(0, Arrivals::count)
        };
        relay_tests::until(sink, || async {
            let level = count(sink) + 2_000 > count("websocket");
            level.then_some(())
        })
        .await;
    }

    /// SIGKILL, and a new relay on the same journal.
    pub async fn kill_relay(&mut self) {
        self.killed = true;
        self.relay.take().expect("it runs").kill().await;
        self.relay = Some(Relay::start(&self.setup).await);
    }

    /// Waits until every sink that confirms has delivered events of this relay's run.
    pub async fn flows(&self) {
        let now = offset(&self.relay().status().await["journal"]["last"]);
        let enough = |status: &Value| {
            let sinks = status["sinks"].as_array().expect("sinks").iter();
            let mut cursors = sinks.filter(|sink| !sink["cursor"].is_null());
            cursors.all(|sink| offset(&sink["cursor"]) > now + 100)
        };
        self.relay()
            .status_where("every sink to deliver", enough)
            .await;
    }

    /// Ends the events, waits until everything has arrived everywhere, and returns what the journal
    /// holds: an id for each offset.
    pub async fn finish(&mut self) -> BTreeMap<u64, String> {
        self.simulator.set_rate(0.0);
        // What was on its way when the rate changed is emitted still.
        let emitted = loop {
            let emitted = relay_tests::ledger::emitted(&self.simulator).len();
            relay_tests::ledger::recorded(self.relay(), emitted).await;
            if relay_tests::ledger::emitted(&self.simulator).len() == emitted {
                break emitted;
            }
        };
        let url = self.relay().downstream("/v1/history").await;
        let events = history(&url).await.into_iter();
        let events = events.filter(|event| !event.is_notice());
        let expected: BTreeMap<_, _> = events
            .map(|event| (offset(&Value::from(event.relaycursor)), event.id))
            .collect();
        assert_eq!(
            expected.len(),
            emitted,
            "the journal holds every event once"
        );
        // A client's stream ended with the relay that was killed.
        let killed = self.killed;
        self.arrivals
            .retain(|one| !killed || one.name() != "websocket");
        self.everyone_has(expected.len()).await;
        expected
    }

    /// SIGTERM.
    pub async fn end(mut self) {
        let relay = self.relay.take().expect("it runs");
        assert!(relay.terminate().await.success());
        self.tasks.shutdown().await;
    }
}

fn lag(status: &Value, sink: &str) -> u64 {
    let sinks = status["sinks"].as_array().expect("sinks");
    let row = sinks.iter().find(|row| row["name"] == sink);
    row.and_then(|row| row["lag_events"].as_u64())
        .unwrap_or_else(|| panic!("no lag of {sink}: {status}"))
}

fn sinks(
    proxies: &BTreeMap<&'static str, Proxy>,
    receiver: &Receiver,
    exactly_once: bool,
) -> String {
    let address = |name| proxies[name].address();
    let common = "start_from = \"earliest\"\nretry_max = \"1s\"";
    format!(
        r#"
[sinks.kafka]
type = "kafka"
brokers = ["{}"]
exactly_once = {exactly_once}
{common}

[sinks.nats]
type = "nats"
servers = ["nats://{}"]
stream = "SAPI"
create_stream = true
{common}

[sinks.rabbitmq]
type = "rabbitmq"
url = "amqp://guest:guest@{}"
declare = true
{common}

[sinks.webhook]
type = "webhook"
url = "{}"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
timeout = "2s"
{common}
"#,
        address("kafka"),
        address("nats"),
        address("rabbitmq"),
        receiver.url_through(address("webhook"), "/hook"),
    )
}

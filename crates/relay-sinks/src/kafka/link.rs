//! A connection to Kafka: librdkafka's producer, what it says of itself, and its end off the runtime's
//! threads. It knows no events.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{Producer as _, PurgeConfig, ThreadedProducer};
use relay_core::sink::Failure;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::watch::{Context, Fence, Watch};
use super::{Config, failure};

/// How long a question to the brokers may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How much longer than the first broker's refusal the answer of another may take.
const GRACE: Duration = Duration::from_secs(1);
/// How long a topic that brokers make by themselves may take to be there.
const MAKING: Duration = Duration::from_secs(5);
/// What brokers take by default, and librdkafka sends, bytes.
const RECORD: usize = 1_000_000;
/// The longest a record, and a request, is tried before its outcome is said to be unknown.
const TIMEOUT_MS: u64 = 15_000;
/// How long brokers let a transaction be open, if nobody says otherwise.
const LEASE_MS: u64 = 60_000;

/// The producer.
pub(super) type Producer = ThreadedProducer<Context>;

/// A connection. Clones are the same one.
#[derive(Clone)]
pub(super) struct Link {
    held: Arc<Held>,
    watch: Arc<Watch>,
    alone: bool,
}

/// What the brokers say of topics.
struct Topics {
    names: Vec<String>,
    /// What is wrong with the first.
    error: Option<Code>,
}

/// The producer, whose end takes its time: it is never dropped on a thread of the runtime.
struct Held(Option<Producer>);

impl Drop for Held {
    fn drop(&mut self) {
        let producer = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("watch", &self.watch)
            .field("alone", &self.alone)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, authenticates, and looks for the topic if there is but one. `alone`: a request
    /// carries one record.
    pub(super) async fn open(config: &Config, alone: bool) -> Result<Self, Failure> {
        let link = Self::create(config, alone)?;
        let topic = config.topic.fixed(&config.tenant);
        let found = match topic {
            None => link.ask(None).await.map(drop),
            Some(topic) => link.wait_for(&topic).await,
        };
        match found {
            Ok(()) => Ok(link),
            Err(failure) => {
                link.close().await;
                Err(failure)
            }
        }
    }

    /// Connects and authenticates, and makes no topic: one that is missing is a failure.
    pub(super) async fn probe(config: &Config, topic: Option<&str>) -> Result<(), Failure> {
        let link = Self::create(config, false)?;
        let found = link.ask(None).await.and_then(|topics| match topic {
            Some(topic) if !topics.names.iter().any(|name| name == topic) => Err(failure::of(
                Code::UnknownTopicOrPartition,
                &format!("topic {topic}"),
            )),
            Some(_) | None => Ok(()),
        });
        link.close().await;
        found
    }

    fn create(config: &Config, alone: bool) -> Result<Self, Failure> {
        let mut client = client(config)?;
        own(&mut client, config);
        // That a broker has hung up is said at this level.
        client.set_log_level(RDKafkaLogLevel::Info);
        if alone {
            client.set("batch.num.messages", "1");
        }
        let lease = Duration::from_millis(lease_ms(config));
        let watch = Arc::new(Watch::new(&config.name, lease));
        let producer = client
            .create_with_context(Context(Arc::clone(&watch)))
            .map_err(|error| failure::setup(&error))?;
        Ok(Self {
            held: Arc::new(Held(Some(producer))),
            watch,
            alone,
        })
    }

    /// The producer; `None`: never.
    pub(super) fn producer(&self) -> Option<&Producer> {
        self.held.0.as_ref()
    }

    /// What the connection says of itself.
    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Whether a request carries one record.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether a request was too large that carried several records.
    pub(super) fn wants_records_alone(&self) -> bool {
        self.watch.is_too_large()
    }

    /// Why the brokers have ended the producer; `None`: they have not.
    pub(super) fn fence(&self) -> Option<Fence> {
        // What comes after it is said to be fatal, and nothing else.
        let fatal = self
            .producer()
            .and_then(|producer| producer.client().fatal_error());
        if fatal.is_some_and(|(code, _)| failure::is_fenced(code)) {
            self.watch.fenced();
        }
        self.watch.fence()
    }

    /// Does something that waits for the brokers.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Producer) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Failure> {
        let held = Arc::clone(&self.held);
        let done = spawn_blocking(move || held.0.as_ref().map(work)).await;
        match done {
            Ok(Some(Ok(done))) => Ok(done),
            Ok(Some(Err(error))) => Err(self.watch.explain(failure::code(&error), what)),
            Ok(None) | Err(_) => Err(failure::not_connected()),
        }
    }

    /// Waits for a topic that the brokers may be making.
    async fn wait_for(&self, topic: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + MAKING;
        loop {
            let code = self.ask(Some(topic.to_owned())).await?.error;
            match code {
                None => return Ok(()),
                Some(code) if failure::is_missing(code) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Some(code) => return Err(failure::of(code, &format!("topic {topic}"))),
            }
        }
    }

    /// The topics that are there; or the one that is asked for, which brokers may make then.
    async fn ask(&self, topic: Option<String>) -> Result<Topics, Failure> {
        let what = "reaching the brokers";
        let asked = self.blocking(what, move |producer| {
            let client = producer.client();
            let metadata = client.fetch_metadata(topic.as_deref(), PATIENCE)?;
            let found = metadata.topics();
            Ok(Topics {
                names: found.iter().map(|topic| topic.name().to_owned()).collect(),
                error: found.first().and_then(MetadataTopic::error).map(Code::from),
            })
        });
        let mut asked = pin!(asked);
        let asked = tokio::select! {
            asked = &mut asked => asked,
            // Another of the brokers may answer yet.
            failure = self.watch.trouble() => timeout(GRACE, asked).await.unwrap_or(Err(failure)),
        };
        if asked.is_ok() {
            self.watch.recovered();
        }
        asked
    }

    /// Ends it: what is under way is not waited for.
    pub(super) async fn close(self) {
        let Some(mut held) = Arc::into_inner(self.held) else {
            return;
        };
        let producer = held.0.take();
        let ended = spawn_blocking(move || {
            if let Some(producer) = &producer {
                producer.purge(PurgeConfig::default().queue().inflight());
            }
            drop(producer);
        });
        if ended.await.is_err() {
            tracing::debug!("a connection to Kafka did not end in order");
        }
    }
}

/// What every client needs to reach the brokers.
pub(super) fn client(config: &Config) -> Result<ClientConfig, Failure> {
    let mut client = ClientConfig::new();
    client
        .set("client.id", format!("sapi-relay-{}", config.name))
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", timeout_ms(config));
    config.properties.apply(&mut client);
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set_log_level(RDKafkaLogLevel::Warning);
    let tls = config.tls.as_ref();
    if let Some(tls) = tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (name, path) in files {
            if let Some(path) = path {
                // librdkafka would say neither which file it is nor why.
                std::fs::File::open(path).map_err(|error| failure::file(path, &error))?;
                client.set(name, path.to_string_lossy());
            }
        }
    }
    if let Some(sasl) = &config.sasl {
        let password = sasl
            .password
            .read()
            .map_err(|error| failure::secret(&error))?;
        client
            .set("sasl.mechanism", sasl.mechanism)
            .set("sasl.username", &sasl.username)
            .set("sasl.password", password);
    }
    let protocol = match (tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    Ok(client)
}

/// How long brokers let a transaction be open.
fn lease_ms(config: &Config) -> u64 {
    let told = config.properties.get("transaction.timeout.ms");
    told.and_then(|text| text.parse().ok()).unwrap_or(LEASE_MS)
}

/// How long a record and a request are tried: no longer than the transaction they are part of.
fn timeout_ms(config: &Config) -> String {
    let lease = config.exactly_once.is_some().then(|| lease_ms(config));
    lease.unwrap_or(TIMEOUT_MS).min(TIMEOUT_MS).to_string()
}

/// What a producer is told: the guarantees, and the bounds.
fn own(client: &mut ClientConfig, config: &Config) {
    // Some properties have two names: what is told under the one must not be undone under the other.
    let alias = |name: &str| match name {
        "message.timeout.ms" => "delivery.timeout.ms",
        "linger.ms" => "queue.buffering.max.ms",
        _ => "",
    };
    let told = |name: &str| config.properties.get(name).is_some();
    let preset = |client: &mut ClientConfig, name: &str, value: String| {
        if !told(name) && !told(alias(name)) {
            client.set(name, value);
        }
    };
    let largest = config.properties.get("message.max.bytes");
    let largest = largest.and_then(|text| text.parse().ok()).unwrap_or(RECORD);
    let kbytes = config.in_flight_bytes.max(largest.saturating_mul(2)) / 1024;
    preset(client, "message.timeout.ms", timeout_ms(config));
    preset(
        client,
        "topic.metadata.propagation.max.ms",
        "5000".to_owned(),
    );
    preset(client, "partitioner", "murmur2_random".to_owned());
    preset(
        client,
        "queue.buffering.max.kbytes",
        kbytes.clamp(1024, 2_097_151).to_string(),
    );
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.codec", config.compression)
        .set("statistics.interval.ms", "0");
    if let Some(exactly_once) = &config.exactly_once {
        preset(client, "linger.ms", "1".to_owned());
        client.set("transactional.id", &exactly_once.transactional_id);
    }
}

//! Kafka: a full journal into a topic, beside a bare loop of librdkafka's producer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use relay_tests::servers::kafka::KafkaServer;
use relay_tests::soon;
use tempfile::TempDir;

use super::delivery::{Clock, Delivering, Speed, Turns, beside, delivered, filled};
use crate::Bench;
use crate::report::Row;

/// Records that the bare loop sends over and over.
const RECORDS: usize = 1_000;
/// So often, in records, it takes reports in.
const REPORTS: u64 = 64;

pub(crate) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let events = bench.events(500_000);
    let journal = filled(bench, events).await?;
    let kafka = KafkaServer::start().await;
    let records: Arc<[OwnedMessage]> = first_records(&kafka, &journal).await?.into();
    let turns = Turns::take(
        async || {
            let (client, topic) = (kafka.client(), topic(&kafka).await);
            let records = Arc::clone(&records);
            let producing =
                tokio::task::spawn_blocking(move || produce(client, &topic, &records, events));
            producing.await?
        },
        async || relay(&kafka, &journal, events, "").await,
    )
    .await?;
    let exactly = relay(&kafka, &journal, events, "exactly_once = true").await?;
    let mut rows = turns.rows("a bare rdkafka loop");
    rows.push(turns.bare_cpu());
    rows.push(beside("the relay, exactly once", exactly));
    Ok(rows)
}

/// A topic that nobody has written to, of one partition.
async fn topic(kafka: &KafkaServer) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let name = format!("run{}", NAMES.fetch_add(1, Relaxed));
    kafka.create_topic(&name, 1, &[]).await;
    name
}

fn sink(kafka: &KafkaServer, topic: &str) -> String {
    let address = kafka.address();
    format!("type = \"kafka\"\nbrokers = [\"{address}\"]\ntopic = {topic:?}\n")
}

async fn relay(kafka: &KafkaServer, journal: &TempDir, events: u64, keys: &str) -> Result<Speed> {
    let topic = topic(kafka).await;
    let speed = delivered(journal, events, &(sink(kafka, &topic) + keys)).await?;
    let client = kafka.client();
    let stored = tokio::task::spawn_blocking(move || stored(&client, &topic)).await??;
    // A transaction's end takes a place as well.
    ensure!(stored >= events, "{stored} of {events} events are there");
    Ok(speed)
}

fn stored(client: &ClientConfig, topic: &str) -> Result<u64> {
    let consumer: StreamConsumer = client.create()?;
    let (first, behind) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10))?;
    Ok(u64::try_from(behind - first)?)
}

/// What the relay writes first.
async fn first_records(kafka: &KafkaServer, journal: &TempDir) -> Result<Vec<OwnedMessage>> {
    let topic = topic(kafka).await;
    let delivering = Delivering::start(journal, &sink(kafka, &topic)).await;
    let consumer: StreamConsumer = kafka.client().set("group.id", "bench").create()?;
    let mut all = rdkafka::TopicPartitionList::new();
    all.add_partition_offset(&topic, 0, rdkafka::Offset::Beginning)?;
    consumer.assign(&all)?;
    let mut records = Vec::with_capacity(RECORDS);
    while records.len() < RECORDS {
        let record = soon("a record", consumer.recv()).await?;
        records.push(record.detach());
    }
    delivering.relay.terminate().await;
    Ok(records)
}

/// What has come back of the bare loop's records.
#[derive(Default)]
struct Reports {
    delivered: AtomicU64,
    failure: OnceLock<KafkaError>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.delivered.fetch_add(1, Relaxed),
            Err((error, _)) => _ = self.failure.set(error.clone()),
        }
    }
}

/// The bare loop, as librdkafka's performance tool has it: one thread that hands records over, waits while
/// the queue is full, and takes every report in. What the client is told is what the relay tells its own.
fn produce(
    mut client: ClientConfig,
    topic: &str,
    records: &[OwnedMessage],
    events: u64,
) -> Result<Speed> {
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.codec", "lz4")
        .set("message.timeout.ms", "15000")
        .set("queue.buffering.max.kbytes", "8192")
        .set("socket.keepalive.enable", "true");
    let producer: BaseProducer<Reports> = client.create_with_context(Reports::default())?;
    let reports = producer.context();
    // Connected before the clock runs.
    producer
        .client()
        .fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let clock = Clock::start()?;
    for (n, record) in (0..events).zip(records.iter().cycle()) {
        let mut next = BaseRecord::to(topic)
            .key(record.key().unwrap_or_default())
            .payload(record.payload().unwrap_or_default())
            .headers(record.headers().context("a record with headers")?.clone())
            .timestamp(record.timestamp().to_millis().unwrap_or_default());
        while let Err((error, back)) = producer.send(next) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                bail!(error);
            }
            next = back;
            producer.poll(Duration::from_millis(10));
        }
        if n % REPORTS == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while reports.delivered.load(Relaxed) < events {
        if let Some(error) = reports.failure.get() {
            bail!(error.clone());
        }
        producer.poll(Duration::from_millis(100));
    }
    clock.stop(events)
}

//! The topic of cursors: one compacted partition, the last record of a key is a sink's cursor. It knows no
//! transactions but as a reader of what is committed.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::{ClientContext, Offset, TopicPartitionList, config::RDKafkaLogLevel};
use relay_core::Cursor;
use relay_core::sink::{Failure, Next};
use tokio::task::spawn_blocking;

use super::link::{self, PATIENCE};
use super::{Config, ExactlyOnce, failure};

/// How long transactions of others, which stand before our cursor, may take to end.
const OTHERS: Duration = Duration::from_secs(70);
/// How long a poll waits.
const POLL: Duration = Duration::from_millis(50);

/// A client that keeps to itself what it has to say: failures are returned.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(facility, "librdkafka: {line}");
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        tracing::debug!("librdkafka: {reason}");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

/// The key of a sink's cursor.
pub(super) fn key(config: &Config) -> String {
    format!("{}/{}", config.tenant, config.name)
}

/// The topic refuses cursors.
pub(super) fn refused(exactly_once: &ExactlyOnce) -> Failure {
    Failure {
        next: Next::Blocked,
        text: format!("topic {} refuses cursors", exactly_once.cursor_topic),
        remedy: "let it be made by the relay: one partition, cleanup.policy=compact".to_owned(),
    }
}

/// Makes the topic where it is missing; one that is there has to be compacted.
pub(super) async fn ensure(config: &Config, exactly_once: &ExactlyOnce) -> Result<(), Failure> {
    let topic = exactly_once.cursor_topic.as_str();
    let mut client = link::client(config)?;
    client.set("allow.auto.create.topics", "false");
    let admin: AdminClient<DefaultClientContext> = spawn_blocking(move || client.create())
        .await
        .map_err(|_panicked| failure::not_connected())?
        .map_err(|error| failure::setup(&error))?;
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("segment.bytes", "16777216")
        .set("segment.ms", "600000")
        .set("min.cleanable.dirty.ratio", "0.1");
    let what = format!("making topic {topic}");
    let made = admin.create_topics([&wanted], &options).await;
    let made = made.map_err(|error| failure::of(failure::code(&error), &what))?;
    match made.into_iter().next() {
        Some(Err((
            _,
            Code::TopicAlreadyExists
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ))) => {}
        Some(Err((_, code))) => return Err(failure::of(code, &what)),
        Some(Ok(_)) | None => return Ok(()),
    }
    let resource = ResourceSpecifier::Topic(topic);
    let described = admin.describe_configs([&resource], &options).await;
    // Whoever may not ask has to know.
    let Ok(Some(Ok(described))) = described.map(|mut all| all.pop()) else {
        return Ok(());
    };
    let policy = described.get("cleanup.policy");
    let policy = policy.and_then(|entry| entry.value.as_deref());
    if policy.is_some_and(|policy| !policy.contains("compact")) {
        return Err(Failure {
            next: Next::Blocked,
            text: format!("topic {topic} is not compacted: its cursors would be lost with time"),
            remedy: format!("set cleanup.policy=compact for {topic}, or change cursor_topic"),
        });
    }
    Ok(())
}

/// The sink's cursor, as far as it is committed. `all`: what is open of others is waited for, since it
/// may stand before our last one.
pub(super) async fn read(
    config: &Config,
    exactly_once: &ExactlyOnce,
    all: bool,
) -> Result<Option<Cursor>, Failure> {
    let client = link::client(config)?;
    let (topic, key) = (exactly_once.cursor_topic.clone(), key(config));
    let what = format!("reading the cursor from topic {topic}");
    let place = format!("{what}, key {key}");
    let read = spawn_blocking(move || last(&client, &topic, key.as_bytes(), all)).await;
    let read = read.map_err(|_panicked| failure::not_connected())?;
    let text = match read {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => text,
        Err(code) => return Err(failure::of(code, &what)),
    };
    let cursor = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse().ok());
    cursor.map(Some).ok_or_else(|| Failure {
        next: Next::Blocked,
        text: format!("{place}: what stands there is no cursor"),
        remedy: format!("seek sink {}: that writes one", config.name),
    })
}

fn consumer(client: &ClientConfig, isolation: &str) -> Result<BaseConsumer<Quiet>, Code> {
    let mut client = client.clone();
    client
        .set("group.id", "sapi-relay-cursors")
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "4096")
        .set("isolation.level", isolation);
    client
        .create_with_context(Quiet)
        .map_err(|error| failure::code(&error))
}

/// The offset behind the last record; of a topic made a moment ago as soon as it has a leader.
fn end(consumer: &BaseConsumer<Quiet>, topic: &str) -> Result<i64, Code> {
    let begun = Instant::now();
    loop {
        let code = match consumer.fetch_watermarks(topic, 0, PATIENCE) {
            Ok((_first, end)) => return Ok(end),
            Err(error) => failure::code(&error),
        };
        let making = failure::is_missing(code) || code == Code::NotLeaderForPartition;
        if !making || begun.elapsed() >= PATIENCE {
            return Err(code);
        }
        drop(consumer.poll(POLL));
    }
}

/// The value of the last record with a key, to the end of the partition as it is now.
fn last(
    client: &ClientConfig,
    topic: &str,
    key: &[u8],
    all: bool,
) -> Result<Option<Vec<u8>>, Code> {
    let deadline = Instant::now() + OTHERS;
    let until = end(&consumer(client, "read_uncommitted")?, topic)?;
    let consumer = consumer(client, "read_committed")?;
    // Beyond an open transaction nothing can be read, though our cursor may stand there.
    while all && end(&consumer, topic)? < until {
        if Instant::now() >= deadline {
            return Err(Code::OperationTimedOut);
        }
        drop(consumer.poll(POLL));
    }
    let mut list = TopicPartitionList::new();
    let placed = list.add_partition_offset(topic, 0, Offset::Beginning);
    placed
        .and_then(|()| consumer.assign(&list))
        .map_err(|error| failure::code(&error))?;
    let mut found = None;
    loop {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                if record.key() == Some(key) {
                    found = record.payload().map(<[u8]>::to_vec);
                }
                // Where others go on writing, the end does not come.
                if record.offset() >= until {
                    return Ok(found);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            None => {}
            Some(Err(error)) => {
                let code = failure::code(&error);
                let fatal = failure::of(code, "").next == Next::Blocked;
                if fatal {
                    return Err(code);
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(Code::OperationTimedOut);
        }
    }
}

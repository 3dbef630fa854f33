//! What stands in a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use relay_tests::servers::kafka::KafkaServer;

/// A record, as a consumer sees it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) time: i64,
}

impl Record {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Its place in the journal.
    pub(super) fn sequence(&self) -> u64 {
        self.header("ce_sequence").parse().unwrap()
    }
}

/// Everything that is committed in a topic's first partition.
pub(super) async fn all(server: &KafkaServer, topic: &str) -> Vec<Record> {
    all_by(server.client(), topic).await
}

/// The same, by a client's settings.
pub(super) async fn all_by(mut config: ClientConfig, topic: &str) -> Vec<Record> {
    let topic = topic.to_owned();
    config
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    let reading = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        loop {
            match consumer.poll(Duration::from_secs(10)) {
                Some(Ok(message)) => {
                    let headers = message.headers().into_iter().flat_map(Headers::iter);
                    let text = |bytes: Option<&[u8]>| {
                        String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
                    };
                    records.push(Record {
                        key: text(message.key()),
                        value: message.payload().unwrap_or_default().to_vec(),
                        headers: headers
                            .map(|header| (header.key.to_owned(), text(header.value)))
                            .collect(),
                        time: message.timestamp().to_millis().unwrap_or(0),
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return records,
                Some(Err(error)) => eprintln!("reading {topic}: {error}"),
                None => eprintln!("reading {topic}: nothing yet"),
            }
        }
    };
    tokio::task::spawn_blocking(reading).await.unwrap()
}

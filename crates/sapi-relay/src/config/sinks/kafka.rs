//! Owns the keys of a sink of type `kafka`.

use crate::config::section::Section;

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "brokers",
    "topic",
    "key",
    "exactly_once",
    "transactional_id",
    "cursor_topic",
    "compression",
    "tls",
    "sasl",
    "librdkafka",
];

/// A sink of type `kafka`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kafka {}

pub(super) fn read(section: &Section<'_>) -> Option<Kafka> {
    section.knows(KEYS);
    Some(Kafka {})
}

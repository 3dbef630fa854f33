//! Owns the keys of a sink of type `rabbitmq`.

use crate::config::section::Section;

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "url",
    "url_file",
    "exchange",
    "declare",
    "routing_key",
    "unroutable",
    "tls",
];

/// A sink of type `rabbitmq`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rabbitmq {}

pub(super) fn read(section: &Section<'_>) -> Option<Rabbitmq> {
    section.knows(KEYS);
    Some(Rabbitmq {})
}

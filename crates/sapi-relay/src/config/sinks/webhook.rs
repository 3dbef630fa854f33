//! Owns the keys of a sink of type `webhook`.

use crate::config::section::Section;

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "url",
    "secret",
    "secret_file",
    "headers",
    "timeout",
    "mode",
    "concurrency",
    "tls",
];

/// A sink of type `webhook`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {}

pub(super) fn read(section: &Section<'_>) -> Option<Webhook> {
    section.knows(KEYS);
    Some(Webhook {})
}

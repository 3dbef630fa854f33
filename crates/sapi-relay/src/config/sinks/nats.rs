//! Owns the keys of a sink of type `nats`.

use crate::config::section::Section;

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "servers",
    "subject",
    "jetstream",
    "stream",
    "create_stream",
    "user",
    "password",
    "password_file",
    "token",
    "token_file",
    "creds_file",
    "nkey",
    "nkey_file",
    "tls",
];

/// A sink of type `nats`, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nats {}

pub(super) fn read(section: &Section<'_>) -> Option<Nats> {
    section.knows(KEYS);
    Some(Nats {})
}

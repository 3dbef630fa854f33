//! Bytes that are no document, and why; knows not how they were found.

use bytes::Bytes;

/// Bytes that are no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{size} bytes are no document: {}", .reason.as_str())]
pub struct Malformed {
    /// Why.
    pub reason: MalformedReason,
    /// The bytes, at most `max_document` of them from the first on. They may be a slice of the message they came
    /// in and keep it in memory: who keeps them copies them.
    pub bytes: Bytes,
    /// How many there were.
    pub size: u64,
    /// Whether `bytes` holds fewer than there were.
    pub truncated: bool,
}

impl Malformed {
    /// All the bytes there were.
    pub(crate) fn new(reason: MalformedReason, bytes: Bytes) -> Self {
        Self {
            reason,
            size: bytes.len() as u64,
            bytes,
            truncated: false,
        }
    }

    /// The first of the bytes there were.
    pub(crate) fn of_size(reason: MalformedReason, kept: Bytes, size: u64) -> Self {
        Self {
            reason,
            truncated: size > kept.len() as u64,
            bytes: kept,
            size,
        }
    }
}

/// Why bytes are no document; a closed list, fit for a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MalformedReason {
    /// Not JSON by RFC 8259, or nested deeper than 128 levels.
    InvalidJson,
    /// Not well-formed XML, or nested deeper than 128 levels.
    InvalidXml,
    /// A document that is not UTF-8.
    InvalidUtf8,
    /// Larger than `max_document`.
    TooLarge,
    /// The beginning of a document whose rest did not come.
    Truncated,
    /// Begins like no document.
    NotADocument,
}

impl MalformedReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InvalidJson,
        Self::InvalidXml,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::Truncated,
        Self::NotADocument,
    ];

    /// Its name, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidXml => "invalid_xml",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::NotADocument => "not_a_document",
        }
    }

    /// The reason for a document that breaks its grammar.
    pub(super) fn of_grammar(first: Option<&u8>) -> Self {
        if first == Some(&b'<') {
            Self::InvalidXml
        } else {
            Self::InvalidJson
        }
    }
}

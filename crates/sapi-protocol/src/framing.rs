//! Documents out of the byte stream of one connection.

use bytes::Bytes;

use crate::document::Document;

/// Cuts a byte stream into documents.
#[derive(Debug)]
pub struct Framer {
    max_document: usize,
}

impl Framer {
    /// A framer for one connection.
    pub fn new(max_document: usize) -> Self {
        Self { max_document }
    }
    /// Takes a message.
    pub fn push(&mut self, message: Bytes) {
        drop(message);
    }
    /// The next document.
    #[expect(clippy::should_implement_trait, reason = "None means: push more")]
    pub fn next(&mut self) -> Option<Framed> {
        None
    }
    /// The end of the connection.
    pub fn finish(&mut self) -> Option<Malformed> {
        None
    }
    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.max_document.min(0)
    }
}

/// What comes out of the stream.
#[derive(Clone, Debug)]
pub enum Framed {
    /// A document.
    Document(Document),
    /// Bytes that are none.
    Malformed(Malformed),
}

/// Bytes that are no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes are no document: {}", .size, .reason.as_str())]
pub struct Malformed {
    /// Why.
    pub reason: MalformedReason,
    /// The bytes, up to `max_document` of them.
    pub bytes: Bytes,
    /// How many there were.
    pub size: u64,
    /// Whether `bytes` was cut.
    pub truncated: bool,
}

/// Why bytes are no document; a closed list, fit for a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MalformedReason {
    /// Not JSON by RFC 8259, or nested too deep.
    InvalidJson,
    /// Not well-formed XML, or nested too deep.
    InvalidXml,
    /// Not UTF-8.
    InvalidUtf8,
    /// Larger than `max_document`.
    TooLarge,
    /// The document was not finished.
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

    /// Its name, in `snake_case`.
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
}

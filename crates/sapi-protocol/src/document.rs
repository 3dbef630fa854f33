//! A document: its bytes, and the few things the relay asks of them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::framing::Malformed;
use crate::output::Format;

/// One document.
#[derive(Clone, Debug)]
pub struct Document {
    bytes: Bytes,
}

impl Document {
    /// Parses a whole document.
    pub fn parse(bytes: Bytes) -> Result<Document, Malformed> {
        Ok(Self { bytes })
    }
    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// Its bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
    /// Its format.
    pub fn format(&self) -> Format {
        Format::Json
    }
    /// Its class.
    pub fn class(&self) -> Cow<'_, str> {
        Cow::Borrowed("_")
    }
    /// Its type.
    pub fn event_type(&self) -> Cow<'_, str> {
        self.class()
    }
    /// Its key.
    pub fn key(&self) -> Cow<'_, str> {
        self.class()
    }
    /// Its media.
    pub fn media(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
    /// Its msgInfo.
    pub fn msg_info(&self) -> MsgInfo<'_> {
        MsgInfo {
            instance: None,
            sequence: None,
            timestamp: None,
        }
    }
    /// Whether it is a heartbeat.
    pub fn is_heartbeat(&self) -> bool {
        self.class() == "ClientCheck"
    }
    /// The hash of its content.
    pub fn content_hash(&self) -> u128 {
        0
    }
}

/// msgInfo of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsgInfo<'a> {
    /// instanceId, if it is there and not empty.
    pub instance: Option<Cow<'a, str>>,
    /// sequenceId.
    pub sequence: Option<u64>,
    /// timestamp in ms.
    pub timestamp: Option<u64>,
}

impl MsgInfo<'_> {
    /// All three, if all three are there.
    pub fn complete(&self) -> Option<(&str, u64, u64)> {
        Some((self.instance.as_deref()?, self.sequence?, self.timestamp?))
    }
}

/// The id of an event.
pub fn event_id(tenant: &str, info: &MsgInfo<'_>) -> Option<String> {
    let (instance, sequence, timestamp) = info.complete()?;
    Some(format!("{tenant}:{instance}:{sequence}:{timestamp}"))
}

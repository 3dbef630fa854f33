//! Owns the documents that were made, in order, and to whom each was written: the ledger. It does
//! not know who should get a document next.

use std::{collections::VecDeque, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::content::{Stamp, Stamped};

/// What a ledger entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event.
    Event,
    /// A `ClientCheck`.
    Heartbeat,
    /// Something that is no document, on purpose.
    Malformed,
}

/// A document handed to the kernel for a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The subscription.
    #[serde(rename = "subsId")]
    pub subs_id: Arc<str>,
    /// When, ms since 1970.
    pub at: u64,
    /// It went into a dead connection (fault half-open-loss or idle-drop): nobody can have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// One document that was made, as `GET /sim/ledger` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its place in the ledger; the first is 1.
    pub n: u64,
    /// The event it says; the same in several entries if the server numbers it several times.
    /// 0 for heartbeats.
    pub event: u64,
    /// When it was made, ms since 1970.
    pub at: u64,
    /// msgInfo.instanceId: none if it has no msgInfo.
    pub instance: Option<Arc<str>>,
    /// msgInfo.sequenceId.
    pub sequence: Option<u64>,
    /// msgInfo.timestamp.
    pub timestamp: Option<u64>,
    /// The top-level key.
    pub class: String,
    /// What it is.
    pub kind: Kind,
    /// The JSON document. (XML subscriptions get it converted by `sapi_protocol::xml`.)
    #[serde(
        rename = "bytes_base64",
        serialize_with = "encode",
        deserialize_with = "decode"
    )]
    pub bytes: Bytes,
    /// To whom and when it was written.
    pub written: Vec<Written>,
}

fn encode<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(D::Error::custom)
}

/// Whom a document is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// Every subscription.
    All,
    /// One.
    One(Arc<str>),
    /// Whoever it was made for has it already: a restamped copy.
    Nobody,
}

/// A document in the log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) event: u64,
    pub(super) at: u64,
    pub(super) stamp: Option<Stamp>,
    pub(super) class: String,
    pub(super) kind: Kind,
    pub(super) document: Stamped,
    pub(super) to: To,
    /// Not UTF-8, yet to be written as a text message.
    pub(super) as_text: bool,
    pub(super) written: Vec<Written>,
}

impl Record {
    /// Whether a subscription gets it.
    pub(super) fn is_for(&self, subs: &str) -> bool {
        match &self.to {
            To::All => true,
            To::One(id) => id.as_ref() == subs,
            To::Nobody => false,
        }
    }
}

/// The last so many documents; each keeps its number for good.
#[derive(Debug)]
pub(super) struct Log {
    records: VecDeque<Record>,
    first: u64,
    limit: usize,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            records: VecDeque::new(),
            first: 1,
            limit: limit.max(1),
        }
    }

    /// The number the next document gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The oldest document that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn push(&mut self, record: Record) -> u64 {
        if self.records.len() == self.limit {
            self.records.pop_front();
            self.first += 1;
        }
        self.records.push_back(record);
        self.next() - 1
    }

    pub(super) fn get(&self, n: u64) -> Option<&Record> {
        self.records
            .get(usize::try_from(n.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn get_mut(&mut self, n: u64) -> Option<&mut Record> {
        self.records
            .get_mut(usize::try_from(n.checked_sub(self.first)?).ok()?)
    }

    /// The entry of a number, as the ledger shows it.
    pub(super) fn entry(&self, n: u64) -> Option<LedgerEntry> {
        let record = self.get(n)?;
        let stamp = record.stamp.as_ref();
        Some(LedgerEntry {
            n,
            event: record.event,
            at: record.at,
            instance: stamp.map(|stamp| Arc::clone(&stamp.instance)),
            sequence: stamp.map(|stamp| stamp.sequence),
            timestamp: stamp.map(|stamp| stamp.timestamp),
            class: record.class.clone(),
            kind: record.kind,
            bytes: record.document.bytes.clone(),
            written: record.written.clone(),
        })
    }
}

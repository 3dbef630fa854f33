//! The event: a journal record read as what it is, without copying the vendor's bytes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use relay_journal::{Offset, Record};
use sapi_protocol::Format;

/// What a record of the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An event from upstream.
    Event = 1,
    /// A notice of the relay itself.
    Notice = 2,
    /// A suppressed sighting of an event (`across_subscriptions = "content"`): never delivered.
    Sighting = 3,
}

impl Kind {
    /// The kind of a record, `None` for one of a later version.
    pub fn of(record: &Record) -> Option<Self> {
        match record.kind() {
            1 => Some(Self::Event),
            2 => Some(Self::Notice),
            3 => Some(Self::Sighting),
            _ => None,
        }
    }
}

/// What stands beside an event's bytes in its record: all that consumers and dedup need, so that
/// no document is ever parsed twice.
///
/// Layout, little endian: version `u8` = 1, format `u8`, flags `u8` (1 sequence, 2 timestamp),
/// reserved `u8`, id hash `u64`, content hash `u128`, sequence `u64`, timestamp `u64`, seven `u16`
/// lengths, then the seven texts in the order of [`Head`]'s fields. A text is cut at 65,535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The format of the event's bytes.
    pub format: Format,
    /// The hash of the id before any suffix; 0 where the id is not complete.
    pub id_hash: u64,
    /// The structural hash of the document without msgInfo.
    pub content_hash: u128,
    /// msgInfo.sequenceId.
    pub sequence: Option<u64>,
    /// msgInfo.timestamp, Unix milliseconds.
    pub timestamp: Option<u64>,
    /// The event's id (PRODUCT section 4); a notice's is `notice:{cursor}`.
    pub id: &'a str,
    /// The subscription that brought it; empty for a notice without one.
    pub subscription: &'a str,
    /// The document's class; `notice` for a notice.
    pub class: &'a str,
    /// The event's type; the kind of a notice.
    pub event_type: &'a str,
    /// The event's key.
    pub key: &'a str,
    /// The media part of the GUID, else mediaType, else empty.
    pub media: &'a str,
    /// msgInfo.instanceId, empty where absent.
    pub instance: &'a str,
}

const FIXED: usize = 4 + 8 + 16 + 8 + 8;
const TEXTS: usize = 7;
const PREFIX: usize = FIXED + 2 * TEXTS;

impl<'a> Head<'a> {
    fn texts(&self) -> [&'a str; TEXTS] {
        let Self {
            id,
            subscription,
            class,
            event_type,
            key,
            media,
            instance,
            ..
        } = *self;
        [id, subscription, class, event_type, key, media, instance]
    }

    /// Appends the encoded head to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.sequence.is_some()) | u8::from(self.timestamp.is_some()) << 1;
        let format = match self.format {
            Format::Json => 0,
            Format::Xml => 1,
        };
        out.extend_from_slice(&[1, format, flags, 0]);
        out.extend_from_slice(&self.id_hash.to_le_bytes());
        out.extend_from_slice(&self.content_hash.to_le_bytes());
        out.extend_from_slice(&self.sequence.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.timestamp.unwrap_or(0).to_le_bytes());
        let texts = self.texts().map(cut);
        for (_, length) in texts {
            out.extend_from_slice(&length.to_le_bytes());
        }
        for (text, _) in texts {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Reads an encoded head. `None`: not one of this version.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (prefix, rest) = bytes.split_at_checked(PREFIX)?;
        let [1, format, flags, _, fields @ ..] = prefix else {
            return None;
        };
        let format = match format {
            0 => Format::Json,
            1 => Format::Xml,
            _ => return None,
        };
        let (id_hash, fields) = fields.split_first_chunk()?;
        let (content_hash, fields) = fields.split_first_chunk()?;
        let (sequence, fields) = fields.split_first_chunk()?;
        let (timestamp, lengths) = fields.split_first_chunk()?;
        // One check of all the text, then cuts at character borders: cheaper than a check each.
        let mut rest = str::from_utf8(rest).ok()?;
        let mut texts = [""; TEXTS];
        for (text, length) in texts.iter_mut().zip(lengths.as_chunks().0) {
            (*text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        }
        let [id, subscription, class, event_type, key, media, instance] = texts;
        Some(Self {
            format,
            id_hash: u64::from_le_bytes(*id_hash),
            content_hash: u128::from_le_bytes(*content_hash),
            sequence: (flags & 1 != 0).then_some(u64::from_le_bytes(*sequence)),
            timestamp: (flags & 2 != 0).then_some(u64::from_le_bytes(*timestamp)),
            id,
            subscription,
            class,
            event_type,
            key,
            media,
            instance,
        })
    }
}

/// At most 65,535 bytes of a text, cut at a character's border.
fn cut(text: &str) -> (&str, u16) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    let text = text.get(..end).unwrap_or_default();
    (text, u16::try_from(text.len()).unwrap_or(0))
}

/// The bytes that the bus keeps alive, in its tail and in batches that readers still hold.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicUsize);

impl Meter {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A form in which many consumers want the same event: encoded once, shared by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Whatever the websocket sink sends for `format=cloudevents`.
    Structured = 0,
    /// Whatever the websocket sink sends for `format=raw`.
    Raw = 1,
}

/// A committed event, or a notice.
#[derive(Debug)]
pub struct Event {
    record: Record,
    kind: Kind,
    encoded: [OnceLock<Bytes>; 2],
    meter: Arc<Meter>,
}

impl Event {
    /// Reads a record; `None` for kinds that are never delivered and heads of a later version.
    pub(crate) fn read(record: Record, meter: &Arc<Meter>) -> Option<Self> {
        let kind = Kind::of(&record).filter(|kind| *kind != Kind::Sighting)?;
        Head::decode(record.head())?;
        let meter = Arc::clone(meter);
        Some(Self {
            record,
            kind,
            encoded: [OnceLock::new(), OnceLock::new()],
            meter,
        })
    }

    /// The record below.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Its place in the journal.
    pub fn offset(&self) -> Offset {
        self.record.offset()
    }

    /// Event or notice.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When it arrived, in Unix milliseconds: journal time, never running backwards.
    pub fn received_at_ms(&self) -> u64 {
        self.record.time_ms()
    }

    /// What stands beside its bytes. Decoded at each call (some 20 ns): keep it while you need it.
    pub fn head(&self) -> Head<'_> {
        Head::decode(self.record.head()).unwrap_or(Head {
            format: Format::Json,
            id_hash: 0,
            content_hash: 0,
            sequence: None,
            timestamp: None,
            id: "",
            subscription: "",
            class: "",
            event_type: "",
            key: "",
            media: "",
            instance: "",
        })
    }

    /// The vendor's bytes, verbatim; a notice's JSON.
    ///
    /// They share one buffer with the whole commit group: copy what must outlive the batch.
    pub fn bytes(&self) -> &Bytes {
        self.record.payload()
    }

    /// What it takes in memory while its batch is held, encodings excepted.
    pub fn size(&self) -> usize {
        self.record.encoded_len() + size_of::<Self>()
    }

    /// The event in an encoding: made by `encode` the first time, shared from then on.
    pub fn encoded(&self, encoding: Encoding, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        let slot = match encoding {
            Encoding::Structured => &self.encoded[0],
            Encoding::Raw => &self.encoded[1],
        };
        slot.get_or_init(|| {
            let bytes = encode(self);
            self.meter.add(bytes.len());
            bytes
        })
    }

    fn encoded_bytes(&self) -> usize {
        self.encoded
            .iter()
            .filter_map(OnceLock::get)
            .map(Bytes::len)
            .sum()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.meter.sub(self.encoded_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_survives_its_encoding(
            texts in proptest::array::uniform7(".{0,40}"), id_hash: u64, content_hash: u128,
            sequence: Option<u64>, timestamp: Option<u64>, xml: bool,
        ) {
            let [id, subscription, class, event_type, key, media, instance] = &texts;
            let head = Head {
                format: if xml { Format::Xml } else { Format::Json },
                id_hash, content_hash, sequence, timestamp,
                id, subscription, class, event_type, key, media, instance,
            };
            let mut bytes = Vec::new();
            head.encode(&mut bytes);
            prop_assert_eq!(Head::decode(&bytes), Some(head));
            for end in 0..bytes.len() {
                prop_assert_eq!(Head::decode(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn a_text_beyond_its_length_field_is_cut_at_a_character() {
        let (key, empty) = ("ä".repeat(40_000), empty());
        let head = Head {
            key: &key,
            ..Head::decode(&empty).unwrap()
        };
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        assert_eq!(Head::decode(&bytes).unwrap().key.len(), 65_534);
    }

    fn empty() -> Vec<u8> {
        let mut bytes = vec![0; PREFIX];
        bytes[0] = 1;
        bytes
    }
}

//! A document: its bytes, and the few things the relay asks of them; knows no stream and no relay.

mod content_hash;
mod fields;
mod json_pass;
mod msg_info;
mod xml_pass;

use std::borrow::Cow;

use bytes::Bytes;

use fields::{Fields, Span};
pub(crate) use fields::{MAX_DEPTH, Parsed, Stop};
pub use msg_info::{MsgInfo, event_id, write_event_id};
pub(crate) use xml_pass::misc;

use crate::framing::{Malformed, MalformedReason};
use crate::output::Format;
use crate::text::{is_blank, json_text, skip_blanks, xml_text};

/// The class of heartbeats.
const HEARTBEAT: &str = "ClientCheck";
/// The classes whose type is their inner `event`.
const WITH_EVENT: [&str; 2] = ["Interaction", "AgentProvChange"];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a document is about, as it is known beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels<'a> {
    /// See [`Document::class`].
    pub class: Cow<'a, str>,
    /// See [`Document::event_type`].
    pub event_type: Cow<'a, str>,
    /// See [`Document::key`].
    pub key: Cow<'a, str>,
    /// See [`Document::media`].
    pub media: Cow<'a, str>,
}

impl Labels<'_> {
    /// See [`Document::is_heartbeat`].
    pub fn is_heartbeat(&self) -> bool {
        self.class == HEARTBEAT
    }
}

/// One document: well-formed, valid UTF-8, at most 128 levels deep.
///
/// Its bytes are those from the first to the last byte of the root value, a slice of the message it
/// came in: who keeps a document keeps that message in memory, and copies the bytes if that is too much.
#[derive(Clone, Debug)]
pub struct Document {
    bytes: Bytes,
    format: Format,
    fields: Fields,
    hash: u128,
}

/// Reads the document at the beginning of `input`, which begins with `{`, `[` or `<`.
pub(crate) fn read(input: &[u8]) -> Result<Parsed, Stop> {
    if input.first() == Some(&b'<') {
        xml_pass::parse(input)
    } else {
        json_pass::parse(input)
    }
}

impl Document {
    /// Reads bytes that are one document as a whole: blanks, a byte-order mark, an XML declaration and
    /// comments around it are left out.
    pub fn parse(bytes: Bytes) -> Result<Document, Malformed> {
        Self::parse_whole(&bytes).map_err(|reason| Malformed::new(reason, bytes))
    }

    fn parse_whole(bytes: &Bytes) -> Result<Document, MalformedReason> {
        let start = skip_around(bytes, 0)?;
        let rest = bytes.get(start..).unwrap_or_default();
        let invalid = match rest.first() {
            Some(b'{' | b'[') => MalformedReason::InvalidJson,
            Some(b'<') => MalformedReason::InvalidXml,
            _ => return Err(MalformedReason::NotADocument),
        };
        if u32::try_from(rest.len()).is_err() {
            return Err(MalformedReason::TooLarge);
        }
        let parsed = read(rest).map_err(|stop| match stop {
            Stop::Incomplete => MalformedReason::Truncated,
            Stop::Invalid(_) => invalid,
        })?;
        let end = start + parsed.end;
        if skip_around(bytes, end)? != bytes.len() {
            return Err(invalid);
        }
        Self::of(bytes.slice(start..end), &parsed).ok_or(MalformedReason::InvalidUtf8)
    }

    /// The document that a pass over exactly these bytes found; `None` if they are not UTF-8.
    pub(crate) fn of(bytes: Bytes, parsed: &Parsed) -> Option<Self> {
        simdutf8::basic::from_utf8(&bytes).ok()?;
        let format = if bytes.first() == Some(&b'<') {
            Format::Xml
        } else {
            Format::Json
        };
        Some(Self {
            bytes,
            format,
            fields: parsed.fields,
            hash: parsed.hash,
        })
    }

    /// From the first to the last byte of the root value.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// From the first to the last byte of the root value.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What it is written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The first top-level key, or the name of the root element; `_` if there is none. Never empty.
    pub fn class(&self) -> Cow<'_, str> {
        self.text(self.fields.class).unwrap_or(Cow::Borrowed("_"))
    }

    /// The inner `event` of an `Interaction` or `AgentProvChange` if it is there, else the class.
    pub fn event_type(&self) -> Cow<'_, str> {
        let class = self.class();
        if !WITH_EVENT.contains(&&*class) {
            return class;
        }
        self.text(self.fields.event).unwrap_or(class)
    }

    /// interactionGUID, else agentId, else the type. Numbers stand as they are written.
    pub fn key(&self) -> Cow<'_, str> {
        self.text(self.fields.interaction_guid)
            .or_else(|| self.text(self.fields.agent_id))
            .unwrap_or_else(|| self.event_type())
    }

    /// The media part of the interactionGUID, else mediaType, else nothing.
    pub fn media(&self) -> Cow<'_, str> {
        self.media_beside(self.text(self.fields.interaction_guid).as_ref())
    }

    fn media_beside<'a>(&'a self, guid: Option<&Cow<'a, str>>) -> Cow<'a, str> {
        let from_guid = match guid {
            Some(Cow::Borrowed(guid)) => media_of_guid(guid).map(Cow::Borrowed),
            Some(Cow::Owned(guid)) => media_of_guid(guid).map(|media| Cow::Owned(media.to_owned())),
            None => None,
        };
        from_guid
            .or_else(|| self.text(self.fields.media_type))
            .unwrap_or_default()
    }

    /// Class, type, key and media at once: each field is looked at once.
    pub fn labels(&self) -> Labels<'_> {
        let class = self.class();
        let event_type = if WITH_EVENT.contains(&&*class) {
            self.text(self.fields.event)
        } else {
            None
        };
        let event_type = event_type.unwrap_or_else(|| class.clone());
        let guid = self.text(self.fields.interaction_guid);
        let media = self.media_beside(guid.as_ref());
        let key = guid
            .or_else(|| self.text(self.fields.agent_id))
            .unwrap_or_else(|| event_type.clone());
        Labels {
            class,
            event_type,
            key,
            media,
        }
    }

    /// What msgInfo says.
    pub fn msg_info(&self) -> MsgInfo<'_> {
        MsgInfo {
            instance: self.text(self.fields.instance),
            sequence: self.number(self.fields.sequence),
            timestamp: self.number(self.fields.timestamp),
        }
    }

    /// Whether it is a heartbeat: its class is `ClientCheck`.
    pub fn is_heartbeat(&self) -> bool {
        let raw = self.fields.class.of(&self.bytes);
        raw == Some(HEARTBEAT.as_bytes()) || self.class() == HEARTBEAT
    }

    /// The hash of what the document says without its msgInfo.
    ///
    /// Equal for JSON documents that differ in the order of members, in blanks and in how strings are
    /// escaped; different (128 bits) for any others: arrays keep their order, numbers are compared as they
    /// are written (1 is not 1.0), repeated keys count each. In XML, blanks between elements, comments,
    /// the order of attributes and the way of escaping do not matter, the order of elements does. JSON and
    /// XML are apart. The hash is the same in every version: it lies on disk.
    pub fn content_hash(&self) -> u128 {
        self.hash
    }

    /// The number that a field is; most are digits as they stand.
    fn number(&self, span: Span) -> Option<u64> {
        let raw = span.of(&self.bytes)?;
        match digits(raw) {
            Some(number) => Some(number),
            None => plain_decimal(&self.text(span)?),
        }
    }

    /// The text of a field that is there and not empty.
    fn text(&self, span: Span) -> Option<Cow<'_, str>> {
        let raw = span.of(&self.bytes)?;
        let text = match self.format {
            Format::Json => json_text(raw),
            Format::Xml => xml_text(raw),
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The first position from `from` on that is no blank, byte-order mark, comment or instruction.
fn skip_around(bytes: &[u8], from: usize) -> Result<usize, MalformedReason> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match rest.first() {
            Some(&byte) if is_blank(byte) => skip_blanks(rest, 0),
            _ if rest.starts_with(BOM) => BOM.len(),
            Some(b'<') => match misc(bytes, at) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(at),
                Err(_) => return Err(MalformedReason::Truncated),
            },
            _ => return Ok(at),
        };
    }
}

/// `int-{hex ms}-{id}-{media}-{NN}-{tenant}`; id and tenant may have hyphens of their own.
fn media_of_guid(guid: &str) -> Option<&str> {
    let rest = guid.strip_prefix("int-")?;
    let (time, rest) = rest.split_once('-')?;
    let (id, rest) = rest.split_once('-')?;
    if time.is_empty() || id.is_empty() || !time.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut rest = rest;
    loop {
        let (media, after) = rest.split_once('-')?;
        let (number, _tenant) = after.split_once('-')?;
        let counted = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        if counted && !media.is_empty() && media.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Some(media);
        }
        rest = after;
    }
}

/// A number of up to 19 digits that does not begin with 0, where nothing else stands.
fn digits(raw: &[u8]) -> Option<u64> {
    if raw.len() > 19 || matches!(raw.first(), None | Some(b'0')) {
        return None;
    }
    raw.iter().try_fold(0, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// An unsigned number without sign, blanks or leading zeros: one text for one number.
fn plain_decimal(text: &str) -> Option<u64> {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if leading_zero || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;

//! Events as CloudEvents 1.0 (PRODUCT section 4): attributes, the structured JSON form, header values
//! for the binary form. It writes bytes; it knows neither sockets nor brokers.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use relay_journal::{Epoch, Offset};
use sapi_protocol::Format;

use crate::cursor::Cursor;
use crate::event::{Event, Head, Kind};
use crate::notice::timestamp;

mod headers;
mod structured;
#[cfg(test)]
mod tests;
mod text;

pub use headers::Binding;
pub use structured::{ndjson, sse, sse_heartbeat, structured};

/// The content type of the structured form.
pub const STRUCTURED_TYPE: &str = "application/cloudevents+json; charset=UTF-8";
/// The content type of a JSON array of structured events.
pub const BATCH_TYPE: &str = "application/cloudevents-batch+json; charset=UTF-8";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Whose events they are: the same for every event of a relay.
#[derive(Clone, Debug)]
pub struct Source {
    epoch: Epoch,
    uri: String,
}

impl Source {
    /// The source of a tenant's events, in a journal.
    pub fn new(tenant: &str, epoch: Epoch) -> Self {
        let tenant = utf8_percent_encode(tenant, text::NOT_UNRESERVED);
        Self {
            epoch,
            uri: format!("urn:8x8:cc:{tenant}"),
        }
    }

    /// The `source` attribute.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The cursor of an event.
    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor {
            epoch: self.epoch,
            offset,
        }
    }
}

/// The attributes of one event. Values are free of what CloudEvents forbids in text (control
/// characters): in an id such a character is percent-encoded, elsewhere it becomes U+FFFD.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    head: Head<'a>,
    kind: Kind,
    offset: Offset,
    received_at_ms: u64,
    source: &'a Source,
}

impl<'a> Attributes<'a> {
    /// The attributes of an event or a notice.
    pub fn of(event: &'a Event, source: &'a Source) -> Self {
        Self {
            head: event.head(),
            kind: event.kind(),
            offset: event.offset(),
            received_at_ms: event.received_at_ms(),
            source,
        }
    }

    /// What stands beside the event's bytes.
    pub fn head(&self) -> &Head<'a> {
        &self.head
    }

    /// `id`.
    pub fn id(&self) -> Cow<'a, str> {
        text::id(self.head.id)
    }

    /// `source`.
    pub fn source(&self) -> &'a str {
        self.source.uri()
    }

    /// `type`: `com.8x8.cc.{class}` or `com.8x8.cc.{class}.{type}`; a notice's
    /// `io.sapi-relay.notice.{kind}`.
    pub fn event_type(&self) -> String {
        let (prefix, name, more) = self.type_parts();
        let dot = if more.is_some() { "." } else { "" };
        format!(
            "{prefix}{}{dot}{}",
            text::confined(name),
            text::confined(more.unwrap_or_default())
        )
    }

    fn type_parts(&self) -> (&'static str, &'a str, Option<&'a str>) {
        let Head {
            class, event_type, ..
        } = self.head;
        match self.kind {
            Kind::Notice => ("io.sapi-relay.notice.", event_type, None),
            Kind::Event | Kind::Sighting if class == event_type => ("com.8x8.cc.", class, None),
            Kind::Event | Kind::Sighting => ("com.8x8.cc.", class, Some(event_type)),
        }
    }

    /// `subject` and `partitionkey`: the event's key. Absent where it is empty (CloudEvents forbids
    /// empty ones).
    pub fn key(&self) -> Option<Cow<'a, str>> {
        (!self.head.key.is_empty()).then(|| text::confined(self.head.key))
    }

    /// `time`: msgInfo.timestamp where it is sane, else arrival.
    pub fn time(&self) -> Timestamp {
        timestamp(self.time_ms())
    }

    /// [`Attributes::time`] in Unix milliseconds. Sane is from 7 days before arrival to 1 day after.
    pub fn time_ms(&self) -> u64 {
        let arrival = self.received_at_ms;
        let sane = arrival.saturating_sub(7 * DAY_MS)..=arrival.saturating_add(DAY_MS);
        self.head
            .timestamp
            .filter(|time| sane.contains(time))
            .unwrap_or(arrival)
    }

    /// `datacontenttype`, and the content type of the binary form.
    pub fn content_type(&self) -> &'static str {
        match self.head.format {
            Format::Json => "application/json",
            Format::Xml => "application/xml",
        }
    }

    /// `sequence`: the offset, padded with zeros to 20 digits.
    pub fn sequence(&self) -> String {
        format!("{:020}", self.offset.0)
    }

    /// `sapisequence`: msgInfo.sequenceId, as text, since CloudEvents integers have 32 bits.
    pub fn sapi_sequence(&self) -> Option<u64> {
        self.head.sequence
    }

    /// `sapiinstance`: msgInfo.instanceId.
    pub fn sapi_instance(&self) -> Option<Cow<'a, str>> {
        (!self.head.instance.is_empty()).then(|| text::confined(self.head.instance))
    }

    /// `relaycursor`.
    pub fn cursor(&self) -> Cursor {
        self.source.cursor(self.offset)
    }
}

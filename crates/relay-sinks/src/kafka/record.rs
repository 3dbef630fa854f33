//! An event as a Kafka record: topic, key, headers, value and time, as CloudEvents' Kafka binding says.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};
use relay_core::Event;
use relay_core::cloudevents::{Attributes, Binding, STRUCTURED_TYPE, Source, structured};

use super::Config;
use crate::Format;
use crate::template::Template;

/// Turns events into records.
#[derive(Debug)]
pub(super) struct Composer {
    tenant: String,
    topic: Template,
    key: Template,
    format: Format,
    source: Source,
}

/// A record, not yet handed over.
#[derive(Debug)]
pub(super) struct Composed<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) key: Cow<'a, str>,
    pub(super) headers: OwnedHeaders,
    pub(super) value: Cow<'a, [u8]>,
    /// The event's time, in milliseconds since 1970.
    pub(super) time: i64,
}

impl Composer {
    pub(super) fn new(config: &Config, source: Source) -> Self {
        Self {
            tenant: config.tenant.clone(),
            topic: config.topic.clone(),
            key: config.key.clone(),
            format: config.format,
            source,
        }
    }

    /// Whose events they are.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The record of an event.
    pub(super) fn compose<'a>(&'a self, event: &'a Event) -> Composed<'a> {
        let attributes = Attributes::of(event, &self.source);
        let header = |headers: OwnedHeaders, key: &str, value: &str| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        };
        let mut headers = OwnedHeaders::new_with_capacity(12);
        let value = match self.format {
            Format::Structured => {
                headers = header(headers, "content-type", STRUCTURED_TYPE);
                let mut value = Vec::with_capacity(event.bytes().len() + 512);
                structured(event, &self.source, &mut value);
                Cow::Owned(value)
            }
            Format::Binary => {
                headers = header(headers, "content-type", attributes.content_type());
                for (name, text) in attributes.headers(Binding::Kafka) {
                    headers = header(headers, name, &text);
                }
                Cow::Borrowed(event.bytes().as_ref())
            }
        };
        Composed {
            topic: self.topic.render(&self.tenant, attributes.head()),
            key: self.key.render(&self.tenant, attributes.head()),
            headers,
            value,
            time: i64::try_from(attributes.time_ms()).unwrap_or(i64::MAX),
        }
    }
}

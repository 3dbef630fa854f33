//! An event as a Kafka record: topic, key, headers, value and time, as CloudEvents' Kafka binding says.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};
use relay_core::cloudevents::{Attributes, Binding, STRUCTURED_TYPE, Source, structured};
use relay_core::{Cursor, Event};

use super::Config;
use crate::Format;
use crate::template::Template;

/// The longest name of a topic, bytes.
const TOPIC: usize = 249;

/// Turns events into records.
#[derive(Debug)]
pub(super) struct Composer {
    tenant: String,
    topic: Template,
    /// Whether the topic depends on the event.
    varies: bool,
    cursor_topic: Option<String>,
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
            varies: config.topic.fixed(&config.tenant).is_none(),
            cursor_topic: config
                .exactly_once
                .as_ref()
                .map(|wanted| wanted.cursor_topic.clone()),
            key: config.key.clone(),
            format: config.format,
            source,
        }
    }

    /// Whose events they are.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether a cursor is of the same journal as they.
    pub(super) fn is_ours(&self, cursor: Cursor) -> bool {
        cursor.epoch == self.source.cursor(cursor.offset).epoch
    }

    /// Why no event may go to a topic that the values of one have made. A topic that is the same for all is
    /// judged by the brokers.
    pub(super) fn refuses(&self, topic: &str) -> Option<String> {
        if !self.varies {
            None
        } else if topic.len() > TOPIC {
            let length = topic.len();
            Some(format!(
                "its topic would have {length} characters, more than the {TOPIC} that Kafka takes"
            ))
        } else if topic.starts_with("__") {
            Some(format!(
                "its topic would be {topic}: such names are Kafka's own"
            ))
        } else if self.cursor_topic.as_deref() == Some(topic) {
            Some(format!(
                "its topic would be {topic}, which holds the cursors of sinks"
            ))
        } else {
            None
        }
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

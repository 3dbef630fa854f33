//! The message of an event: CloudEvents' AMQP binding on AMQP 0-9-1, whose headers are the application properties.
//! It knows no connection.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use relay_core::Event;
use relay_core::cloudevents::{Attributes, Binding, STRUCTURED_TYPE, Source, structured};
use sha2::{Digest as _, Sha256};

use super::Config;
use crate::Format;
use crate::template::Template;

/// The longest short string of AMQP: a routing key, a message's id.
const SHORT: usize = 255;

/// What a frame of headers holds beside them, generously.
const FRAME_OVERHEAD: usize = 1024;

/// Written to disk by the broker.
const PERSISTENT: u8 = 2;

/// Makes messages.
#[derive(Debug)]
pub(super) struct Composer {
    tenant: String,
    routing_key: Template,
    format: Format,
    source: Source,
}

/// What is published.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
    /// What a return is known by.
    pub(super) id: ShortString,
}

impl Composer {
    pub(super) fn new(config: &Config, source: Source) -> Self {
        Self {
            tenant: config.tenant.clone(),
            routing_key: config.routing_key.clone(),
            format: config.format,
            source,
        }
    }

    /// The message of an event for frames of such a size; or why there can't be one.
    pub(super) fn compose(&self, event: &Event, frame_max: usize) -> Result<Message, String> {
        let attributes = Attributes::of(event, &self.source);
        let key = self.routing_key.render(&self.tenant, attributes.head());
        let routing_key = ShortString::try_new(key.as_ref()).map_err(|_too_long| {
            format!(
                "its routing key has {} bytes, more than AMQP's {SHORT}",
                key.len()
            )
        })?;
        let id = message_id(&attributes.id());
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.clone())
            .with_timestamp(attributes.time_ms() / 1000)
            .with_app_id("sapi-relay".into());
        if let Ok(kind) = ShortString::try_new(attributes.event_type()) {
            properties = properties.with_type(kind);
        }
        let (properties, payload) = match self.format {
            Format::Structured => {
                let mut body = Vec::new();
                structured(event, &self.source, &mut body);
                let properties = properties.with_content_type(STRUCTURED_TYPE.into());
                (properties, body.into())
            }
            Format::Binary => {
                let properties = properties
                    .with_content_type(attributes.content_type().into())
                    .with_headers(headers(&attributes, frame_max)?);
                (properties, event.bytes().clone())
            }
        };
        Ok(Message {
            routing_key,
            properties,
            payload,
            id,
        })
    }
}

/// The attributes as headers. They have to fit one frame.
fn headers(attributes: &Attributes<'_>, frame_max: usize) -> Result<FieldTable, String> {
    let (mut table, mut bytes) = (FieldTable::default(), 0);
    for (name, value) in attributes.headers(Binding::Amqp) {
        bytes += name.len() + value.len() + 6;
        let value = LongString::from(value.into_owned());
        table.insert(name.into(), AMQPValue::LongString(value));
    }
    let most = frame_max.saturating_sub(FRAME_OVERHEAD);
    if bytes > most {
        return Err(format!(
            "its CloudEvents attributes have {bytes} bytes, more than the {most} that fit a frame of AMQP; \
             format = \"structured\" has no such bound"
        ));
    }
    Ok(table)
}

/// The event's id; one that is too long for AMQP is stood in for by its hash, always the same.
fn message_id(id: &str) -> ShortString {
    ShortString::try_new(id)
        .unwrap_or_else(|_too_long| format!("sha256:{:x}", Sha256::digest(id)).into())
}

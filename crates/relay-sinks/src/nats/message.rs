//! An event as a NATS message: subject, headers and payload, as CloudEvents' NATS binding says.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use bytes::Bytes;
use relay_core::Event;
use relay_core::cloudevents::{Attributes, Binding, STRUCTURED_TYPE, Source, structured};

use super::Config;
use super::subject::{LONGEST, Subject};
use crate::Format;

/// Turns events into messages.
#[derive(Debug)]
pub(super) struct Composer {
    tenant: String,
    subject: Subject,
    format: Format,
    source: Source,
    dedupes: bool,
}

/// A message, not yet published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Composed {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Composer {
    pub(super) fn new(config: &Config, source: Source) -> Self {
        Self {
            tenant: config.tenant.clone(),
            subject: config.subject.clone(),
            format: config.format,
            source,
            dedupes: config.jetstream.is_some(),
        }
    }

    /// The subject of an event.
    pub(super) fn subject(&self, event: &Event) -> String {
        self.subject.render(&self.tenant, &event.head())
    }

    /// The message of an event, for a stream of that name; or why there can't be one. `after`: under
    /// another id, so that it is stored behind that sequence although the stream has it already.
    pub(super) fn compose(
        &self,
        event: &Event,
        stream: Option<&str>,
        after: Option<u64>,
    ) -> Result<Composed, String> {
        let attributes = Attributes::of(event, &self.source);
        let subject = self.subject.render(&self.tenant, attributes.head());
        if subject.len() > LONGEST {
            return Err(format!(
                "its subject has {} bytes, more than the {LONGEST} that fit a line of NATS",
                subject.len()
            ));
        }
        let mut headers = HeaderMap::new();
        if self.dedupes {
            let id = attributes.id();
            let id = after.map_or(id.clone(), |after| format!("{id}/after-{after}").into());
            headers.insert(NATS_MESSAGE_ID, value(&id)?);
        }
        if let Some(stream) = stream {
            headers.insert(NATS_EXPECTED_STREAM, value(stream)?);
        }
        let payload = match self.format {
            Format::Structured => {
                headers.insert(CONTENT_TYPE, value(STRUCTURED_TYPE)?);
                let mut body = Vec::new();
                structured(event, &self.source, &mut body);
                body.into()
            }
            Format::Binary => {
                headers.insert(CONTENT_TYPE, value(attributes.content_type())?);
                for (name, text) in attributes.headers(Binding::Nats) {
                    headers.insert(HeaderName::from_static(name), value(&text)?);
                }
                event.bytes().clone()
            }
        };
        Ok(Composed {
            subject,
            headers,
            payload,
        })
    }
}

const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");

fn value(text: &str) -> Result<HeaderValue, String> {
    text.parse()
        .map_err(|error| format!("{text:?} is no value of a NATS header: {error}"))
}

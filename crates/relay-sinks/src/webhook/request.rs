//! What a request carries: its id, its headers, its body. It signs and sends nothing.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use relay_core::Event;
use relay_core::cloudevents::{
    Attributes, BATCH_TYPE, Binding, STRUCTURED_TYPE, Source, structured,
};
use relay_core::sink::Delivery;
use sha2::{Digest as _, Sha256};

use super::Mode;
use crate::Format;

/// Headers that are the relay's own, or the connection's. So is everything that begins with `ce-` or
/// `webhook-`.
pub const OWNED_HEADERS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether the configuration may not set a header.
pub fn is_owned_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    OWNED_HEADERS.contains(&name.as_str())
        || name.starts_with("ce-")
        || name.starts_with("webhook-")
}

/// Room for the headers of a request: the attributes, the relay's own, and some of the configuration.
const HEADERS: usize = 24;
/// Room for the attributes' values, of usual lengths.
const VALUES: usize = 512;

/// A request's content, before it is signed.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How events become requests.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) mode: Mode,
    pub(super) format: Format,
    pub(super) source: Source,
}

impl Form {
    /// The request that carries some of a delivery's events.
    pub(super) fn content(&self, delivery: &Delivery, events: Range<usize>) -> Content {
        let events = delivery.events().skip(events.start).take(events.len());
        match (self.mode, self.format) {
            (Mode::Batch, _) => self.batch(events),
            (Mode::Single, format) => self.single(events, format),
        }
    }

    fn single<'a>(&self, mut events: impl Iterator<Item = &'a Event>, format: Format) -> Content {
        let Some(event) = events.next() else {
            return self.batch(events);
        };
        let attributes = Attributes::of(event, &self.source);
        let id = webhook_id("evt_", std::iter::once(attributes.id().as_ref()));
        match format {
            Format::Binary => Content {
                id,
                headers: binary(&attributes),
                body: event.bytes().clone(),
            },
            Format::Structured => {
                let mut body = Vec::new();
                structured(event, &self.source, &mut body);
                Content {
                    id,
                    headers: typed(STRUCTURED_TYPE),
                    body: body.into(),
                }
            }
        }
    }

    fn batch<'a>(&self, events: impl Iterator<Item = &'a Event>) -> Content {
        let (mut body, mut ids) = (vec![b'['], Vec::new());
        for event in events {
            if body.len() > 1 {
                body.push(b',');
            }
            structured(event, &self.source, &mut body);
            ids.push(Attributes::of(event, &self.source).id().into_owned());
        }
        body.push(b']');
        Content {
            id: webhook_id("bat_", ids.iter().map(String::as_str)),
            headers: typed(BATCH_TYPE),
            body: body.into(),
        }
    }
}

fn typed(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

/// The attributes as headers. Their values are cuts of one buffer: the client copies a request's headers on
/// their way, and what has a buffer of its own costs an allocation each time.
fn binary(attributes: &Attributes<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    let content_type = HeaderValue::from_static(attributes.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    let (mut values, mut cuts) = (Vec::with_capacity(VALUES), Vec::with_capacity(HEADERS));
    for (name, value) in attributes.headers(Binding::Http) {
        let start = values.len();
        values.extend_from_slice(value.as_bytes());
        cuts.push((name, start..values.len()));
    }
    let values = Bytes::from(values);
    for (name, cut) in cuts {
        // Percent-encoded, a value always is printable ASCII.
        if let Ok(value) = HeaderValue::from_maybe_shared(values.slice(cut)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// A prefix and 32 hex digits of the SHA-256 of ids, with line feeds between them (no id holds one).
fn webhook_id<'a>(prefix: &str, ids: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for (index, id) in ids.enumerate() {
        if index > 0 {
            hash.update(b"\n");
        }
        hash.update(id);
    }
    let hash = hash.finalize();
    let half = hash.iter().take(16);
    let digits = half.flat_map(|byte| [byte >> 4, byte & 0xf]);
    let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
    let mut id = String::with_capacity(prefix.len() + 32);
    id.push_str(prefix);
    id.extend(digits);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_half_a_hash() {
        // `printf %s 'acme:i:1:2' | sha256sum`
        let id = webhook_id("evt_", ["acme:i:1:2"].into_iter());
        assert_eq!(id.len(), 36);
        assert_ne!(id, webhook_id("evt_", ["acme:i:1:3"].into_iter()));
        let empty = webhook_id("evt_", std::iter::once(""));
        assert_eq!(empty, "evt_e3b0c44298fc1c149afbf4c8996fb924");
        let one = webhook_id("bat_", ["a", "bc"].into_iter());
        assert_ne!(one, webhook_id("bat_", ["ab", "c"].into_iter()));
        assert_eq!(one, webhook_id("bat_", ["a\nbc"].into_iter()));
    }

    #[test]
    fn what_the_relay_owns_is_known_in_any_case() {
        for name in ["Content-Type", "CE-ID", "webhook-signature", "Host", "TE"] {
            assert!(is_owned_header(name), "{name}");
        }
        for name in ["authorization", "x-api-key", "user-agent", "cookie"] {
            assert!(!is_owned_header(name), "{name}");
        }
    }
}

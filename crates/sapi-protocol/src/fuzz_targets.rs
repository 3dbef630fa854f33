//! The bodies of the fuzz targets in `fuzz/`: what must hold for any bytes. A test runs their corpus on stable.

use bytes::Bytes;

use crate::document::Document;
use crate::framing::{Framed, Framer};
use crate::output::OutputType;
use crate::url::{Origin, PathStyle, SubscribeTarget, parse_subscribe_path};

/// The smallest bound of the framer under test: small enough for inputs to exceed.
const MAX_DOCUMENT: usize = 512;
/// A document that must come out whatever came before it.
const LAST: &[u8] = b"{\"ClientCheck\":{\"last\":true}}";

/// Frames a stream cut into messages; the byte 0x01 is where a message ends.
///
/// # Panics
/// If a framer holds more than it may, gives out more bytes than came, or loses the document at the end.
pub fn framing(input: &[u8]) {
    let mut framer = Framer::new(MAX_DOCUMENT);
    let mut told = Told::default();
    let messages = input.split(|&byte| byte == 1).chain([LAST, LAST]);
    let mut came = 0;
    for message in messages {
        came += message.len();
        framer.push(Bytes::copy_from_slice(message));
        told.drain(&mut framer);
        assert!(
            framer.buffered() <= MAX_DOCUMENT,
            "more is held than allowed"
        );
    }
    while let Some(framed) = framer.last() {
        told.framed(&framed);
    }
    assert!(told.bytes <= came as u64, "more came out than went in");
    assert!(told.last, "the last document was lost");
}

#[derive(Default)]
struct Told {
    bytes: u64,
    last: bool,
}

impl Told {
    fn drain(&mut self, framer: &mut Framer) {
        while let Some(framed) = framer.next() {
            self.framed(&framed);
        }
    }

    fn framed(&mut self, framed: &Framed) {
        match framed {
            Framed::Document(document) => self.document(document),
            Framed::Malformed(malformed) => self.bytes += malformed.size,
        }
    }

    /// A framed document is a document on its own as well, and says the same of itself.
    fn document(&mut self, document: &Document) {
        self.bytes += document.bytes().len() as u64;
        self.last |= document.bytes() == LAST;
        let again = Document::parse(document.bytes().clone());
        let same = again.is_ok_and(|again| {
            again.content_hash() == document.content_hash()
                && again.key() == document.key()
                && again.msg_info() == document.msg_info()
        });
        assert!(same, "a document reads differently on its own");
        assert!(!document.class().is_empty() && !document.event_type().is_empty());
        drop((
            document.media(),
            crate::xml::json_to_xml(document.bytes()),
            crate::xml::xml_to_json(document.bytes()),
        ));
    }
}

/// Reads a request line's path and query; what is accepted must survive being written again.
///
/// # Panics
/// If it does not.
pub fn subscribe_path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let Ok(request) = parse_subscribe_path(path, query) else {
        return;
    };
    let Ok(origin) = "ws://localhost".parse::<Origin>() else {
        return;
    };
    let target = SubscribeTarget {
        origin,
        version: request.version,
        tenant: request.tenant_id.clone(),
        subs_id: request.subs_id.clone(),
        output: request.output.unwrap_or(OutputType::Json),
    };
    for style in [PathStyle::Bare, PathStyle::Suffixed] {
        let url = target.url(style);
        let rest = url.strip_prefix("ws://localhost").unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or_default();
        let again = parse_subscribe_path(path, Some(query));
        let same = again.is_ok_and(|again| {
            again.tenant_id == request.tenant_id
                && again.subs_id == request.subs_id
                && again.version == request.version
                && again.style() == style
        });
        assert!(same, "a request reads differently when written again");
    }
}

#[cfg(test)]
mod tests;

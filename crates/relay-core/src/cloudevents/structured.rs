//! The structured form: one JSON object on one line, with the event's document spliced in.

use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2_iter;
use sapi_protocol::Format;

use super::{Attributes, Source, text};
use crate::Event;

/// Beside the data, what an event takes at the most usual.
const ENVELOPE: usize = 640;

/// Appends an event as CloudEvents JSON, without a line break in it.
///
/// A JSON document becomes `data` with the line breaks between its tokens left out and nothing else
/// changed; other UTF-8 text becomes a JSON string; anything else `data_base64`.
pub fn structured(event: &Event, source: &Source, out: &mut Vec<u8>) {
    out.reserve(event.bytes().len() + ENVELOPE);
    let attributes = Attributes::of(event, source);
    envelope(&attributes, out);
    data(attributes.head.format, event.bytes(), out);
    out.push(b'}');
}

/// Appends an event as a line of NDJSON: [`structured`], and a line feed.
pub fn ndjson(event: &Event, source: &Source, out: &mut Vec<u8>) {
    structured(event, source, out);
    out.push(b'\n');
}

/// Appends an event of a server-sent stream: `id:` is the cursor, `event:` the type (a notice's is
/// `notice`), `data:` what `structured` holds; each on one line.
pub fn sse(event: &Event, source: &Source, structured: &[u8], out: &mut Vec<u8>) {
    let attributes = Attributes::of(event, source);
    sse_id(&attributes.cursor(), out);
    out.extend_from_slice(b"event: ");
    let name = match event.kind() {
        crate::Kind::Notice => "notice",
        crate::Kind::Event | crate::Kind::Sighting => attributes.head.event_type,
    };
    out.extend_from_slice(text::confined(name).as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(structured);
    out.extend_from_slice(b"\n\n");
}

/// Appends what keeps a server-sent stream alive, and its reader's position up to date: a bare `id:`.
pub fn sse_heartbeat(cursor: &crate::Cursor, out: &mut Vec<u8>) {
    sse_id(cursor, out);
    out.push(b'\n');
}

fn sse_id(cursor: &crate::Cursor, out: &mut Vec<u8>) {
    write(out, format_args!("id: {cursor}\n"));
}

fn envelope(attributes: &Attributes<'_>, out: &mut Vec<u8>) {
    let (prefix, name, more) = attributes.type_parts();
    let key = attributes.key();
    out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
    escape(&attributes.id(), out);
    out.extend_from_slice(br#"","source":""#);
    out.extend_from_slice(attributes.source().as_bytes());
    out.extend_from_slice(br#"","type":""#);
    out.extend_from_slice(prefix.as_bytes());
    escape(&text::confined(name), out);
    if let Some(more) = more {
        out.push(b'.');
        escape(&text::confined(more), out);
    }
    if let Some(key) = &key {
        out.extend_from_slice(br#"","subject":""#);
        escape(key, out);
    }
    out.extend_from_slice(br#"","time":""#);
    write(out, format_args!("{:.3}", attributes.time()));
    out.extend_from_slice(br#"","datacontenttype":""#);
    out.extend_from_slice(attributes.content_type().as_bytes());
    out.extend_from_slice(br#"","sequence":""#);
    padded(attributes.offset.0, out);
    if let Some(number) = attributes.sapi_sequence() {
        out.extend_from_slice(br#"","sapisequence":""#);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    if let Some(instance) = attributes.sapi_instance() {
        out.extend_from_slice(br#"","sapiinstance":""#);
        escape(&instance, out);
    }
    if let Some(key) = &key {
        out.extend_from_slice(br#"","partitionkey":""#);
        escape(key, out);
    }
    out.extend_from_slice(br#"","relaycursor":""#);
    write(out, format_args!("{}.", attributes.source.epoch));
    out.extend_from_slice(itoa::Buffer::new().format(attributes.offset.0).as_bytes());
    out.push(b'"');
}

fn data(format: Format, bytes: &[u8], out: &mut Vec<u8>) {
    match (format, str::from_utf8(bytes)) {
        (Format::Json, Ok(_)) => {
            out.extend_from_slice(br#","data":"#);
            one_line(bytes, out);
        }
        (Format::Xml, Ok(text)) => {
            out.extend_from_slice(br#","data":""#);
            escape(text, out);
            out.push(b'"');
        }
        (_, Err(_)) => {
            out.extend_from_slice(br#","data_base64":""#);
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            // There is room for it, by the rule above.
            STANDARD.encode_slice(bytes, room).unwrap_or_default();
            out.push(b'"');
        }
    }
}

/// A JSON document without its line breaks: in valid JSON none stands inside a token.
fn one_line(json: &[u8], out: &mut Vec<u8>) {
    let mut start = 0;
    for end in memchr2_iter(b'\n', b'\r', json) {
        out.extend_from_slice(json.get(start..end).unwrap_or_default());
        start = end + 1;
    }
    out.extend_from_slice(json.get(start..).unwrap_or_default());
}

/// The inside of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, 0..0x20 | b'"' | b'\\'))
    {
        out.extend_from_slice(bytes.get(start..at).unwrap_or_default());
        start = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => write(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.extend_from_slice(bytes.get(start..).unwrap_or_default());
}

/// A number of 20 digits.
fn padded(number: u64, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    out.extend_from_slice([b'0'; 20].get(digits.len()..).unwrap_or_default());
    out.extend_from_slice(digits);
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a Vec does not fail.
    out.write_fmt(text).unwrap_or_default();
}

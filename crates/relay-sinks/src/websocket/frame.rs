//! Events as they go to clients: WebSocket frames made once and shared by all, and the lines of
//! SSE. It knows neither sockets nor readers.

use bytes::{BufMut, Bytes, BytesMut};
use relay_core::cloudevents::{self, Source};
use relay_core::event::Encoding;
use relay_core::{Cursor, Event, Kind};
use sapi_protocol::{OutputType, xml};

/// What a client of `/v1/stream` and `/v1/events` wants its events to look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// CloudEvents JSON.
    #[default]
    CloudEvents,
    /// The event's bytes.
    Raw,
}

/// Room for the longest header of a server's frame.
const HEADER: usize = 10;
const FINAL_TEXT: u8 = 0x81;
const FINAL_BINARY: u8 = 0x82;
/// What CloudEvents attributes add to an event, roughly.
const ATTRIBUTES: usize = 640;

/// An event as one WebSocket frame, header and payload; made once, shared by all clients.
pub(super) fn event_frame<'a>(event: &'a Event, shape: Shape, source: &Source) -> &'a Bytes {
    match shape {
        Shape::CloudEvents => event.encoded(Encoding::Structured, |event| {
            build(event.bytes().len() + ATTRIBUTES, |out| {
                cloudevents::structured(event, source, out);
            })
        }),
        Shape::Raw => event.encoded(Encoding::Raw, |event| {
            build(event.bytes().len() + 32, |out| raw(event, out))
        }),
    }
}

/// An event as a SAPI server would write it: one document a frame, in the output type asked for.
/// A document that can't be converted goes out as it is: losing it would be worse.
pub(super) fn document_frame(event: &Event, output: OutputType) -> Bytes {
    use sapi_protocol::Format::{Json, Xml};
    build(event.bytes().len() + 1, |out| {
        let converted = match (event.head().format, output.format()) {
            (Json, Json) | (Xml, Xml) => None,
            (Json, Xml) => xml::json_to_xml(event.bytes()).ok(),
            (Xml, Json) => xml::xml_to_json(event.bytes()).ok(),
        };
        out.extend_from_slice(converted.as_deref().unwrap_or(event.bytes()));
        if output.newline() {
            out.push(b'\n');
        }
    })
}

/// A text as one frame.
pub(super) fn text_frame(text: &[u8]) -> Bytes {
    build(text.len(), |out| out.extend_from_slice(text))
}

/// The frame of `progress=true`.
pub(super) fn progress_frame(cursor: Cursor) -> Bytes {
    text_frame(format!(r#"{{"relaycursor":"{cursor}"}}"#).as_bytes())
}

/// The payload of a frame made here.
pub(super) fn payload(frame: &Bytes) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        Some(_) | None => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// An event's bytes; a notice's JSON in an envelope, so that it can't be taken for an event.
fn raw(event: &Event, out: &mut Vec<u8>) {
    match event.kind() {
        Kind::Notice => relay_notice(event.bytes(), out),
        Kind::Event | Kind::Sighting => out.extend_from_slice(event.bytes()),
    }
}

/// A notice among raw events.
pub(super) fn relay_notice(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"relayNotice":"#);
    out.extend_from_slice(json);
    out.push(b'}');
}

/// Writes a payload behind room for the header, then the header before it.
fn build(estimate: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER + estimate);
    frame.resize(HEADER, 0);
    write(&mut frame);
    let length = frame.len() - HEADER;
    let text = frame
        .get(HEADER..)
        .is_some_and(|payload| simdutf8::basic::from_utf8(payload).is_ok());
    let header = header(if text { FINAL_TEXT } else { FINAL_BINARY }, length);
    let start = HEADER - header.len();
    if let Some(place) = frame.get_mut(start..HEADER) {
        place.copy_from_slice(&header);
    }
    // The room that was not needed would stay for as long as the event, and nobody counts it.
    frame.shrink_to_fit();
    Bytes::from(frame).slice(start..)
}

/// The header of an unmasked frame (RFC 6455, section 5.2).
fn header(first: u8, length: usize) -> BytesMut {
    let mut header = BytesMut::with_capacity(HEADER);
    header.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => header.put_u8(short),
        (_, Ok(medium)) => {
            header.put_u8(126);
            header.put_u16(medium);
        }
        (_, Err(_)) => {
            header.put_u8(127);
            header.put_u64(length as u64);
        }
    }
    header
}

/// Appends an event as SSE: `event:` its type, `data:` its lines, `id:` the cursor behind it.
pub(super) fn sse_event(out: &mut Vec<u8>, id: Cursor, event_type: &str, data: &[u8]) {
    out.extend_from_slice(b"event: ");
    let confined = |byte: u8| {
        if byte == b'\n' || byte == b'\r' {
            b' '
        } else {
            byte
        }
    };
    out.extend(event_type.bytes().map(confined));
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    let mut rest = data;
    loop {
        out.extend_from_slice(b"\ndata: ");
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
            out.extend_from_slice(rest);
            break;
        };
        let (line, after) = rest.split_at(end);
        out.extend_from_slice(line);
        rest = after
            .strip_prefix(b"\r\n")
            .or_else(|| after.get(1..))
            .unwrap_or_default();
    }
    out.extend_from_slice(b"\n");
    sse_id(out, id);
}

/// Appends a bare `id:`: it moves the client's cursor, and shows that the stream lives.
pub(super) fn sse_id(out: &mut Vec<u8>, id: Cursor) {
    out.extend_from_slice(format!("id: {id}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let frame = text_frame(&vec![b'x'; length]);
            assert_eq!(payload(&frame).len(), length);
            let expected = match length {
                0..126 => vec![0x81, u8::try_from(length).unwrap()],
                126..65_536 => [
                    &[0x81, 126],
                    &u16::try_from(length).unwrap().to_be_bytes()[..],
                ]
                .concat(),
                _ => [&[0x81, 127], &(length as u64).to_be_bytes()[..]].concat(),
            };
            assert_eq!(&frame[..expected.len()], expected, "{length}");
        }
    }

    #[test]
    fn what_is_not_utf_8_goes_as_binary() {
        assert_eq!(text_frame(b"\xff")[0], 0x82);
    }

    #[test]
    fn an_sse_event_keeps_its_lines_apart() {
        let cursor: Cursor = "00000000000000ff.3".parse().unwrap();
        let mut out = Vec::new();
        sse_event(&mut out, cursor, "A\nB", b"one\r\ntwo\n\rthree\n");
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "event: A B\ndata: one\ndata: two\ndata: \ndata: three\nid: 00000000000000ff.3\n\n"
        );
    }
}

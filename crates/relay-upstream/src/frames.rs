//! WebSocket frames out of a byte stream, the receiving half of RFC 6455; knows no socket and no document.
//!
//! A message is handed on in parts, as its bytes arrive, not when it is complete. After an absence the
//! upstream may send hours of stored events as one message: held whole, it would cost its size in memory,
//! and a crash would lose it whole, since the upstream counts as delivered what it has written.
//!
//! A part that is not the last ends where the rest can't be taken for the beginning of a document, since
//! the framing behind resumes at such a place after a malformed one, and never inside a character.

use std::io::Cursor;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

/// A frame up to this size is waited for, so that its documents are slices of one buffer.
const WHOLE: u64 = 64 << 10;
/// Of a larger frame, so much is handed on at once, if it has arrived.
const PART: usize = 32 << 10;
/// How far back a good place to cut is looked for.
const LOOK_BACK: usize = 4 << 10;
/// Control frames are small (RFC 6455 section 5.5).
const MAX_CONTROL: u64 = 125;

/// What the stream says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of a message: all of it, or a part.
    Data(Bytes),
    /// To be answered with a Pong of the same bytes.
    Ping(Bytes),
    /// The answer to a Ping; nothing to do.
    Pong,
    /// The peer closes.
    Close(Option<Closed>),
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// The peer broke the protocol: the connection fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a text message with invalid UTF-8")]
    Utf8,
    #[error("a message of more than {0} bytes (max_message)")]
    TooLarge(u64),
    #[error("a frame with reserved bits or a mask")]
    Header,
    #[error("frames out of order")]
    Order,
    #[error("a control frame that is fragmented or too long")]
    Control,
    #[error("a malformed frame")]
    Frame(#[source] Box<Error>),
}

#[derive(Debug)]
struct Payload {
    left: u64,
    is_large: bool,
    is_final: bool,
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    size: u64,
}

/// The decoder of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message: u64,
    message: Option<Message>,
    payload: Option<Payload>,
    /// What the last fragment held back for the next one.
    carry: BytesMut,
}

impl Decoder {
    pub(crate) fn new(max_message: u64) -> Self {
        Self {
            max_message,
            message: None,
            payload: None,
            carry: BytesMut::new(),
        }
    }

    /// The next piece, or `None` until more bytes are there.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Violation> {
        loop {
            let Some(payload) = &mut self.payload else {
                match self.header(buffer)? {
                    Step::Again => continue,
                    Step::Wait => return Ok(None),
                    Step::Piece(piece) => return Ok(Some(piece)),
                }
            };
            let arrived = buffer.len() as u64;
            let part = if payload.left <= arrived {
                let length = usize::try_from(payload.left).unwrap_or(usize::MAX);
                payload.left = 0;
                buffer.split_to(length)
            } else if payload.is_large && buffer.len() >= PART {
                let length = cut(buffer);
                payload.left -= length as u64;
                buffer.split_to(length)
            } else {
                return Ok(None);
            };
            let (is_over, is_final) = (payload.left == 0, payload.is_final);
            if is_over {
                self.payload = None;
            }
            if let Some(bytes) = self.part(part, is_over, is_final)? {
                return Ok(Some(Piece::Data(bytes)));
            }
        }
    }

    /// Reads a frame's header, and the whole of a control frame.
    fn header(&mut self, buffer: &mut BytesMut) -> Result<Step, Violation> {
        let mut cursor = Cursor::new(&buffer[..]);
        let parsed = FrameHeader::parse(&mut cursor);
        let parsed = parsed.map_err(|error| Violation::Frame(Box::new(error)))?;
        let Some((header, length)) = parsed else {
            return Ok(Step::Wait);
        };
        let consumed = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_some() {
            return Err(Violation::Header);
        }
        match header.opcode {
            OpCode::Control(control) => {
                if !header.is_final || length > MAX_CONTROL {
                    return Err(Violation::Control);
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if buffer.len() < consumed + length {
                    return Ok(Step::Wait);
                }
                drop(buffer.split_to(consumed));
                let payload = buffer.split_to(length).freeze();
                read_control(control, payload).map(Step::Piece)
            }
            OpCode::Data(data) => {
                self.begin(data, length)?;
                drop(buffer.split_to(consumed));
                self.payload = Some(Payload {
                    left: length,
                    is_large: length > WHOLE,
                    is_final: header.is_final,
                });
                Ok(Step::Again)
            }
        }
    }

    fn begin(&mut self, data: Data, length: u64) -> Result<(), Violation> {
        let message = match (data, &mut self.message) {
            (Data::Continue, Some(message)) => message,
            (Data::Text | Data::Binary, place @ None) => place.insert(Message {
                is_text: data == Data::Text,
                size: 0,
            }),
            (Data::Continue, None) | (Data::Text | Data::Binary | Data::Reserved(_), _) => {
                return Err(Violation::Order);
            }
        };
        message.size = message.size.saturating_add(length);
        if message.size > self.max_message {
            return Err(Violation::TooLarge(self.max_message));
        }
        Ok(())
    }

    /// What of a frame's bytes is handed on: all at a message's end, else what a good cut leaves.
    fn part(
        &mut self,
        part: BytesMut,
        is_over: bool,
        is_final: bool,
    ) -> Result<Option<Bytes>, Violation> {
        let mut part = part;
        if !self.carry.is_empty() {
            self.carry.unsplit(part);
            part = self.carry.split();
        }
        if is_over && !is_final {
            let length = cut(&part);
            self.carry = BytesMut::from(part.get(length..).unwrap_or_default());
            part.truncate(length);
        }
        let is_text = self.message.as_ref().is_some_and(|message| message.is_text);
        if is_over && is_final {
            self.message = None;
        }
        if is_text && simdutf8::basic::from_utf8(&part).is_err() {
            return Err(Violation::Utf8);
        }
        Ok((!part.is_empty()).then(|| part.freeze()))
    }
}

enum Step {
    Again,
    Wait,
    Piece(Piece),
}

fn read_control(control: Control, payload: Bytes) -> Result<Piece, Violation> {
    match control {
        Control::Ping => Ok(Piece::Ping(payload)),
        Control::Pong => Ok(Piece::Pong),
        Control::Reserved(_) => Err(Violation::Control),
        Control::Close => match payload.split_first_chunk::<2>() {
            None if payload.is_empty() => Ok(Piece::Close(None)),
            None => Err(Violation::Control),
            Some((code, reason)) => Ok(Piece::Close(Some(Closed {
                code: u16::from_be_bytes(*code),
                reason: String::from_utf8_lossy(reason).into_owned(),
            }))),
        },
    }
}

/// Where a part may end: before a byte that begins a character and no document.
fn cut(bytes: &[u8]) -> usize {
    let begins_nothing = |byte: &u8| {
        let is_inside_character = *byte & 0xC0 == 0x80;
        let may_begin_document = matches!(*byte, b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'[' | b'<');
        !is_inside_character && !may_begin_document && !matches!(*byte, b'X' | 0xEF)
    };
    let floor = bytes.len().saturating_sub(LOOK_BACK);
    let tail = bytes.get(floor..).unwrap_or_default();
    if let Some(at) = tail.iter().rposition(begins_nothing) {
        return floor + at;
    }
    if floor == 0 {
        return 0;
    }
    // Thousands of blanks or brackets: only a character must not be split.
    let at = tail.iter().rposition(|byte| byte & 0xC0 != 0x80);
    floor + at.unwrap_or(tail.len())
}

/// A Pong, masked.
pub(crate) fn pong(payload: Bytes) -> Vec<u8> {
    masked(Frame::pong(payload))
}

/// A Close, masked.
pub(crate) fn close(code: CloseCode, reason: &'static str) -> Vec<u8> {
    masked(Frame::close(Some(CloseFrame {
        code,
        reason: reason.into(),
    })))
}

fn masked(mut frame: Frame) -> Vec<u8> {
    frame.header_mut().mask = Some(rand::random());
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing to a vector can't fail; a frame that were cut short would only end the connection.
    if frame.format(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

#[cfg(test)]
mod tests;

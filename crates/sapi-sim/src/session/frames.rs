//! Owns the writing of a server's WebSocket frames into a buffer.

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

impl Form {
    fn opcode(self) -> OpCode {
        OpCode::Data(match self {
            Self::Text => Data::Text,
            Self::Binary => Data::Binary,
        })
    }
}

fn header(opcode: OpCode, is_final: bool, length: usize, out: &mut Vec<u8>) {
    let header = FrameHeader {
        is_final,
        opcode,
        ..FrameHeader::default()
    };
    if let Err(error) = header.format(length as u64, out) {
        tracing::error!(%error, "a frame header did not fit into memory");
    }
}

/// One message in `frames` frames.
pub(crate) fn message(form: Form, payload: &[u8], frames: usize, out: &mut Vec<u8>) {
    let frames = frames.clamp(1, payload.len().max(1));
    let size = payload.len().div_ceil(frames).max(1);
    let mut opcode = form.opcode();
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(size.min(rest.len()));
        header(opcode, after.is_empty(), part.len(), out);
        out.extend_from_slice(part);
        if after.is_empty() {
            break;
        }
        opcode = OpCode::Data(Data::Continue);
        rest = after;
    }
}

/// A Close.
pub(crate) fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let opcode = OpCode::Control(Control::Close);
    header(opcode, true, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// A Ping.
pub(crate) fn ping(out: &mut Vec<u8>) {
    header(OpCode::Control(Control::Ping), true, 0, out);
}

/// The answer to a Ping.
pub(crate) fn pong(payload: &[u8], out: &mut Vec<u8>) {
    header(OpCode::Control(Control::Pong), true, payload.len(), out);
    out.extend_from_slice(payload);
}

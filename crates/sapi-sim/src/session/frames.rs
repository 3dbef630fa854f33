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

#[cfg(test)]
mod tests {
    use super::{Form, close, message};

    #[test]
    fn a_message_in_fragments_ends_with_a_final_frame() {
        let mut out = Vec::new();
        message(Form::Text, b"abcde", 3, &mut out);
        assert_eq!(out, b"\x01\x02ab\x00\x02cd\x80\x01e");
    }

    #[test]
    fn a_message_never_has_more_frames_than_bytes() {
        for (payload, expected) in [(&b""[..], &b"\x82\x00"[..]), (b"a", b"\x82\x01a")] {
            let mut out = Vec::new();
            message(Form::Binary, payload, 9, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_close_carries_code_and_reason() {
        let mut out = Vec::new();
        close(1008, "why", &mut out);
        assert_eq!(out, b"\x88\x05\x03\xf0why");
    }
}

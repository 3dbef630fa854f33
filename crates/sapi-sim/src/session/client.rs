//! Owns the reading of a client's WebSocket frames: little is ever said, but Close and Ping count.

use std::io::Cursor;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, OpCode},
};

/// A client has no reason to send more at once.
const MAX_FRAME: u64 = 1 << 20;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A Close, with its code if it has one.
    Close(Option<u16>),
    /// A Ping and its payload.
    Ping(Vec<u8>),
    /// A Pong.
    Pong,
    /// Text or binary: nobody asked for it.
    Data,
}

/// The reading half of a client's connection.
pub(crate) struct Client<R> {
    io: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Client<R> {
    /// `already` was read before the upgrade was complete.
    pub(crate) fn new(io: R, already: &[u8]) -> Self {
        Self {
            io,
            buffer: BytesMut::from(already),
        }
    }

    /// The next frame; none at the end of the stream or if it is no WebSocket. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        loop {
            match self.parse() {
                Ok(Some(said)) => return Some(said),
                Ok(None) => {}
                Err(NotWebSocket) => return None,
            }
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Said>, NotWebSocket> {
        let mut cursor = Cursor::new(&self.buffer[..]);
        let Some((header, length)) =
            FrameHeader::parse(&mut cursor).map_err(|_protocol| NotWebSocket)?
        else {
            return Ok(None);
        };
        if length > MAX_FRAME {
            return Err(NotWebSocket);
        }
        let (start, length) = (position(&cursor), usize::try_from(length).unwrap_or(0));
        if self.buffer.len() < start + length {
            return Ok(None);
        }
        self.buffer.advance(start);
        let mut payload = self.buffer.split_to(length);
        if let Some(mask) = header.mask {
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
        }
        Ok(Some(match header.opcode {
            OpCode::Control(Control::Close) => {
                Said::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
            }
            OpCode::Control(Control::Ping) => Said::Ping(payload.to_vec()),
            OpCode::Control(Control::Pong | Control::Reserved(_)) => Said::Pong,
            OpCode::Data(_) => Said::Data,
        }))
    }
}

fn position(cursor: &Cursor<&[u8]>) -> usize {
    usize::try_from(cursor.position()).unwrap_or(usize::MAX)
}

/// The client speaks something else.
struct NotWebSocket;

#[cfg(test)]
mod tests {
    use super::{Client, Said};

    #[tokio::test]
    async fn frames_cut_anywhere_are_read() {
        // Close 1000 masked, then an unmasked empty Ping, then text "hi".
        let bytes: Vec<u8> = [
            &[0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2][..],
            &[0x89, 0x00],
            b"\x81\x02hi",
        ]
        .concat();
        let io: Vec<Vec<u8>> = bytes.chunks(1).map(<[u8]>::to_vec).collect();
        let mut client = Client::new(Chunks(io.into()), &[]);
        assert_eq!(client.next().await, Some(Said::Close(Some(1000))));
        assert_eq!(client.next().await, Some(Said::Ping(vec![])));
        assert_eq!(client.next().await, Some(Said::Data));
        assert_eq!(client.next().await, None);
    }

    #[tokio::test]
    async fn what_is_no_websocket_ends_the_stream() {
        let mut client = Client::new(tokio::io::empty(), b"\x8f\x00");
        assert_eq!(client.next().await, None);
    }

    struct Chunks(std::collections::VecDeque<Vec<u8>>);

    impl tokio::io::AsyncRead for Chunks {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(chunk) = self.0.pop_front() {
                buf.put_slice(&chunk);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
}

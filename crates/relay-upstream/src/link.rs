//! An open connection: bytes read, messages taken apart, documents framed; knows neither session nor intake.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use sapi_protocol::{Framed, Framer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::UpstreamConfig;
use crate::dial::{Opened, Wire};
use crate::failure::End;
use crate::frames::{Decoder, Piece, Violation, close, pong};

/// What one buffer holds. Documents are slices of it, so it lives as long as the last of them.
const BUFFER: usize = 64 << 10;
/// Less room than this is not worth a read.
const ROOM: usize = 16 << 10;
/// What is taken at once while more is ready.
const BATCH: usize = 256 << 10;
/// A few bytes are written at once, or the peer reads no more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection.
pub(crate) struct Link {
    wire: Box<dyn Wire>,
    buffer: BytesMut,
    decoder: Decoder,
    framer: Framer,
    /// Frames to send.
    replies: Vec<u8>,
    has_sent_close: bool,
    /// The buffer holds what came with the handshake.
    is_fresh: bool,
}

/// What was read at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) framed: Vec<Framed>,
    pub(crate) bytes: usize,
    /// The connection is over; what came before it is in `framed`.
    pub(crate) end: Option<End>,
}

impl Link {
    pub(crate) fn new(opened: Opened, config: &UpstreamConfig) -> Self {
        Self {
            wire: opened.wire,
            buffer: opened.buffer,
            decoder: Decoder::new(config.max_message),
            framer: Framer::new(config.max_document),
            replies: vec![],
            has_sent_close: false,
            is_fresh: true,
        }
    }

    /// Waits for bytes, then takes what else is ready. Cancel safe: nothing read is lost.
    pub(crate) async fn receive(&mut self) -> Batch {
        let mut batch = Batch::default();
        if std::mem::take(&mut self.is_fresh) && !self.buffer.is_empty() {
            batch.bytes = self.buffer.len();
        } else {
            self.make_room();
            let read = self.wire.read_buf(&mut self.buffer).await;
            batch.take(read);
        }
        loop {
            if let Err(end) = self.take_apart(&mut batch.framed) {
                // What the peer said comes before how reading failed.
                batch.end = Some(end);
            }
            if batch.end.is_some() || batch.bytes >= BATCH {
                return batch;
            }
            self.make_room();
            match self.wire.read_buf(&mut self.buffer).now_or_never() {
                Some(read) => batch.take(read),
                None => return batch,
            }
        }
    }

    /// Sends what the protocol asks for: Pong, and the answer to Close.
    pub(crate) async fn reply(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        let replies = std::mem::take(&mut self.replies);
        let write = async {
            self.wire.write_all(&replies).await?;
            self.wire.flush().await
        };
        // If writing fails, so will reading, and that tells why.
        drop(timeout(WRITE_TIMEOUT, write).await);
    }

    /// Sends Close, once. Reading goes on until the peer's.
    pub(crate) async fn send_close(&mut self) {
        self.queue_close(CloseCode::Normal, "");
        self.reply().await;
    }

    /// Ends it: what is left of a document is malformed.
    pub(crate) async fn finish(mut self) -> Option<Framed> {
        drop(timeout(WRITE_TIMEOUT, self.wire.shutdown()).await);
        self.framer.finish().map(Framed::Malformed)
    }

    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < ROOM {
            self.buffer.reserve(BUFFER);
        }
    }

    fn take_apart(&mut self, framed: &mut Vec<Framed>) -> Result<(), End> {
        loop {
            match self.decoder.next(&mut self.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(Piece::Ping(payload))) if !self.has_sent_close => {
                    self.replies.extend(pong(payload));
                }
                Ok(Some(Piece::Ping(_) | Piece::Pong)) => {}
                Ok(Some(Piece::Data(bytes))) => {
                    self.framer.push(bytes);
                    framed.extend(std::iter::from_fn(|| self.framer.next()));
                }
                Ok(Some(Piece::Close(closed))) => {
                    self.queue_close(CloseCode::Normal, "");
                    return Err(End::Close(closed));
                }
                Err(violation) => {
                    let (code, reason) = answer_to(&violation);
                    self.queue_close(code, reason);
                    return Err(End::Protocol(violation.to_string()));
                }
            }
        }
    }

    fn queue_close(&mut self, code: CloseCode, reason: &'static str) {
        if !std::mem::replace(&mut self.has_sent_close, true) {
            self.replies.extend(close(code, reason));
        }
    }
}

impl Batch {
    fn take(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.end = Some(End::Eof),
            Ok(count) => self.bytes += count,
            // TLS without its own goodbye is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.end = Some(End::Eof),
            Err(error) => self.end = Some(End::Io(format!("reading failed: {error}"))),
        }
    }
}

fn answer_to(violation: &Violation) -> (CloseCode, &'static str) {
    match violation {
        Violation::Utf8 => (CloseCode::Invalid, "invalid UTF-8"),
        Violation::TooLarge(_) => (CloseCode::Size, "message too large"),
        Violation::Header | Violation::Order | Violation::Control | Violation::Frame(_) => {
            (CloseCode::Protocol, "protocol error")
        }
    }
}

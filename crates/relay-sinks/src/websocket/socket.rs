//! The WebSocket of one client: tungstenite reads and answers pings and Close; event frames, which
//! all clients share, are written beside it straight to the wire, never inside one another. It
//! knows neither the bus nor what the frames hold.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use relay_core::Offset;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};

use super::wire::Wire;

/// Frames that go out with one system call.
const SLICES: usize = 64;
/// Room in the queue that is kept between bursts.
const KEPT: usize = 8;
/// What a client may say in one frame: it has nothing to say but pings and Close.
const MAX_INCOMING: usize = 4 * 1024;
/// Incoming frames that are handled before other tasks get their turn.
const INCOMING_AT_ONCE: usize = 16;

/// A frame to be written.
#[derive(Debug)]
struct Outgoing {
    /// What is left of it.
    rest: Bytes,
    /// What lies behind the client once it is written.
    upto: Offset,
}

/// What happened on the socket.
#[derive(Debug)]
pub(super) enum Happened {
    /// Everything queued has been handed to the kernel.
    Drained,
    /// The client has closed, properly or not.
    Closed,
    /// The client broke the protocol, and why.
    Broken(tungstenite::Error),
    /// The kernel refuses bytes from now on: said once, until everything is drained.
    Refused,
    /// The kernel has refused bytes for too long.
    Stalled,
}

/// A client's WebSocket.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that are independent of each other"
)]
#[derive(Debug)]
pub(super) struct Socket {
    wire: Wire,
    context: WebSocketContext,
    queue: VecDeque<Outgoing>,
    /// Whether the first frame of the queue has been written in part.
    inside_frame: bool,
    /// What lies behind the last frame that the wire has taken.
    taken: Offset,
    /// What lies behind the last frame that the kernel has taken: TLS keeps some in between.
    written: Offset,
    /// The kernel refused bytes at the last attempt.
    refused: bool,
    /// What tungstenite had to answer may not have been written yet.
    unflushed: bool,
    ended: bool,
}

impl Socket {
    /// A socket after its handshake: what was `read` behind the request, and the client's position.
    pub(super) fn new(wire: Wire, read: &Bytes, position: Offset) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_INCOMING)
            .max_message_size(Some(MAX_INCOMING))
            .max_frame_size(Some(MAX_INCOMING));
        let context =
            WebSocketContext::from_partially_read(read.to_vec(), Role::Server, Some(config));
        Self {
            wire,
            context,
            queue: VecDeque::new(),
            inside_frame: false,
            taken: position,
            written: position,
            refused: false,
            unflushed: false,
            ended: false,
        }
    }

    /// Queues a frame; `upto` lies behind the client once it is written.
    pub(super) fn push(&mut self, frame: Bytes, upto: Offset) {
        self.queue.push_back(Outgoing { rest: frame, upto });
    }

    /// Queues a ping.
    pub(super) fn push_ping(&mut self) {
        self.push(Bytes::from_static(&[0x89, 0]), self.taken);
    }

    /// Whether everything queued has been handed to the kernel.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.written == self.taken && !self.refused && !self.unflushed
    }

    /// Whether bytes that are written now reach the kernel at once, with nothing before them.
    pub(super) fn is_straight(&self) -> bool {
        self.is_drained() && !self.wire.holds_back()
    }

    /// Hands whole frames straight to the kernel: as many bytes as it takes at once, none if
    /// something else has to go before them. What it leaves is to be queued, with the frames that
    /// it took, and those to be [`Socket::advance`]d over.
    pub(super) fn write_now(&mut self, frames: &[u8]) -> usize {
        if frames.is_empty() || !self.is_straight() {
            return 0;
        }
        self.wire.write_now(frames)
    }

    /// Frames queued.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The last offset handed to the kernel.
    pub(super) fn written(&self) -> Offset {
        self.written
    }

    /// Everything up to here lies behind the client: what follows the last frame is not for it.
    pub(super) fn pass(&mut self, upto: Offset) {
        self.taken = upto;
        self.written = upto;
    }

    /// Forgets what is queued, save a frame that has been written in part: it must be finished.
    /// Returns where to go on reading.
    pub(super) fn forget_queue(&mut self) -> Offset {
        self.queue.truncate(usize::from(self.inside_frame));
        self.queue.shrink_to(1);
        self.queue
            .front()
            .map_or(self.taken, |unfinished| unfinished.upto)
    }

    /// Moves everything on: what the client says, then what is queued. Ready when something
    /// happened that the owner must know; [`Happened::Drained`] only if something was to be written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        if let Poll::Ready(end) = self.poll_incoming(cx) {
            return Poll::Ready(end);
        }
        if self.is_drained() {
            return Poll::Pending;
        }
        let known = self.refused;
        match self.poll_outgoing(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Happened::Drained),
            Poll::Ready(Err(error)) => Poll::Ready(failed(&error)),
            Poll::Pending if known => Poll::Pending,
            Poll::Pending => Poll::Ready(Happened::Refused),
        }
    }

    /// Stops writing: at the end of the frame under way if the client takes that in time. Says what
    /// has been written in the end.
    pub(super) async fn stop(&mut self, patience: Duration) -> Offset {
        self.forget_queue();
        if self.refused {
            self.wire.allow_unsent();
        }
        let finish = poll_fn(|cx| self.poll_outgoing(cx));
        timeout(patience, finish).await.ok();
        self.written
    }

    /// Sends Close and waits until the client has answered or gone. Nothing where it would stand
    /// inside a frame.
    pub(super) async fn close(&mut self, code: CloseCode, reason: &str) {
        if self.inside_frame {
            return;
        }
        let mut close = Some(CloseFrame {
            code,
            reason: reason.to_owned().into(),
        });
        poll_fn(|cx| {
            let sent = self.with_context(cx, |context, io| match close.take() {
                Some(frame) => context.close(io, Some(frame)),
                None => context.flush(io),
            });
            match sent {
                Err(error) if !would_block(&error) => Poll::Ready(()),
                Ok(()) | Err(_) => self.poll_incoming(cx).map(|_end| ()),
            }
        })
        .await;
        poll_fn(|cx| Pin::new(&mut self.wire).poll_shutdown(cx))
            .await
            .ok();
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        if self.ended {
            return Poll::Ready(Happened::Closed);
        }
        for _ in 0..INCOMING_AT_ONCE {
            match self.with_context(cx, |context, io| context.read(io)) {
                // Nothing is expected of clients; pings and Close are answered by tungstenite.
                Ok(_said) => self.unflushed = true,
                Err(error) if would_block(&error) => return self.poll_answers(cx),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(ending(error));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what tungstenite has to answer. Never ready but with an end.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        match self.flush_context(cx) {
            Ok(_flushed_or_later) => Poll::Pending,
            Err(error) => Poll::Ready(failed(&error)),
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.poll_write_out(cx);
        self.refused = outcome.is_pending();
        outcome
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queue.is_empty() && self.refused {
            ready!(self.wire.poll_writable(cx))?;
        }
        while !self.queue.is_empty() {
            if !self.inside_frame && !self.flush_context(cx)? {
                return Poll::Pending;
            }
            let written = ready!(self.poll_write_queue(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            if !self.wire.holds_back() {
                self.written = self.taken;
            }
        }
        // TLS holds bytes of its own back.
        self.unflushed |= self.wire.holds_back();
        if !self.flush_context(cx)? {
            return Poll::Pending;
        }
        self.written = self.taken;
        // What a burst has taken is given back.
        if self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wire = Pin::new(&mut self.wire);
        if let (1, Some(only)) = (self.queue.len(), self.queue.front()) {
            return wire.poll_write(cx, &only.rest);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(&frame.rest);
            count += 1;
        }
        wire.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    /// Takes written bytes off the queue.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(frame) = self.queue.front_mut() {
            if written < frame.rest.len() {
                frame.rest.advance(written);
                self.inside_frame |= written > 0;
                return;
            }
            written -= frame.rest.len();
            self.taken = frame.upto;
            self.inside_frame = false;
            self.queue.pop_front();
        }
    }

    /// Lets tungstenite finish what it has begun to write. False: the kernel refuses, or a frame
    /// under way has to be finished first.
    fn flush_context(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if !self.unflushed {
            return Ok(true);
        }
        match self.with_context(cx, |context, io| context.flush(io)) {
            Ok(()) => {
                self.unflushed = self.inside_frame;
                Ok(true)
            }
            Err(error) if would_block(&error) => Ok(false),
            Err(tungstenite::Error::Io(error)) => Err(error),
            Err(_closed) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn with_context<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut WebSocketContext, &mut Blocking<'_, '_>) -> T,
    ) -> T {
        let gate = self.inside_frame;
        act(
            &mut self.context,
            &mut Blocking {
                wire: &mut self.wire,
                cx,
                gate,
            },
        )
    }
}

/// The wire as tungstenite wants to see it. While a shared frame is under way it takes no bytes.
struct Blocking<'a, 'c> {
    wire: &'a mut Wire,
    cx: &'a mut Context<'c>,
    gate: bool,
}

impl Read for Blocking<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut *self.wire).poll_read(self.cx, &mut buffer) {
            Poll::Ready(done) => done.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Blocking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gate {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        blocking(Pin::new(&mut *self.wire).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gate {
            return Ok(());
        }
        blocking(Pin::new(&mut *self.wire).poll_flush(self.cx))
    }
}

fn blocking<T>(outcome: Poll<io::Result<T>>) -> io::Result<T> {
    match outcome {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// What an error of the wire says of the client.
fn failed(error: &io::Error) -> Happened {
    if error.kind() == io::ErrorKind::TimedOut {
        Happened::Stalled
    } else {
        Happened::Closed
    }
}

/// What an error of tungstenite says of the client.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else is said is a breach"
)]
fn ending(error: tungstenite::Error) -> Happened {
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Happened::Stalled
        }
        tungstenite::Error::Io(_)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ResetWithoutClosingHandshake) => Happened::Closed,
        broken => Happened::Broken(broken),
    }
}

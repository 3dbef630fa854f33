//! One WebSocket client being served: from the bus to its socket, as fast as it reads and no
//! faster. It does not know what the frames hold: that is the feed's.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use relay_core::{Batch, Event, Limit, Offset, ReadError, Reader, Skipped};
use tokio::select;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::hub::{Admission, Hub, Reason};
use super::socket::{Happened, Socket};
use super::wire::Wire;
use super::{sapi, stream};

/// What is taken from the bus at once.
const LIMIT: Limit = Limit {
    events: 256,
    bytes: 256 * 1024,
};
/// The same for a client that has just been slow.
const SLOW_LIMIT: Limit = Limit {
    events: 32,
    bytes: 32 * 1024,
};
/// A client that does not read holds shared memory for no longer than this.
const HOLD: Duration = Duration::from_millis(100);
/// How often a client is told its cursor, or its cursor is written down, at most.
const OFTEN: Duration = Duration::from_secs(1);
/// How long a frame under way may take to its end when the connection is to end.
const FINISH: Duration = Duration::from_secs(1);
/// How long the client may take to answer Close.
const CLOSING: Duration = Duration::from_secs(2);

/// What a session sends: the face that the client has come to.
#[derive(Debug)]
pub(super) enum Feed {
    Stream(stream::Feed),
    Sapi(sapi::Feed),
}

impl Feed {
    /// An event as this client gets it; `None`: it does not.
    fn frame(&self, event: &Event) -> Option<Bytes> {
        match self {
            Self::Stream(feed) => feed.frame(event),
            Self::Sapi(feed) => feed.frame(event),
        }
    }

    /// What is said of events that are gone.
    fn skipped(&self, skipped: Skipped, position: Offset) -> Option<Bytes> {
        match self {
            Self::Stream(feed) => Some(feed.skipped(skipped, position)),
            Self::Sapi(_) => None,
        }
    }

    /// What shows the client now and then that the stream lives; `None`: a ping does.
    fn heartbeat(&mut self) -> Option<Bytes> {
        match self {
            Self::Stream(_) => None,
            Self::Sapi(feed) => Some(feed.heartbeat()),
        }
    }

    fn heartbeat_period(&self) -> Duration {
        match self {
            Self::Stream(_) => stream::PING,
            Self::Sapi(feed) => feed.heartbeat_period(),
        }
    }

    /// Pings go out only where nothing else does; heartbeats of SAPI always.
    fn beats_when_busy(&self) -> bool {
        matches!(self, Self::Sapi(_))
    }

    /// The kernel has taken everything up to `offset`. True: [`Feed::remind`] is wanted in a while.
    fn written(&self, offset: Offset, said: bool) -> bool {
        match self {
            Self::Stream(feed) => feed.wants_reminder(said),
            Self::Sapi(feed) => feed.written(offset),
        }
    }

    /// What was put off: a frame that tells the client its cursor, or writing its cursor down.
    fn remind(&self, offset: Offset) -> Option<Bytes> {
        match self {
            Self::Stream(feed) => Some(feed.progress_frame(offset)),
            Self::Sapi(feed) => {
                feed.save();
                None
            }
        }
    }

    fn session_length(&self) -> Option<Duration> {
        match self {
            Self::Stream(_) => None,
            Self::Sapi(feed) => feed.session_length(),
        }
    }
}

/// What is due when.
#[derive(Debug)]
struct Due {
    heartbeat: Instant,
    remind: Option<Instant>,
    cut: Option<Instant>,
    release: Option<Instant>,
}

impl Due {
    fn first(&self) -> Instant {
        let others = [self.remind, self.cut, self.release];
        others
            .into_iter()
            .flatten()
            .fold(self.heartbeat, Instant::min)
    }
}

/// A client of which the handshake is done.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) admission: Admission,
    pub(super) reader: Reader,
    pub(super) feed: Feed,
    /// What it is sent before any event.
    pub(super) greeting: Vec<Bytes>,
}

/// The moving parts of a session while it runs.
struct Serving {
    socket: Socket,
    feed: Feed,
    reader: Reader,
    due: Due,
    /// Kept while its frames wait: it is what bounds the memory of many clients.
    batch: Option<Batch>,
    /// Events queued since everything was last written.
    queued: u64,
    /// Something went out since the last heartbeat was due.
    busy: bool,
    limit: Limit,
}

impl Session {
    /// Serves until the client leaves or is told to.
    pub(super) async fn run(self: Box<Self>, wire: Wire, read: Bytes) {
        let Self {
            mut admission,
            reader,
            feed,
            greeting,
        } = *self;
        // Boxed, like what is used rarely below: an idle client is mostly its task.
        let mut serving = Box::new(Serving::new(wire, &read, reader, feed));
        drop(read);
        for frame in greeting {
            let position = serving.reader.position();
            serving.socket.push(frame, position);
        }
        let reason = serving.serve(&admission).await;
        admission.leaves(reason);
        Box::pin(serving.end(reason, &admission.hub)).await;
    }
}

impl Serving {
    fn new(wire: Wire, read: &Bytes, reader: Reader, feed: Feed) -> Self {
        let now = Instant::now();
        let due = Due {
            heartbeat: now + feed.heartbeat_period(),
            remind: None,
            cut: feed.session_length().map(|length| now + length),
            release: None,
        };
        let socket = Socket::new(wire, read, reader.position());
        Self {
            socket,
            feed,
            reader,
            due,
            batch: None,
            queued: 0,
            busy: false,
            limit: LIMIT,
        }
    }

    async fn serve(&mut self, admission: &Admission) -> Reason {
        let mut ended = pin!(admission.end.cancelled());
        let mut timer = pin!(sleep_until(self.due.first()));
        loop {
            self.rearm(timer.as_mut());
            let drained = self.socket.is_drained();
            select! {
                biased;
                () = &mut ended => return admission.why(),
                happened = poll_fn(|cx| self.socket.poll(cx)) => match happened {
                    Happened::Drained => self.drained(admission),
                    Happened::Closed => return Reason::Closed,
                    Happened::Stalled => return Reason::Slow,
                    Happened::Broken(error) => {
                        tracing::debug!(%error, "a client broke the protocol");
                        return Reason::Protocol;
                    }
                },
                () = &mut timer => if let Some(reason) = self.time_passed() {
                    return reason;
                },
                read = self.reader.next_batch(self.limit), if drained => match read {
                    Ok(batch) => self.queue(batch),
                    Err(ReadError::Skipped(skipped)) => self.skipped(skipped),
                    Err(ReadError::Cancelled) => return Reason::Shutdown,
                    Err(error @ ReadError::Journal(_)) => {
                        tracing::error!(%error, "a client could not be served");
                        return Reason::Journal;
                    }
                },
            }
            self.hold_no_longer_than_allowed();
        }
    }

    /// Stops writing, lets go of the subsId, then says goodbye.
    async fn end(&mut self, reason: Reason, hub: &Hub) {
        self.forget();
        let position = self.socket.stop(FINISH).await;
        let unfinished = self.socket.queued() as u64;
        hub.events.inc_by(self.queued.saturating_sub(unfinished));
        self.batch = None;
        if let Feed::Sapi(feed) = &mut self.feed {
            feed.finish(position);
        }
        if let Some((code, text)) = last_words(reason) {
            timeout(CLOSING, self.socket.close(code, text)).await.ok();
        }
    }

    fn queue(&mut self, batch: Batch) {
        let before = self.queued;
        for event in batch.events() {
            if let Some(frame) = self.feed.frame(event) {
                self.socket.push(frame, event.offset());
                self.queued += 1;
            }
        }
        if self.queued > before {
            self.batch = Some(batch);
        } else {
            self.passed(false);
        }
    }

    /// Everything read so far has been handed to the kernel.
    fn drained(&mut self, admission: &Admission) {
        self.busy = true;
        // After a release, what was forgotten is read again: then this is not the whole batch.
        if self.batch.take().is_some() || self.queued == 0 {
            self.limit = LIMIT;
        }
        admission.hub.events.inc_by(self.queued);
        let said = self.queued > 0;
        self.queued = 0;
        self.passed(said);
    }

    fn passed(&mut self, said: bool) {
        let position = self.reader.position();
        self.socket.pass(position);
        if self.feed.written(position, said) {
            self.due
                .remind
                .get_or_insert_with(|| Instant::now() + OFTEN);
        } else if said {
            self.due.remind = None;
        }
    }

    fn skipped(&mut self, skipped: Skipped) {
        let position = self.reader.position();
        if let Some(frame) = self.feed.skipped(skipped, position) {
            self.socket.push(frame, position);
        }
    }

    fn time_passed(&mut self) -> Option<Reason> {
        let now = Instant::now();
        let over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if over(self.due.cut) {
            return Some(Reason::SessionLength);
        }
        if over(self.due.release) {
            self.release();
        }
        if over(self.due.remind) {
            self.due.remind = None;
            let offset = self.socket.written();
            if let Some(frame) = self
                .feed
                .remind(offset)
                .filter(|_| self.socket.is_drained())
            {
                self.socket.push(frame, offset);
            }
        }
        if self.due.heartbeat <= now {
            self.due.heartbeat = now + self.feed.heartbeat_period();
            let wanted = !std::mem::take(&mut self.busy) || self.feed.beats_when_busy();
            if wanted && self.socket.is_drained() {
                let offset = self.socket.written();
                match self.feed.heartbeat() {
                    Some(frame) => self.socket.push(frame, offset),
                    None => self.socket.push_ping(),
                }
            }
        }
        None
    }

    fn hold_no_longer_than_allowed(&mut self) {
        if self.batch.is_none() || !self.socket.is_refused() {
            self.due.release = None;
        } else if self.due.release.is_none() {
            self.due.release = Some(Instant::now() + HOLD);
        }
    }

    /// Lets go of everything but the frame under way; the rest is read again when the client reads.
    fn release(&mut self) {
        self.due.release = None;
        let position = self.forget();
        self.reader.seek(position);
        self.batch = None;
        self.limit = SLOW_LIMIT;
    }

    /// Forgets what waits behind the frame under way; returns where to go on reading.
    fn forget(&mut self) -> Offset {
        let before = self.socket.queued();
        let position = self.socket.forget_queue();
        let forgotten = before - self.socket.queued();
        self.queued = self.queued.saturating_sub(forgotten as u64);
        position
    }

    fn rearm(&self, mut timer: std::pin::Pin<&mut Sleep>) {
        let first = self.due.first();
        if timer.deadline() != first {
            timer.as_mut().reset(first);
        }
    }
}

/// The Close that a client is sent; `None`: it has gone.
fn last_words(reason: Reason) -> Option<(CloseCode, &'static str)> {
    match reason {
        Reason::Closed => None,
        Reason::Complete | Reason::SessionLength => Some((CloseCode::Normal, "")),
        Reason::Protocol => Some((
            CloseCode::Protocol,
            "not the WebSocket protocol, or too much",
        )),
        Reason::Slow => Some((
            CloseCode::Again,
            "too slow: connect again with the last cursor",
        )),
        Reason::Revoked => Some((CloseCode::Policy, "the token is no longer valid")),
        Reason::TakenOver => Some((CloseCode::Policy, "another connection has this subsId now")),
        Reason::Journal => Some((CloseCode::Error, "the journal could not be read")),
        Reason::Shutdown => Some((CloseCode::Away, "the relay stops")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waits_takes_little() {
        let parts = [
            size_of::<Serving>(),
            size_of::<Session>(),
            size_of::<Socket>(),
        ];
        assert!(
            size_of::<Serving>() <= 1024,
            "serving, session, socket: {parts:?}"
        );
    }
}

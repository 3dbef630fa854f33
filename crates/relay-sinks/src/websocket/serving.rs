//! The moving parts of one WebSocket client: its socket, its place in the bus, what is due when. It
//! decides what is written next, and does not know who drives it: the client's own task, or the
//! group that serves many at once.

use std::time::Duration;

use bytes::Bytes;
use relay_core::{Batch, Limit, Offset, Reader, Skipped};
use tokio::time::Instant;

use super::feed::Feed;
use super::group::Frames;
use super::hub::{Hub, Reason};
use super::socket::{Happened, Socket};
use super::wire::Wire;

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

/// What is due when.
#[derive(Debug)]
struct Due {
    heartbeat: Instant,
    remind: Option<Instant>,
    cut: Option<Instant>,
    release: Option<Instant>,
}

/// What became of events that were written straight to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handed {
    /// Events that the kernel has taken.
    pub(super) events: u64,
    /// Its own task has nothing to do: neither bytes that the kernel refused, nor a new time.
    pub(super) settled: bool,
}

/// A client while it is served.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) socket: Socket,
    pub(super) feed: Feed,
    pub(super) reader: Reader,
    due: Due,
    /// Kept while its frames wait: it is what bounds the memory of many clients.
    batch: Option<Batch>,
    /// Events queued since everything was last written.
    queued: u64,
    /// Something went out since the last heartbeat was due.
    busy: bool,
    pub(super) limit: Limit,
}

impl Serving {
    pub(super) fn new(wire: Wire, read: &Bytes, reader: Reader, feed: Feed) -> Self {
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

    /// When [`Serving::time_passed`] has something to do next.
    pub(super) fn next_due(&self) -> Instant {
        let others = [self.due.remind, self.due.cut, self.due.release];
        others
            .into_iter()
            .flatten()
            .fold(self.due.heartbeat, Instant::min)
    }

    /// Whether the client has everything that there is, so that what comes next can be written
    /// straight to its socket.
    pub(super) fn is_level(&self) -> bool {
        self.batch.is_none() && self.socket.is_straight() && self.reader.at_tail()
    }

    /// Queues the events of a batch that the client wants.
    pub(super) fn queue(&mut self, batch: Batch, hub: &Hub) {
        let before = self.queued;
        for event in batch.events() {
            if let Some(frame) = self.feed.wanted().frame(event, hub) {
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

    /// Writes a batch that follows straight to the socket: `frames` is what a client of this taste
    /// is given of it. What the kernel refuses is queued.
    pub(super) fn hand(&mut self, frames: &Frames, batch: &Batch) -> Handed {
        let position = self.reader.position();
        let mut handed = Handed {
            events: 0,
            settled: true,
        };
        if position >= batch.upto() {
            return handed;
        }
        let (bytes, frames) = frames.after(position);
        self.reader.seek(batch.upto());
        let written = self.socket.write_now(bytes);
        if written < bytes.len() {
            for (frame, upto) in frames {
                self.socket.push(frame.clone(), *upto);
            }
            self.socket.advance(written);
            self.queued += frames.len() as u64;
            self.batch = Some(batch.clone());
            handed.settled = false;
        } else {
            let said = !frames.is_empty();
            self.busy |= said;
            handed.events = frames.len() as u64;
            let due = self.due.remind;
            self.passed(said);
            handed.settled = self.due.remind == due || self.due.remind.is_none();
        }
        handed
    }

    /// Takes in what happened on the socket; a reason: the client leaves.
    pub(super) fn happened(&mut self, happened: Happened, hub: &Hub) -> Option<Reason> {
        match happened {
            // A group may have queued more since it happened.
            Happened::Drained if !self.socket.is_drained() => {}
            Happened::Drained => self.drained(hub),
            Happened::Refused if self.batch.is_some() => {
                self.due.release = Some(Instant::now() + HOLD);
            }
            Happened::Refused => {}
            Happened::Closed => return Some(Reason::Closed),
            Happened::Stalled => return Some(Reason::Slow),
            Happened::Broken(error) => {
                tracing::debug!(%error, "a client broke the protocol");
                return Some(Reason::Protocol);
            }
        }
        None
    }

    /// Everything read so far has been handed to the kernel.
    fn drained(&mut self, hub: &Hub) {
        self.busy = true;
        self.due.release = None;
        // After a release, what was forgotten is read again: then this is not the whole batch.
        if self.batch.take().is_some() || self.queued == 0 {
            self.limit = LIMIT;
        }
        hub.events.inc_by(self.queued);
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

    /// Queues what is said of events that are gone.
    pub(super) fn skipped(&mut self, skipped: Skipped) {
        let position = self.reader.position();
        if let Some(frame) = self.feed.skipped(skipped, position) {
            self.socket.push(frame, position);
        }
    }

    /// Does what is due; a reason: the client leaves.
    pub(super) fn time_passed(&mut self) -> Option<Reason> {
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
            let (offset, free) = (self.socket.written(), self.socket.is_drained());
            if let Some(frame) = self.feed.remind(offset, free) {
                self.socket.push(frame, offset);
            }
        }
        if self.due.heartbeat <= now {
            self.due.heartbeat = now + self.feed.heartbeat_period();
            self.beat();
        }
        None
    }

    fn beat(&mut self) {
        let wanted = !std::mem::take(&mut self.busy) || self.feed.beats_when_busy();
        if wanted && self.socket.is_drained() {
            let offset = self.socket.written();
            match self.feed.heartbeat() {
                Some(frame) => self.socket.push(frame, offset),
                None => self.socket.push_ping(),
            }
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

    /// Stops writing, at the end of the frame under way if the client takes that in time, and lets
    /// go of its place.
    pub(super) async fn stop(&mut self, patience: Duration, hub: &Hub) {
        self.forget();
        let position = self.socket.stop(patience).await;
        let unfinished = self.socket.queued() as u64;
        hub.events.inc_by(self.queued.saturating_sub(unfinished));
        self.batch = None;
        self.feed.finish(position);
    }
}

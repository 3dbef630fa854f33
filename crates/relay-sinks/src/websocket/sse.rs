//! `/v1/events`: the stream as server-sent events. hyper asks for the next chunk when the client
//! has taken the last one; between chunks nothing of the bus is held.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use relay_core::{Batch, From, Limit, Offset, ReadError, Reader, Skipped};
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::budget::Room;
use super::frame::{event_frame, payload, sse_event, sse_id};
use super::http::Body;
use super::hub::{Admission, Reason};
use super::notice::Personal;
use super::query::Wish;

/// What is taken from the bus for one chunk.
const LIMIT: Limit = Limit {
    events: 128,
    bytes: 64 * 1024,
};
/// A stream that says nothing says its cursor so often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// And with `progress=true` so often, while a filter passes nothing.
const PROGRESS: Duration = Duration::from_secs(1);
/// When a client should connect again, in milliseconds.
const RETRY: &str = "retry: 1000\n";

/// One client of `/v1/events`.
struct Events {
    admission: Admission,
    reader: Reader,
    wish: Wish,
    /// What goes out first.
    greeting: Option<Vec<u8>>,
    /// What the client has been told lies behind it.
    told: Offset,
}

/// The body of `/v1/events`.
///
/// # Errors
/// The journal could not be read to find a time.
pub(super) async fn open(admission: Admission, wish: Wish) -> Result<Body, ReadError> {
    let bus = &admission.hub.bus;
    let (reader, unmet) = bus.reader(wish.from.unwrap_or(From::Now)).await?;
    let position = bus.cursor(reader.position());
    let mut greeting = RETRY.as_bytes().to_vec();
    sse_id(&mut greeting, position);
    if let Some(unmet) = unmet {
        let notice = Personal::unmet(unmet, position, &admission.hub.config.tenant);
        sse_event(&mut greeting, position, "notice", &notice.write(wish.shape));
    }
    let told = reader.position();
    let events = Events {
        admission,
        reader,
        wish,
        greeting: Some(greeting),
        told,
    };
    let chunks = unfold(events, |mut events| async move {
        let chunk = events.next().await?;
        Some((Ok::<_, io::Error>(Frame::data(chunk)), events))
    });
    Ok(StreamBody::new(chunks).boxed_unsync())
}

impl Events {
    /// The next chunk; `None`: the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.into());
        }
        let started = Instant::now();
        let mut room = None;
        loop {
            let before = self.reader.position();
            let unsaid = self.wish.progress && self.told < self.reader.position();
            let heartbeat = started + if unsaid { PROGRESS } else { HEARTBEAT };
            select! {
                biased;
                () = self.admission.end.cancelled() => {
                    self.admission.leaves(self.admission.why());
                    return None;
                }
                read = self.reader.next_batch(LIMIT) => match read {
                    Ok(batch) => match self.chunk(&batch, room.take()) {
                        Ok(Some(chunk)) => return Some(chunk),
                        Ok(None) if Instant::now() >= heartbeat => return Some(self.heartbeat()),
                        Ok(None) => {}
                        Err(large) => {
                            // While it waits, nothing is held; the event is read again.
                            drop(batch);
                            self.reader.seek(before);
                            room = Some(self.admission.room(large).await?);
                        }
                    },
                    Err(ReadError::Skipped(skipped)) => return Some(self.skipped(skipped)),
                    Err(_unreadable) => {
                        self.admission.leaves(Reason::Journal);
                        return None;
                    }
                },
                () = sleep_until(heartbeat) => return Some(self.heartbeat()),
            }
        }
    }

    /// The next chunk of a batch, if the client wants something of it. The error: its next event is
    /// large, and there has to be so much room first.
    fn chunk(&mut self, batch: &Batch, room: Option<Room>) -> Result<Option<Bytes>, usize> {
        let hub = std::sync::Arc::clone(&self.admission.hub);
        if room.is_none() {
            let (chunk, count, _) = self.write(batch, usize::MAX);
            if let Ok(chunk) = hub.budget.take(chunk) {
                return Ok(self.given(chunk, count));
            }
        }
        // One event at a time; the rest is read again.
        let (chunk, count, last) = self.write(batch, 1);
        let chunk = hub.budget.alone(chunk, room)?;
        self.reader.seek(last);
        Ok(self.given(chunk, count))
    }

    fn given(&mut self, chunk: Bytes, count: u64) -> Option<Bytes> {
        if count == 0 {
            return None;
        }
        self.admission.hub.events.inc_by(count);
        self.told = self.reader.position();
        Some(chunk)
    }

    /// So many events of a batch that the client wants: how many, and the last of them.
    fn write(&self, batch: &Batch, most: usize) -> (Vec<u8>, u64, Offset) {
        let hub = &self.admission.hub;
        let (mut chunk, mut count, mut last) = (Vec::new(), 0, batch.upto());
        let wanted = batch.events().filter(|it| self.wish.select.passes(it));
        for event in wanted.take(most) {
            let frame = event_frame(event, self.wish.shape, &hub.source);
            let head = event.head();
            let event_type = match event.kind() {
                relay_core::Kind::Notice => "notice",
                relay_core::Kind::Event | relay_core::Kind::Sighting => head.event_type,
            };
            last = event.offset();
            let cursor = hub.bus.cursor(last);
            sse_event(&mut chunk, cursor, event_type, payload(frame));
            count += 1;
        }
        (chunk, count, last)
    }

    fn skipped(&self, skipped: Skipped) -> Bytes {
        let hub = &self.admission.hub;
        let position = hub.bus.cursor(self.reader.position());
        let notice = Personal::skipped(skipped, position, &hub.config.tenant);
        let mut chunk = Vec::new();
        sse_event(
            &mut chunk,
            position,
            "notice",
            &notice.write(self.wish.shape),
        );
        chunk.into()
    }

    fn heartbeat(&mut self) -> Bytes {
        self.told = self.reader.position();
        let mut chunk = Vec::new();
        sse_id(&mut chunk, self.admission.hub.bus.cursor(self.told));
        chunk.into()
    }
}

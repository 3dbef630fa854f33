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
        loop {
            let unsaid = self.wish.progress && self.told < self.reader.position();
            let heartbeat = started + if unsaid { PROGRESS } else { HEARTBEAT };
            select! {
                biased;
                () = self.admission.end.cancelled() => {
                    self.admission.leaves(self.admission.why());
                    return None;
                }
                read = self.reader.next_batch(LIMIT) => match read {
                    Ok(batch) => match self.chunk(&batch) {
                        Some(chunk) => return Some(chunk),
                        None if Instant::now() >= heartbeat => return Some(self.heartbeat()),
                        None => {}
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

    fn chunk(&mut self, batch: &Batch) -> Option<Bytes> {
        let hub = std::sync::Arc::clone(&self.admission.hub);
        let (chunk, count, _) = self.write(batch, usize::MAX);
        if count == 0 {
            return None;
        }
        let (chunk, count) = match hub.budget.take(chunk) {
            Ok(chunk) => (chunk, count),
            Err(_too_much) => {
                // One event at a time goes whatever others hold; the rest is read again.
                let (chunk, count, last) = self.write(batch, 1);
                self.reader.seek(last);
                (chunk.into(), count)
            }
        };
        hub.events.inc_by(count);
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

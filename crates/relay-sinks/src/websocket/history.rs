//! `/v1/history`: what the journal keeps, as lines of CloudEvents JSON, streamed as the client
//! takes it.

use std::io;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use relay_core::{Batch, Bus, From, Limit, Offset, ReadError, Reader, Skipped, cloudevents};

use super::budget::Room;
use super::frame::Shape;
use super::http::Body;
use super::hub::{Admission, Reason};
use super::notice::Personal;
use super::query::Wish;

/// What is read for one chunk, and so what a client that is slow to take it holds of memory.
const LIMIT: Limit = Limit {
    events: 1024,
    bytes: 64 * 1024,
};
const SHAPE: Shape = Shape::CloudEvents;

/// One client of `/v1/history`.
struct History {
    admission: Admission,
    reader: Reader,
    wish: Wish,
    /// The last offset that is wanted.
    until: Offset,
    left: u64,
    greeting: Option<Vec<u8>>,
}

/// The body of `/v1/history`.
///
/// # Errors
/// The journal could not be read to find a time.
pub(super) async fn open(admission: Admission, wish: Wish) -> Result<Body, ReadError> {
    let bus = &admission.hub.bus;
    let until = until(bus, wish.until).await?;
    let (reader, unmet) = bus.reader(wish.from.unwrap_or(From::Earliest)).await?;
    let greeting = unmet.map(|unmet| {
        let position = bus.cursor(reader.position());
        line(&Personal::unmet(
            unmet,
            position,
            &admission.hub.config.tenant,
        ))
    });
    let left = wish.limit.unwrap_or(u64::MAX);
    let history = History {
        admission,
        reader,
        wish,
        until,
        left,
        greeting,
    };
    let chunks = unfold(history, |mut history| async move {
        let chunk = history.next().await.transpose()?;
        Some((chunk.map(Frame::data), history))
    });
    Ok(StreamBody::new(chunks).boxed_unsync())
}

/// The last offset that is wanted: up to a cursor, before a time, or all that there is now.
async fn until(bus: &Bus, until: Option<From>) -> Result<Offset, ReadError> {
    match until {
        None | Some(From::Now) => Ok(bus.last()),
        Some(From::After(cursor)) if cursor.epoch == bus.epoch() => {
            Ok(cursor.offset.min(bus.last()))
        }
        // A cursor of another journal: nothing of this one lies before it.
        Some(From::Earliest | From::After(_)) => Ok(Offset(0)),
        Some(from @ From::Time(_)) => Ok(bus.resolve(from).await?.0),
    }
}

fn line(notice: &Personal) -> Vec<u8> {
    let mut line = notice.write(SHAPE);
    line.push(b'\n');
    line
}

impl History {
    /// The next chunk; `None`: that was all. An error breaks the body off, so that the client
    /// does not take what it has for the whole.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(greeting) = self.greeting.take() {
            return Ok(Some(greeting.into()));
        }
        let hub = std::sync::Arc::clone(&self.admission.hub);
        let mut room = None;
        while self.left > 0 && self.reader.position() < self.until {
            let before = self.reader.position();
            if self.admission.client.gone.is_cancelled() && !hub.stop.is_cancelled() {
                self.admission.leaves(Reason::Revoked);
                return Err(io::Error::other("the token is no longer valid"));
            }
            match self.reader.ready_batch(LIMIT).await {
                Ok(None) => break,
                Ok(Some(batch)) => match self.chunk(&batch, room.take()) {
                    Ok(Some(chunk)) => return Ok(Some(chunk)),
                    Ok(None) => {}
                    Err(large) => {
                        // While it waits, nothing is held; the event is read again.
                        drop(batch);
                        self.reader.seek(before);
                        room = Some(self.room(large).await?);
                    }
                },
                Err(ReadError::Skipped(skipped)) => return Ok(Some(self.skipped(skipped))),
                Err(error) => {
                    self.admission.leaves(Reason::Journal);
                    return Err(io::Error::other(error));
                }
            }
        }
        self.admission.leaves(Reason::Complete);
        Ok(None)
    }

    async fn room(&mut self, size: usize) -> io::Result<Room> {
        let room = self.admission.room(size).await;
        room.ok_or_else(|| io::Error::other("no room for a large event"))
    }

    /// The next chunk of a batch, if the client wants something of it. The error: its next event is
    /// large, and there has to be so much room first.
    fn chunk(&mut self, batch: &Batch, room: Option<Room>) -> Result<Option<Bytes>, usize> {
        let hub = std::sync::Arc::clone(&self.admission.hub);
        if room.is_none() {
            let (chunk, count, _) = self.write(batch, self.left);
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
        self.left -= count;
        self.admission.hub.events.inc_by(count);
        (count > 0).then_some(chunk)
    }

    /// So many events of a batch that the client wants: how many, and the last of them.
    fn write(&self, batch: &Batch, most: u64) -> (Vec<u8>, u64, Offset) {
        let (mut chunk, mut count, mut last) = (Vec::new(), 0, batch.upto());
        for event in batch.events() {
            if count == most || event.offset() > self.until {
                break;
            }
            if self.wish.select.passes(event) {
                cloudevents::structured(event, &self.admission.hub.source, &mut chunk);
                chunk.push(b'\n');
                last = event.offset();
                count += 1;
            }
        }
        (chunk, count, last)
    }

    fn skipped(&self, skipped: Skipped) -> Bytes {
        let hub = &self.admission.hub;
        let position = hub.bus.cursor(self.reader.position());
        line(&Personal::skipped(skipped, position, &hub.config.tenant)).into()
    }
}

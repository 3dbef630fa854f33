//! A reader: a position in the bus, and the batches that follow it.

use std::ops::Range;
use std::sync::Arc;

use relay_journal::Offset;
use tokio::sync::watch;

use crate::bus::{Bus, Group};
use crate::event::Event;

/// How much a batch may hold. At least one event is always given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Bytes, as they stand in memory.
    pub bytes: usize,
}

/// Events that a reader can never be given any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first offset that is missing.
    pub from: Offset,
    /// The last one that is missing.
    pub to: Offset,
    /// Damage on disk rather than retention.
    pub damaged: bool,
}

/// Why no batch was given.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention overtook the reader, or the disk is damaged there. The reader has already moved on.
    #[error("events {} to {} are no longer there", .0.from, .0.to)]
    Skipped(Skipped),
    /// The journal could not be read.
    #[error("reading the journal")]
    Journal(#[from] relay_journal::ReadError),
    /// The runtime stops.
    #[error("the relay stops")]
    Cancelled,
}

#[derive(Clone, Debug)]
struct Slice {
    group: Arc<Group>,
    range: Range<usize>,
}

/// Consecutive events. It keeps their buffers alive: hold it no longer than needed, and never while
/// waiting for a slow peer.
#[derive(Clone, Debug)]
pub struct Batch {
    slices: Vec<Slice>,
    upto: Offset,
}

impl Batch {
    /// The events, in journal order. May be empty: [`Batch::upto`] moves all the same.
    pub fn events(&self) -> impl Iterator<Item = &Event> + Clone {
        self.slices
            .iter()
            .flat_map(|s| s.group.events.get(s.range.clone()).unwrap_or_default())
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.range.len()).sum()
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| slice.range.is_empty())
    }

    /// The last offset that lies behind this batch, records that are never delivered included.
    pub fn upto(&self) -> Offset {
        self.upto
    }

    /// Gives back the share of the replay budget that reading it took, so that a destination that
    /// keeps a batch waiting never keeps other readers waiting. For a holder that bounds what it
    /// holds in bytes, as a worker does.
    pub(crate) fn release(&self) {
        self.slices.iter().for_each(|slice| slice.group.release());
    }

    /// Parts what may be handed over now from the rest: events up to and with `end`, within the limit.
    /// No event at all if the first lies behind `end`; else one at least.
    pub(crate) fn split(self, limit: Limit, end: Offset) -> (Self, Option<Self>) {
        let (mut count, mut bytes) = (0, 0);
        let first = self.events().take_while(|event| {
            bytes += event.size();
            let fits = count == 0 || (count < limit.events && bytes <= limit.bytes);
            count += 1;
            fits && event.offset() <= end
        });
        let mut left = first.count();
        let Some(next) = self.events().nth(left).map(Event::offset) else {
            return (self, None);
        };
        let (mut front, mut rest) = (Vec::new(), Vec::new());
        for Slice { group, range } in self.slices {
            let middle = range.start + left.min(range.len());
            left -= middle - range.start;
            if middle > range.start {
                front.push(Slice {
                    group: Arc::clone(&group),
                    range: range.start..middle,
                });
            }
            if middle < range.end {
                rest.push(Slice {
                    group,
                    range: middle..range.end,
                });
            }
        }
        // What lies between them is never delivered.
        let front = Self {
            slices: front,
            upto: end.min(Offset(next.0.saturating_sub(1))),
        };
        let rest = Self {
            slices: rest,
            upto: self.upto,
        };
        (front, Some(rest))
    }

    /// All of a group.
    pub(crate) fn whole(group: Option<Arc<Group>>, upto: Offset) -> Self {
        let slices = group.into_iter().map(|group| Slice {
            range: 0..group.events.len(),
            group,
        });
        Self {
            slices: slices.collect(),
            upto,
        }
    }

    /// Takes what follows `position` out of groups, up to the limit.
    fn cut(groups: Vec<Arc<Group>>, position: Offset, limit: Limit) -> Option<Self> {
        let mut batch = Self {
            slices: Vec::with_capacity(groups.len()),
            upto: position,
        };
        let (mut count, mut bytes) = (0, 0);
        for group in groups {
            let start = group
                .events
                .partition_point(|event| event.offset() <= position);
            let taken = group.events.iter().skip(start).take_while(|event| {
                let fits =
                    count == 0 || (count < limit.events && bytes + event.size() <= limit.bytes);
                count += usize::from(fits);
                bytes += event.size();
                fits
            });
            let end = start + taken.count();
            let whole = end == group.events.len();
            let last = end.checked_sub(1).and_then(|last| group.events.get(last));
            batch.upto = if whole {
                group.last
            } else {
                last.map_or(batch.upto, Event::offset)
            };
            batch.slices.push(Slice {
                group,
                range: start..end,
            });
            if !whole {
                break;
            }
        }
        (batch.upto > position).then_some(batch)
    }
}

/// A position in the bus that moves on.
#[derive(Debug)]
pub struct Reader {
    bus: Bus,
    position: Offset,
    last: watch::Receiver<Offset>,
}

impl Reader {
    pub(crate) fn new(bus: Bus, position: Offset, last: watch::Receiver<Offset>) -> Self {
        Self {
            bus,
            position,
            last,
        }
    }

    /// The last offset behind the reader.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Moves the reader: it goes on after `position`.
    pub fn seek(&mut self, position: Offset) {
        self.position = position;
    }

    /// The bus it reads.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Whether everything that is durable lies behind the reader.
    pub fn at_tail(&self) -> bool {
        self.position >= *self.last.borrow()
    }

    /// The next batch, waiting for one. Cancel safe: a batch is either returned or still ahead.
    ///
    /// # Errors
    /// [`ReadError::Skipped`] once for each range that is gone; the next call goes on behind it.
    pub async fn next_batch(&mut self, limit: Limit) -> Result<Batch, ReadError> {
        loop {
            if let Some(batch) = self.ready_batch(limit).await? {
                return Ok(batch);
            }
            let position = self.position;
            let newer = self.last.wait_for(|last| *last > position).await;
            newer.ok().ok_or(ReadError::Cancelled)?;
        }
    }

    /// The next batch if there is one now; `None` at the tail. Waits for the disk only. Cancel safe.
    ///
    /// # Errors
    /// As [`Reader::next_batch`].
    pub async fn ready_batch(&mut self, limit: Limit) -> Result<Option<Batch>, ReadError> {
        if self.at_tail() {
            return Ok(None);
        }
        let batch = match self.bus.tail_after(self.position, limit) {
            Some(groups) => Batch::cut(groups, self.position, limit),
            None => match self.bus.read_back(self.position, limit.bytes).await {
                Ok(group) => Batch::cut(group.into_iter().collect(), self.position, limit),
                Err(error) => return Err(self.step_over(error)),
            },
        };
        if let Some(batch) = &batch {
            self.position = batch.upto;
        }
        Ok(batch)
    }

    /// Moves behind a range that is gone.
    fn step_over(&mut self, error: ReadError) -> ReadError {
        let (next, damaged) = match &error {
            ReadError::Journal(relay_journal::ReadError::Trimmed { first }) => (*first, false),
            ReadError::Journal(relay_journal::ReadError::Damaged { next }) => (*next, true),
            ReadError::Journal(_) | ReadError::Skipped(_) | ReadError::Cancelled => return error,
        };
        let (from, to) = (self.position.next(), Offset(next.0.saturating_sub(1)));
        self.position = to.max(self.position);
        ReadError::Skipped(Skipped { from, to, damaged })
    }
}

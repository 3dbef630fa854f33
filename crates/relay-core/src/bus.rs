//! The bus: the journal with a bounded tail of it in memory, shared by every reader.
//!
//! A reader is a position. It is served from the tail if its position is there, from the journal if
//! it is behind; nobody has a queue. Only intake publishes, and only what is durable.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use relay_journal::{Committed, Epoch, Log, Offset, Read, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task;

use crate::cursor::{Cursor, From};
use crate::event::{Event, Meter};
use crate::reader::{Batch, Limit, ReadError, Reader};

/// What batches read back from the journal may hold in memory at once, all readers together: half of
/// the bus's memory, within these bounds.
const REPLAY: RangeInclusive<usize> = 1 << 20..=32 << 20;

/// Events that became durable together, or were read back together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) events: Vec<Event>,
    pub(crate) last: Offset,
    bytes: usize,
    meter: Arc<Meter>,
    /// The share of the replay budget, for a group read back from the journal, until its reader
    /// answers for the memory itself.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Group {
    /// `spare`: what the records' buffer takes beyond them.
    fn new(
        records: Vec<Record>,
        spare: usize,
        meter: &Arc<Meter>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        let last = records.last()?.offset();
        let events: Vec<_> = records
            .into_iter()
            .filter_map(|r| Event::read(r, meter))
            .collect();
        // A group without an event takes memory as well.
        let bytes = size_of::<Self>() + spare + events.iter().map(Event::size).sum::<usize>();
        meter.add(bytes);
        Some(Self {
            events,
            last,
            bytes,
            meter: Arc::clone(meter),
            permit: Mutex::new(permit),
        })
    }

    /// Gives the replay budget back: whoever holds the group bounds what it holds.
    pub(crate) fn release(&self) {
        drop(
            self.permit
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.meter.sub(self.bytes);
    }
}

#[derive(Debug)]
struct Tail {
    groups: VecDeque<Arc<Group>>,
    /// The first offset that the tail holds; the next one if it is empty.
    first: Offset,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    tail: RwLock<Tail>,
    memory: usize,
    meter: Arc<Meter>,
    replay_meter: Arc<Meter>,
    /// The replay budget, in KiB.
    replay: Arc<Semaphore>,
    replay_kib: u32,
    last: watch::Sender<Offset>,
}

/// The bus. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Inner>);

/// A starting point that could not be met as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Retention has passed the cursor: reading starts at the oldest event.
    TooOld {
        /// The first offset that is missing.
        from: Offset,
        /// The last one that is missing.
        to: Offset,
    },
    /// The cursor is of another journal: reading starts at the oldest event.
    ForeignEpoch,
    /// The cursor lies in the future of this journal: reading starts at the tail.
    Future,
}

impl Bus {
    /// A bus over a journal, holding at most about `memory` bytes: its tail, what readers have had encoded of it,
    /// and what they have read back from the journal, which takes up to half of it from the tail.
    pub fn new(log: Log, memory: usize) -> Self {
        let (last, _) = watch::channel(log.last());
        let tail = Tail {
            groups: VecDeque::new(),
            first: log.next(),
        };
        let replay_kib = (memory / 2).clamp(*REPLAY.start(), *REPLAY.end()) / 1024;
        Self(Arc::new(Inner {
            tail: RwLock::new(tail),
            log,
            memory,
            meter: Arc::default(),
            replay_meter: Arc::default(),
            replay: Arc::new(Semaphore::new(replay_kib)),
            replay_kib: u32::try_from(replay_kib).unwrap_or(u32::MAX),
            last,
        }))
    }

    /// Makes durable records visible, in the order of their offsets, and shows their events. Intake's alone.
    pub fn publish(&self, committed: Committed) -> Option<Batch> {
        let Committed { records, spare, .. } = committed;
        let group = Arc::new(Group::new(records, spare, &self.0.meter, None)?);
        let last = group.last;
        {
            let mut tail = self.0.tail.write().unwrap_or_else(PoisonError::into_inner);
            tail.groups.push_back(Arc::clone(&group));
            self.trim(&mut tail);
        }
        self.0.last.send_replace(last);
        Some(Batch::whole(Some(group), last))
    }

    /// Lets the oldest groups go until the tail is within its memory, but for the last group.
    fn trim(&self, tail: &mut Tail) {
        while self.is_beyond() && tail.groups.len() > 1 {
            let Some(oldest) = tail.groups.pop_front() else {
                break;
            };
            tail.first = oldest.last.next();
        }
    }

    fn is_beyond(&self) -> bool {
        let Inner { memory, .. } = *self.0;
        // Beyond half, what is read back is others' to bound: a worker answers for what it holds.
        let replay = self.0.replay_meter.bytes().min(memory / 2);
        self.0.meter.bytes() + replay > memory
    }

    /// The journal's epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.log.epoch()
    }

    /// The last durable offset.
    pub fn last(&self) -> Offset {
        *self.0.last.borrow()
    }

    /// The first offset of the journal.
    pub fn first(&self) -> Offset {
        self.0.log.first()
    }

    /// The first offset that is served from memory.
    pub fn memory_first(&self) -> Offset {
        self.0
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .first
    }

    /// Bytes held in memory: the tail, and what readers still hold of it.
    pub fn memory_bytes(&self) -> usize {
        self.0.meter.bytes() + self.0.replay_meter.bytes()
    }

    /// The journal below.
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// A cursor of this journal.
    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor {
            epoch: self.epoch(),
            offset,
        }
    }

    /// A reader that starts at `from`, and what of the wish could not be met.
    ///
    /// # Errors
    /// The journal could not be read to find a time.
    pub async fn reader(&self, from: From) -> Result<(Reader, Option<Unmet>), ReadError> {
        let (position, unmet) = self.resolve(from).await?;
        Ok((self.reader_after(position), unmet))
    }

    /// A reader of the events after an offset of this journal.
    pub fn reader_after(&self, position: Offset) -> Reader {
        Reader::new(self.clone(), position, self.0.last.subscribe())
    }

    /// The offset after which reading from `from` starts, and what of the wish could not be met.
    ///
    /// # Errors
    /// The journal could not be read to find a time.
    pub async fn resolve(&self, from: From) -> Result<(Offset, Option<Unmet>), ReadError> {
        let before = |offset: Offset| Offset(offset.0.saturating_sub(1));
        let first = self.first();
        match from {
            From::Now => Ok((self.last(), None)),
            From::Earliest => Ok((before(first), None)),
            From::Time(time_ms) => {
                let log = self.0.log.clone();
                let found = task::spawn_blocking(move || log.offset_at(time_ms)).await;
                Ok((before(found.ok().ok_or(ReadError::Cancelled)?), None))
            }
            From::After(cursor) if cursor.epoch != self.epoch() => {
                Ok((before(first), Some(Unmet::ForeignEpoch)))
            }
            From::After(Cursor { offset, .. }) if offset > self.last() => {
                Ok((self.last(), Some(Unmet::Future)))
            }
            From::After(Cursor { offset, .. }) if offset.next() < first => {
                let missing = Unmet::TooOld {
                    from: offset.next(),
                    to: before(first),
                };
                Ok((before(first), Some(missing)))
            }
            From::After(Cursor { offset, .. }) => Ok((offset, None)),
        }
    }

    /// The groups of the tail after `position`, up to the limit. `None`: not in memory.
    pub(crate) fn tail_after(&self, position: Offset, limit: Limit) -> Option<Vec<Arc<Group>>> {
        // What readers have had encoded takes room as well, also when nothing is published any more.
        if self.is_beyond()
            && let Ok(mut tail) = self.0.tail.try_write()
        {
            self.trim(&mut tail);
        }
        let tail = self.0.tail.read().unwrap_or_else(PoisonError::into_inner);
        if position.next() < tail.first {
            return None;
        }
        let start = tail.groups.partition_point(|group| group.last <= position);
        let (mut events, mut bytes) = (0, 0);
        let within = |group: &&Arc<Group>| {
            let more = events < limit.events && bytes < limit.bytes;
            events += group.events.len();
            bytes += group.bytes;
            more
        };
        Some(
            tail.groups
                .range(start..)
                .take_while(within)
                .map(Arc::clone)
                .collect(),
        )
    }

    /// A batch of records from elsewhere than the journal, in the order given; `upto` is where the
    /// reader stands. Those that are no events are left out.
    pub(crate) fn foreign_batch(&self, records: Vec<Record>, upto: Offset) -> Batch {
        let group = Group::new(records, 0, &self.0.replay_meter, None);
        Batch::whole(group.map(Arc::new), upto)
    }

    /// Reads back from the journal what follows `position`, within the replay budget.
    pub(crate) async fn read_back(
        &self,
        position: Offset,
        bytes: usize,
    ) -> Result<Option<Arc<Group>>, ReadError> {
        // Several can read at once, whatever each of them would like.
        let mut bytes = bytes.min(self.0.replay_kib as usize * 1024 / 4);
        loop {
            let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            let kib = kib.clamp(4, self.0.replay_kib);
            let permit = Arc::clone(&self.0.replay).acquire_many_owned(kib).await;
            let permit = permit.ok().ok_or(ReadError::Cancelled)?;
            let (log, meter) = (self.0.log.clone(), Arc::clone(&self.0.replay_meter));
            let read = task::spawn_blocking(move || {
                Ok(match log.read_within(position.next(), bytes)? {
                    Read::Records(records) => {
                        Ok(Group::new(records, 0, &meter, Some(permit)).map(Arc::new))
                    }
                    Read::Larger(bytes) => Err(bytes),
                })
            });
            match read.await.ok().ok_or(ReadError::Cancelled)? {
                Ok(Err(larger)) => bytes = larger,
                Ok(Ok(group)) => return Ok(group),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;

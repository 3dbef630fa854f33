//! The one writer: commits groups, rolls segments, and starts anew on another segment when the disk
//! has failed. It does not know what it writes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::ids::Offset;
use crate::record::{self, Record};

use super::error::{CommitError, is_full};
use super::format::{DATA_START, Join, SegmentHeader, TAIL};
use super::group::Group;
use super::index::{Entry, Index};
use super::inner::{Log, lock};
use super::options::LogOptions;
use super::reserve::Reserve;
use super::seal::{finish, seal};
use super::survey::segment_path;
use super::view::{Live, Segment};

const BLOCK: u64 = 4096;
/// The most that a new group's buffer takes at once on the strength of the one before.
const BUFFER_MAX: usize = 256 * 1024;

/// A group that is durable.
#[derive(Debug)]
pub struct Committed {
    /// Its records, slices of the group's own buffer.
    pub records: Vec<Record>,
    /// The first record's offset.
    pub first: Offset,
    /// The last record's offset.
    pub last: Offset,
    /// How long the write and the sync took.
    pub elapsed: Duration,
}

/// The only one who writes a log. It holds the lock of the log's directory; dropping it is like
/// `kill -9`, [`Writer::close`] saves the next start some reading.
#[derive(Debug)]
pub struct Writer {
    log: Log,
    options: LogOptions,
    reserve: Reserve,
    active: Option<Active>,
    /// The last group's bookkeeping, used again.
    entries: Vec<Entry>,
    group_bytes: usize,
    _lock: File,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    file: Arc<File>,
    opened: Instant,
    capacity: u64,
    /// Where the next group goes.
    end: u64,
}

impl Writer {
    pub(super) fn new(log: Log, options: LogOptions, reserve: Reserve, lock: File) -> Self {
        let entries = Vec::new();
        Self {
            log,
            options,
            reserve,
            active: None,
            entries,
            group_bytes: 0,
            _lock: lock,
        }
    }

    /// Begins a group. Commit or drop it before the next is begun: its offsets are the next ones.
    pub fn begin(&mut self) -> Group {
        let (next, last_time) = {
            let view = self.log.0.view();
            (view.next, view.last_time)
        };
        let entries = std::mem::take(&mut self.entries);
        Group::new(next, last_time, entries, self.group_bytes.min(BUFFER_MAX))
    }

    /// Makes a group durable, with one write and one sync, and then visible to readers.
    ///
    /// # Errors
    /// Nothing of the group is visible, and it comes back to be committed again: see [`CommitError`].
    pub fn commit(&mut self, group: Group) -> Result<Committed, CommitError> {
        let started = Instant::now();
        if group.is_empty() && !group.oversize {
            let (first, last) = (group.first, group.first.before());
            return Ok(Committed {
                records: Vec::new(),
                first,
                last,
                elapsed: Duration::ZERO,
            });
        }
        if group.oversize || group.first != self.log.next() {
            return Err(CommitError::Io(group, io::ErrorKind::InvalidInput.into()));
        }
        let bytes = group.bytes() as u64;
        if let Err(error) = self.make_room(bytes) {
            return Err(CommitError::of(group, error));
        }
        if let Err(error) = self.write(&group.buffer) {
            return Err(CommitError::of(group, error));
        }
        {
            let mut view = self.log.0.view_mut();
            if let Some(segment) = view.segments.back_mut() {
                segment.extend(&group.entries, bytes, group.next);
            }
            (view.next, view.last) = (group.next, group.next.before());
            (view.last_time, view.join) = (group.last_time, Join::Close);
        }
        let elapsed = started.elapsed();
        let (first, last) = (group.first, group.next.before());
        Ok(Committed {
            records: self.freeze(group),
            first,
            last,
            elapsed,
        })
    }

    /// Closes the active segment if it has reached its age, so that it can be trimmed although
    /// nothing more is committed. `true`: it was closed.
    pub fn roll_if_old(&mut self) -> io::Result<bool> {
        let old = |active: &Active| active.opened.elapsed() >= self.options.segment_age;
        if !self.active.as_ref().is_some_and(old) {
            return Ok(false);
        }
        self.seal_active()?;
        Ok(true)
    }

    /// Gives some of the reserve back to the volume, and says how many bytes: none if it is used up.
    pub fn use_reserve(&mut self) -> io::Result<u64> {
        self.reserve.release(&self.log.0.volume)
    }

    /// Takes the reserve again, if there is room for it and half as much besides. `true`: it is whole.
    pub fn refill_reserve(&mut self) -> io::Result<bool> {
        self.reserve.refill(&self.log.0.volume)
    }

    /// How many bytes are held in reserve.
    pub fn reserve_left(&self) -> u64 {
        self.reserve.left()
    }

    /// Seals the active segment and lets go of the lock.
    ///
    /// # Errors
    /// The segment could not be sealed. What was committed is durable all the same.
    pub fn close(mut self) -> io::Result<()> {
        self.seal_active()
    }

    /// The group's records as slices of its buffer, which is not copied.
    fn freeze(&mut self, mut group: Group) -> Vec<Record> {
        self.entries = std::mem::take(&mut group.entries);
        self.group_bytes = group.buffer.len();
        // The bus keeps the buffer for long: what it grew too much goes back.
        if group.buffer.capacity() - group.buffer.len() > group.buffer.len() / 8 {
            group.buffer.shrink_to_fit();
        }
        let buffer = Bytes::from(group.buffer);
        let mut records = Vec::with_capacity(self.entries.len());
        let mut at = 0;
        while let Some((record, end)) = record::view(&buffer, at) {
            records.push(record);
            at = end;
        }
        records
    }

    /// Sees to it that the active segment has room for a group, and for its footer.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(active) = &self.active {
            let footer = self.footer_bytes(bytes);
            let fits = active.end + bytes + footer <= active.capacity;
            if fits && active.opened.elapsed() < self.options.segment_age {
                return Ok(());
            }
            // A segment that could not be sealed is read without its footer.
            drop(self.seal_active());
        }
        let least = (DATA_START + bytes + self.footer_bytes(bytes)).next_multiple_of(BLOCK);
        let mut capacity = self
            .options
            .segment_bytes
            .next_multiple_of(BLOCK)
            .max(least);
        loop {
            match self.create(capacity) {
                Err(error) if is_full(&error) && capacity > least => {
                    capacity = (capacity / 2).next_multiple_of(BLOCK).max(least);
                }
                created => return created,
            }
        }
    }

    fn footer_bytes(&self, bytes: u64) -> u64 {
        let view = self.log.0.view();
        let live = view
            .segments
            .back()
            .and_then(|segment| segment.live.as_ref());
        let entries = live
            .map_or(2, |live| live.index.len_after(bytes))
            .max(bytes / BLOCK / 16 + 2);
        entries * Index::ENTRY as u64 + TAIL as u64
    }

    /// Makes a segment, durably, and makes it the active one.
    fn create(&mut self, capacity: u64) -> io::Result<()> {
        let inner = &self.log.0;
        let (first, join) = {
            let view = inner.view();
            (view.next, view.join)
        };
        let path = segment_path(&inner.dir, first);
        let created = self.create_file(&path, capacity, first, join);
        let file = match created {
            Ok(file) => Arc::new(file),
            Err(error) => {
                // A name that stays is taken again by the next attempt.
                drop(inner.volume.remove(&path));
                return Err(error);
            }
        };
        let live = Some(Live {
            file: Arc::clone(&file),
            index: Index::default(),
        });
        inner.view_mut().segments.push_back(Segment {
            path,
            first,
            next: first,
            end: DATA_START,
            file_bytes: capacity,
            times: None,
            join,
            sealed: false,
            live,
        });
        self.active = Some(Active {
            file,
            opened: Instant::now(),
            capacity,
            end: DATA_START,
        });
        Ok(())
    }

    fn create_file(
        &self,
        path: &std::path::Path,
        capacity: u64,
        first: Offset,
        join: Join,
    ) -> io::Result<File> {
        let inner = &self.log.0;
        let volume = &inner.volume;
        let file = volume.create(path)?;
        if !volume.allocate(&file, capacity)? {
            volume.truncate(&file, capacity)?;
        }
        let header = SegmentHeader {
            epoch: inner.epoch,
            first,
            created_ms: now_ms(),
            join,
            identity: inner.identity.clone(),
        };
        volume.write(&file, &header.encode(), 0)?;
        volume.sync_all(&file)?;
        volume.sync_dir(&inner.dir)?;
        if let Some(anchor) = &inner.anchor {
            lock(anchor).write(volume, |anchor| {
                (anchor.floor, anchor.join) = (first, join);
                (anchor.newest, anchor.newest_bytes) = (first, capacity);
            })?;
        }
        Ok(file)
    }

    /// One write and one sync at the end of the active segment.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let volume = &self.log.0.volume;
        let written = volume
            .write(&active.file, bytes, active.end)
            .and_then(|()| volume.sync_data(&active.file));
        match written {
            Ok(()) => active.end += bytes.len() as u64,
            Err(error) => {
                self.distrust();
                return Err(error);
            }
        }
        Ok(())
    }

    /// After a failed write or sync: drops the handle, reads the segment again through a new one, and
    /// leaves of it what was committed.
    fn distrust(&mut self) {
        self.active = None;
        let inner = &self.log.0;
        let mut segment = {
            let mut view = inner.view_mut();
            let Some(mut segment) = view.segments.pop_back() else {
                return;
            };
            segment.live = None;
            if segment.first == segment.next {
                // Nothing was committed to it: its name is taken again, by a new file.
                drop(view);
                drop(inner.volume.remove(&segment.path));
                return;
            }
            view.segments.push_back(segment.clone());
            segment
        };
        // If the disk refuses this as well, the segment stays as it is, and is read up to its end.
        drop(seal(&inner.volume, inner.epoch, &mut segment));
        self.replace_last(segment);
    }

    fn seal_active(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let inner = &self.log.0;
        let (mut segment, index) = {
            let view = inner.view();
            let Some(segment) = view.segments.back() else {
                return Ok(());
            };
            let index = segment
                .live
                .as_ref()
                .map(|live| live.index.clone())
                .unwrap_or_default();
            (
                Segment {
                    live: None,
                    ..segment.clone()
                },
                index,
            )
        };
        if segment.first == segment.next {
            inner.view_mut().segments.pop_back();
            return inner.volume.remove(&segment.path);
        }
        let sealed = finish(
            &inner.volume,
            &active.file,
            inner.epoch,
            &mut segment,
            &index,
        );
        self.replace_last(segment);
        sealed
    }

    fn replace_last(&self, segment: Segment) {
        // After a failure it may have been trimmed meanwhile.
        let mut view = self.log.0.view_mut();
        let last = view
            .segments
            .back_mut()
            .filter(|last| last.first == segment.first);
        if let Some(last) = last {
            *last = segment;
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

//! The one writer: commits groups, rolls segments, and starts anew on another segment when the disk
//! has failed. It does not know what it writes.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use crate::ids::Offset;
use crate::record::{self, Record};

use super::active::{Active, least_capacity};
use super::buffers::Buffers;
use super::error::{CommitError, is_full};
use super::format::Join;
use super::group::Group;
use super::index::Entry;
use super::inner::Log;
use super::options::LogOptions;
use super::reserve::Reserve;

/// A group that is durable.
#[derive(Debug)]
pub struct Committed {
    /// Its records, slices of the group's own buffer.
    pub records: Vec<Record>,
    /// What that buffer takes in memory beyond them, in bytes.
    pub spare: usize,
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
    buffers: Buffers,
    _lock: File,
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
            buffers: Buffers::default(),
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
        let room = (self.buffers.clone(), self.group_bytes);
        Group::new(next, last_time, entries, room)
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
                spare: 0,
                first,
                last,
                elapsed: Duration::ZERO,
            });
        }
        if group.oversize || group.first != self.log.next() {
            return Err(CommitError::Io(group, io::ErrorKind::InvalidInput.into()));
        }
        let bytes = group.bytes() as u64;
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
        let (records, spare) = self.freeze(group);
        Ok(Committed {
            records,
            spare,
            first,
            last,
            elapsed,
        })
    }

    /// Closes the active segment if it has reached its age, so that it can be trimmed although
    /// nothing more is committed. `true`: it was closed.
    pub fn roll_if_old(&mut self) -> io::Result<bool> {
        let age = self.options.segment_age;
        if !self
            .active
            .as_ref()
            .is_some_and(|active| active.is_old(age))
        {
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

    /// The group's records as slices of its buffer, and what that takes beyond them.
    fn freeze(&mut self, mut group: Group) -> (Vec<Record>, usize) {
        self.entries = std::mem::take(&mut group.entries);
        self.group_bytes = group.buffer.len();
        let shared = self.buffers.share(group.buffer);
        let buffer = shared.bytes;
        let mut records = Vec::with_capacity(self.entries.len());
        let mut at = 0;
        while let Some((record, end)) = record::view(&buffer, at) {
            records.push(record);
            at = end;
        }
        (records, shared.spare)
    }

    /// Sees to it that there is an active segment that has room for a group, and for its footer.
    fn active(&mut self, bytes: u64) -> io::Result<Active> {
        let inner = &self.log.0;
        if let Some(active) = self.active.take() {
            let fits = active.fits(&inner.view(), bytes);
            if fits && !active.is_old(self.options.segment_age) {
                return Ok(active);
            }
            // A segment that could not be sealed is read without its footer.
            drop(active.seal(inner));
        }
        let least = least_capacity(bytes);
        let mut capacity = self.options.segment_bytes.max(least);
        loop {
            match Active::create(inner, capacity) {
                Err(error) if is_full(&error) && capacity > least => {
                    capacity = (capacity / 2).max(least);
                }
                created => return created,
            }
        }
    }

    /// One write and one sync at the end of the active segment.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut active = self.active(bytes.len() as u64)?;
        let written = active.write(&self.log.0, bytes);
        match written {
            Ok(()) => self.active = Some(active),
            Err(_) => active.give_up(&self.log.0),
        }
        written
    }

    fn seal_active(&mut self) -> io::Result<()> {
        self.active
            .take()
            .map_or(Ok(()), |active| active.seal(&self.log.0))
    }
}

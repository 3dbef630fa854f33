//! A commit group: records that become durable together, encoded as they will stand on disk.

use crate::ids::Offset;
use crate::record::{RECORD_MAX, encode};

use super::buffers::Buffers;
use super::index::Entry;

/// Records that are to be committed together. Made by [`Writer::begin`](super::Writer::begin); the
/// records' offsets are fixed when they are pushed, so groups are committed in the order in which they were begun.
pub struct Group {
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) last_time: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) buffers: Buffers,
    /// Where each record starts in the buffer; its offset and time.
    pub(super) entries: Vec<Entry>,
    /// A record was longer than the format can say: the group can't be committed.
    pub(super) oversize: bool,
}

impl Group {
    pub(super) fn new(
        first: Offset,
        last_time: u64,
        mut entries: Vec<Entry>,
        (buffers, bytes): (Buffers, usize),
    ) -> Self {
        entries.clear();
        let buffer = buffers.take(bytes);
        Self {
            first,
            next: first,
            last_time,
            buffer,
            buffers,
            entries,
            oversize: false,
        }
    }

    /// Adds a record, and says which offset it will have. A time before that of the record before
    /// counts as the same time. A record of 4 GiB or more spoils the group.
    pub fn push(&mut self, kind: u8, time_ms: u64, head: &[u8], payload: &[u8]) -> Offset {
        let (offset, position) = (self.next, self.buffer.len() as u64);
        let time_ms = time_ms.max(self.last_time);
        match encode(&mut self.buffer, offset, time_ms, kind, (head, payload)) {
            Some(()) => self.entries.push(Entry {
                offset,
                time_ms,
                position,
            }),
            None => self.oversize = true,
        }
        self.last_time = time_ms;
        self.next = offset.next();
        offset
    }

    /// The group that follows: it may be filled while this one is being committed. If this one is
    /// never committed, that one can't be either.
    pub fn after(&self) -> Self {
        let room = (self.buffers.clone(), self.buffer.len());
        Self::new(self.next, self.last_time, Vec::new(), room)
    }

    /// The offset that the next record will have.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Makes room for records that are about to be pushed: `bytes` of heads and payloads in all.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.entries.reserve(records);
        let bytes = bytes.saturating_add(records.saturating_mul(RECORD_MAX));
        Buffers::reserve(&mut self.buffer, bytes);
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes that it takes on disk, and in memory.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing has been pushed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("first", &self.first)
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

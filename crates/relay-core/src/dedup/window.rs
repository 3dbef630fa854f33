//! The ids of the last hours: pairs of id hash and content hash in order of arrival, and an index
//! into them. The oldest are forgotten by time, and by bytes.
//!
//! An entry takes 24 bytes in a chunk of 1,024 that came about the same time, and 8 bytes of an
//! open-addressed index (linear probing, at most three quarters full): some 35 to 45 bytes in all.
//! Chunks are forgotten whole. The index grows only while old index, new index and entries fit.

use std::collections::VecDeque;

/// Entries of a chunk.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = CHUNK * size_of::<Entry>() + size_of::<Chunk>();
const MIN_SLOTS: usize = 4 * CHUNK;

/// What an id was seen as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    OtherContent,
    Before,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    content: [u64; 2],
}

#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    /// When the last of them came.
    newest_ms: u64,
    oldest_ms: u64,
}

/// A slot of the index: 0 is empty, else the id's tag (never 0) above the entry's number.
type Slot = u64;

#[derive(Debug)]
pub(super) struct Window {
    horizon_ms: u64,
    memory: usize,
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk's first entry; numbers wrap at 32 bits and skip nothing.
    first: u32,
    len: usize,
    slots: Vec<Slot>,
    newest_ms: u64,
    /// Something within the horizon was forgotten for want of memory.
    short: bool,
}

impl Window {
    pub(super) fn new(horizon_ms: u64, memory: usize) -> Self {
        let memory = memory.max(2 * CHUNK_BYTES + 2 * MIN_SLOTS * size_of::<Slot>());
        let slots = vec![0; MIN_SLOTS];
        let (chunks, first, len) = (VecDeque::new(), 0, 0);
        Self {
            horizon_ms,
            memory,
            chunks,
            first,
            len,
            slots,
            newest_ms: 0,
            short: false,
        }
    }

    /// Says what is known of an id, and remembers it unless this very event is known. The horizon
    /// looks back from the newest that is remembered: a quiet night does not make a replay new.
    pub(super) fn see(&mut self, id: u64, content: u128, at_ms: u64) -> Seen {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the two halves of the hash"
        )]
        let entry = Entry {
            id,
            content: [content as u64, (content >> 64) as u64],
        };
        let seen = self.find(&entry);
        if seen != Seen::Before {
            self.forget(at_ms);
            self.remember(entry, at_ms);
        }
        seen
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES + self.slots.len() * size_of::<Slot>()
    }

    pub(super) fn reach(&self) -> (u64, bool) {
        let oldest = self
            .chunks
            .front()
            .map_or(self.newest_ms, |chunk| chunk.oldest_ms);
        (
            if self.short {
                self.newest_ms.saturating_sub(oldest)
            } else {
                self.horizon_ms
            },
            self.short,
        )
    }

    fn find(&self, entry: &Entry) -> Seen {
        let mut seen = Seen::Never;
        let mut at = self.home(tag(entry.id));
        loop {
            let slot = self.slot(at);
            if slot == 0 {
                return seen;
            }
            if slot >> 32 == tag(entry.id)
                && let Some(known) = self.entry(slot)
                && known.id == entry.id
            {
                if known.content == entry.content {
                    return Seen::Before;
                }
                seen = Seen::OtherContent;
            }
            at = self.after(at);
        }
    }

    fn remember(&mut self, entry: Entry, at_ms: u64) {
        self.make_room();
        self.newest_ms = self.newest_ms.max(at_ms);
        if self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.entries.len() == CHUNK)
        {
            let entries = Vec::with_capacity(CHUNK);
            self.chunks.push_back(Chunk {
                entries,
                newest_ms: at_ms,
                oldest_ms: at_ms,
            });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.newest_ms = self.newest_ms;
            chunk.entries.push(entry);
        }
        let index = u32::try_from(self.len).unwrap_or(u32::MAX);
        let number = self.first.wrapping_add(index);
        self.len += 1;
        self.place(tag(entry.id) << 32 | u64::from(number));
    }

    /// Forgets what lies behind the horizon, looking back from the newest.
    fn forget(&mut self, at_ms: u64) {
        let oldest = at_ms.saturating_sub(self.horizon_ms);
        while self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.newest_ms < oldest)
        {
            self.forget_chunk();
            self.short = false;
        }
    }

    /// Makes room for one more entry: a larger index while memory lasts, else by forgetting.
    fn make_room(&mut self) {
        while (self.len + 1) * 4 > self.slots.len() * 3 {
            let both = (self.slots.len() * 3) * size_of::<Slot>();
            if self.chunks.len() * CHUNK_BYTES + both + CHUNK_BYTES <= self.memory {
                self.grow();
            } else {
                self.forget_chunk();
                self.short = true;
            }
        }
        let full = self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.entries.len() == CHUNK);
        while full && self.bytes() + CHUNK_BYTES > self.memory && !self.chunks.is_empty() {
            self.forget_chunk();
            self.short = true;
        }
    }

    fn forget_chunk(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        for entry in &chunk.entries {
            self.unplace(tag(entry.id) << 32 | u64::from(self.first));
            self.first = self.first.wrapping_add(1);
        }
        self.len -= chunk.entries.len();
    }

    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot != 0 {
                self.place(slot);
            }
        }
    }

    fn place(&mut self, slot: Slot) {
        let mut at = self.home(slot >> 32);
        while self.slot(at) != 0 {
            at = self.after(at);
        }
        self.put(at, slot);
    }

    /// Empties a slot and closes the hole: what was pushed on by it moves back.
    fn unplace(&mut self, slot: Slot) {
        let mut hole = self.home(slot >> 32);
        while self.slot(hole) != slot {
            if self.slot(hole) == 0 {
                return;
            }
            hole = self.after(hole);
        }
        let mut at = self.after(hole);
        while self.slot(at) != 0 {
            let origin = self.home(self.slot(at) >> 32);
            // It may move into the hole if its home does not lie behind the hole, cyclically.
            if self.distance(origin, at) >= self.distance(hole, at) {
                self.put(hole, self.slot(at));
                hole = at;
            }
            at = self.after(at);
        }
        self.put(hole, 0);
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half is the number"
        )]
        let index = (slot as u32).wrapping_sub(self.first) as usize;
        self.chunks.get(index / CHUNK)?.entries.get(index % CHUNK)
    }

    fn home(&self, tag: u64) -> usize {
        (tag >> 1) as usize & (self.slots.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }

    fn slot(&self, at: usize) -> Slot {
        self.slots.get(at).copied().unwrap_or(0)
    }

    fn put(&mut self, at: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
    }
}

/// Half of an id's hash; its lowest bit marks a slot as taken.
fn tag(id: u64) -> u64 {
    id >> 32 | 1
}

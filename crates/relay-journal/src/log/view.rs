//! What is in a log at one moment: its segments, and which offsets can be read. It is what readers
//! and the writer share, and it opens no file.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::Offset;

use super::format::Join;
use super::index::{Entry, Index};

/// What a segment has that is open for writing, or was not sealed.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) file: Arc<File>,
    pub(super) index: Index,
}

/// One segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Offset,
    /// The offset after its last record.
    pub(super) next: Offset,
    /// Where its records end.
    pub(super) end: u64,
    /// The bytes it takes on disk.
    pub(super) file_bytes: u64,
    /// Times of its first and last record.
    pub(super) times: Option<(u64, u64)>,
    pub(super) join: Join,
    pub(super) sealed: bool,
    /// Of the writer's active segment.
    pub(super) live: Option<Live>,
}

impl Segment {
    /// Takes note of records that are now durable.
    pub(super) fn extend(&mut self, entries: &[Entry], bytes: u64, next: Offset) {
        let Some((first, last)) = entries.first().zip(entries.last()) else {
            return;
        };
        self.times = Some((
            self.times.map_or(first.time_ms, |(first, _)| first),
            last.time_ms,
        ));
        if let Some(live) = &mut self.live {
            for entry in entries {
                live.index.note(Entry {
                    position: self.end + entry.position,
                    ..*entry
                });
            }
        }
        self.end += bytes;
        self.next = next;
    }
}

/// The segments, oldest first, and the offsets around them.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) segments: VecDeque<Segment>,
    /// The offset that the next record will have.
    pub(super) next: Offset,
    /// How a segment that starts there joins on.
    pub(super) join: Join,
    /// The last record that is durable.
    pub(super) last: Offset,
    /// Its time.
    pub(super) last_time: u64,
}

/// Where an offset is to be looked for.
#[derive(Debug)]
pub(super) enum Place<'a> {
    Trimmed(Offset),
    Lost(Offset),
    In(&'a Segment, Offset),
    Ahead,
}

impl View {
    /// The oldest offset that can be read; the next one if there is none.
    pub(super) fn first(&self) -> Offset {
        self.segments
            .front()
            .map_or(self.next, |segment| segment.first)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// Where to look for `from`.
    pub(super) fn place(&self, from: Offset) -> Place<'_> {
        let first = self.first();
        if from < first {
            return Place::Trimmed(first);
        }
        let after = self
            .segments
            .partition_point(|segment| segment.first <= from);
        if let Some(segment) = after.checked_sub(1).and_then(|at| self.segments.get(at))
            && from < segment.next
        {
            return Place::In(segment, from);
        }
        let mut lost = false;
        for segment in self.segments.range(after..) {
            lost |= segment.join == Join::Loss;
            // The active segment may still be empty.
            if segment.first < segment.next {
                let first = segment.first;
                return if lost {
                    Place::Lost(first)
                } else {
                    Place::In(segment, first)
                };
            }
        }
        Place::Ahead
    }
}

//! The segment that is being written: how it is made, extended, sealed, and given up when the disk
//! fails. When that is to happen is the writer's business.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::format::{DATA_START, SegmentHeader, TAIL};
use super::index::Index;
use super::inner::{Inner, lock};
use super::seal::{finish, seal};
use super::survey::segment_path;
use super::view::{Live, Segment, View};

const BLOCK: u64 = 4096;

/// The active segment in the writer's hand. In the view it is the last one.
#[derive(Debug)]
pub(super) struct Active {
    file: Arc<File>,
    opened: Instant,
    capacity: u64,
    /// Where the next group goes.
    end: u64,
}

/// The least size of a segment for a group of `bytes`.
pub(super) fn least_capacity(bytes: u64) -> u64 {
    (DATA_START + bytes + footer_bytes(&Index::default(), bytes)).next_multiple_of(BLOCK)
}

/// How long the footer may be after `bytes` more of records.
fn footer_bytes(index: &Index, bytes: u64) -> u64 {
    index.len_after(bytes) * Index::ENTRY as u64 + TAIL as u64
}

impl Active {
    /// Makes a segment, durably, and makes it the last of the view.
    pub(super) fn create(inner: &Inner, capacity: u64) -> io::Result<Self> {
        let capacity = capacity.next_multiple_of(BLOCK);
        let (first, join, last_time) = {
            let view = inner.view();
            (view.next, view.join, view.last_time)
        };
        let path = segment_path(&inner.dir, first);
        let (epoch, identity) = (inner.epoch, inner.identity.clone());
        let header = SegmentHeader {
            epoch,
            first,
            created_ms: now_ms(),
            join,
            identity,
        };
        let file = match create_file(inner, &path, capacity, &header) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                // What can't be removed is replaced by the next attempt: it takes the same name.
                drop(inner.volume.remove(&path));
                return Err(error);
            }
        };
        if let Some(anchor) = &inner.anchor {
            lock(anchor).write(&inner.volume, |anchor| {
                (anchor.floor, anchor.join, anchor.last_time) = (first, join, last_time);
                (anchor.newest, anchor.newest_bytes) = (first, capacity);
            })?;
        }
        inner.view_mut().segments.push_back(Segment {
            path,
            first,
            next: first,
            end: DATA_START,
            file_bytes: capacity,
            times: None,
            join,
            sealed: false,
            live: Some(Live {
                file: Arc::clone(&file),
                index: Index::default(),
            }),
        });
        Ok(Self {
            file,
            opened: Instant::now(),
            capacity,
            end: DATA_START,
        })
    }

    /// Whether a group of `bytes` fits, and the footer behind it.
    pub(super) fn fits(&self, view: &View, bytes: u64) -> bool {
        let live = view
            .segments
            .back()
            .and_then(|segment| segment.live.as_ref());
        live.is_some_and(|live| {
            self.end + bytes + footer_bytes(&live.index, bytes) <= self.capacity
        })
    }

    pub(super) fn is_old(&self, age: Duration) -> bool {
        self.opened.elapsed() >= age
    }

    /// One write and one sync behind what is there.
    pub(super) fn write(&mut self, inner: &Inner, bytes: &[u8]) -> io::Result<()> {
        inner.volume.write(&self.file, bytes, self.end)?;
        inner.volume.sync_data(&self.file)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Gives the segment its footer.
    ///
    /// # Errors
    /// It has none, and is read without.
    pub(super) fn seal(self, inner: &Inner) -> io::Result<()> {
        let Some((mut segment, index)) = retire(inner) else {
            return Ok(());
        };
        let sealed = finish(&inner.volume, &self.file, inner.epoch, &mut segment, &index);
        replace(inner, segment);
        sealed
    }

    /// After a failed write or sync: drops the handle, reads the segment again through a new one, and
    /// leaves of it what was committed.
    pub(super) fn give_up(self, inner: &Inner) {
        let retired = retire(inner);
        drop(self);
        let Some((mut segment, _)) = retired else {
            return;
        };
        if segment.first == segment.next {
            // Nothing was committed to it: the next segment takes its name, with a new file.
            inner.view_mut().segments.pop_back();
            return;
        }
        replace(inner, segment.clone());
        // If the disk refuses this as well, the segment stays as it is, and is read up to its end.
        drop(seal(&inner.volume, inner.epoch, &mut segment));
        replace(inner, segment);
    }
}

/// The active segment as the view has it, without the handle, and its index. The view keeps the
/// handle until the segment is replaced.
fn retire(inner: &Inner) -> Option<(Segment, Index)> {
    let view = inner.view();
    let last = view.segments.back().filter(|last| last.live.is_some())?;
    let index = last
        .live
        .as_ref()
        .map(|live| live.index.clone())
        .unwrap_or_default();
    Some((
        Segment {
            live: None,
            ..last.clone()
        },
        index,
    ))
}

fn create_file(
    inner: &Inner,
    path: &Path,
    capacity: u64,
    header: &SegmentHeader,
) -> io::Result<File> {
    let volume = &inner.volume;
    let file = volume.create(path)?;
    if !volume.allocate(&file, capacity)? {
        volume.truncate(&file, capacity)?;
    }
    volume.write(&file, &header.encode(), 0)?;
    volume.sync_all(&file)?;
    volume.sync_dir(&inner.dir)?;
    Ok(file)
}

fn replace(inner: &Inner, segment: Segment) {
    let mut view = inner.view_mut();
    // After a failure it may have been trimmed meanwhile.
    if let Some(last) = view
        .segments
        .back_mut()
        .filter(|last| last.first == segment.first)
    {
        *last = segment;
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

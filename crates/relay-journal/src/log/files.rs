//! A few open sealed segments with their indexes, kept for the readers; and what it takes to open one.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::Offset;

use super::format::{DATA_START, TAIL, Tail};
use super::index::Index;
use super::scan::{Scan, Span, Step};
use super::view::Segment;

/// How many sealed segments are kept open. An index takes about 24 KiB.
const OPEN_MAX: usize = 16;

/// A segment that is open for reading.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    pub(super) index: Index,
}

/// The open ones, the last used at the back.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<VecDeque<(Offset, Arc<Opened>)>>);

impl Files {
    pub(super) fn open(&self, segment: &Segment) -> io::Result<Arc<Opened>> {
        if let Some(opened) = self.take(segment.first) {
            self.keep(segment.first, &opened);
            return Ok(opened);
        }
        let file = File::open(&segment.path)?;
        let index = match read_footer(&file)? {
            Some((_, Some(index))) if segment.sealed => index,
            Some(_) | None => rebuild(&file, segment)?,
        };
        let opened = Arc::new(Opened {
            file: Arc::new(file),
            index,
        });
        self.keep(segment.first, &opened);
        Ok(opened)
    }

    /// Closes a segment, as soon as its readers are done.
    pub(super) fn take(&self, first: Offset) -> Option<Arc<Opened>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(of, _)| *of == first)?;
        open.remove(at).map(|(_, opened)| opened)
    }

    fn keep(&self, first: Offset, opened: &Arc<Opened>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(of, _)| *of != first);
        if open.len() >= OPEN_MAX {
            open.pop_front();
        }
        open.push_back((first, Arc::clone(opened)));
    }
}

/// The footer's tail, and the index if it is whole. `None`: there is no footer.
pub(super) fn read_footer(file: &File) -> io::Result<Option<(Tail, Option<Index>)>> {
    let Some(tail) = read_tail(file)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(tail.index_bytes()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, tail.end)?;
    let whole = crc32c::crc32c(&bytes) == tail.index_crc;
    Ok(Some((tail, whole.then(|| Index::decode(&bytes)))))
}

/// The fixed end of a sealed segment. `None`: it is not sealed.
pub(super) fn read_tail(file: &File) -> io::Result<Option<Tail>> {
    let len = file.metadata()?.len();
    let Some(at) = len.checked_sub(TAIL as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; TAIL];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Tail::decode(&bytes, len))
}

/// The index of a segment that lost it, or never had one on disk.
fn rebuild(file: &File, segment: &Segment) -> io::Result<Index> {
    let mut index = Index::default();
    let mut walk = Scan::new(
        file,
        Span {
            position: DATA_START,
            offset: segment.first,
            end: segment.end,
            bound: segment.next,
        },
    );
    loop {
        match walk.step()? {
            Step::Record(entry) => index.note(entry),
            Step::Hole { .. } => {}
            Step::End { .. } => return Ok(index),
        }
    }
}

/// Reads the first bytes of a file, fewer if it is shorter.
pub(super) fn read_start(path: &Path, len: usize, at: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

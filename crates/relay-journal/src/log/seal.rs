//! Sealing: a segment that gets no more records is given its footer, and gives back the space that it
//! did not use. It does not know why.

use std::fs::{File, OpenOptions};
use std::io;

use crate::ids::Epoch;

use super::format::{DATA_START, Tail};
use super::index::Index;
use super::scan::{Scan, Span, Step};
use super::view::Segment;
use super::volume::Volume;

/// Reads a segment again through a new handle, and if all of it is there, cuts it behind its last
/// record and gives it a footer.
pub(super) fn seal(volume: &Volume, epoch: Epoch, segment: &mut Segment) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&segment.path)?;
    let Segment {
        first, next, end, ..
    } = *segment;
    let mut index = Index::default();
    let span = Span {
        position: DATA_START,
        offset: first,
        end,
        bound: next,
    };
    let mut walk = Scan::new(&file, span);
    loop {
        match walk.step()? {
            Step::Record(entry) => index.note(entry),
            Step::Hole { .. } => {}
            Step::End { .. } => break,
        }
    }
    if walk.position() != end {
        return Err(io::ErrorKind::InvalidData.into());
    }
    finish(volume, &file, epoch, segment, &index)
}

/// Writes a segment's footer, and gives back what it did not use.
pub(super) fn finish(
    volume: &Volume,
    file: &File,
    epoch: Epoch,
    segment: &mut Segment,
    index: &Index,
) -> io::Result<()> {
    let Segment {
        first, next, end, ..
    } = *segment;
    let (first_time, last_time) = segment.times.unwrap_or_default();
    let tail = Tail {
        epoch,
        first,
        next,
        end,
        first_time,
        last_time,
        index_crc: 0,
        entries: 0,
    };
    let footer = tail.footer(index);
    let len = end + footer.len() as u64;
    volume.truncate(file, len.max(end))?;
    volume.write(file, &footer, end)?;
    volume.sync_all(file)?;
    segment.sealed = true;
    segment.file_bytes = len;
    Ok(())
}

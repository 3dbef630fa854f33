//! Walks the records of a segment, from any record on, through damage. It reads in chunks: memory
//! does not depend on the length of a record or of a segment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::ids::Offset;
use crate::record::{Checksum, RECORD_HEADER, RecordHeader};

use super::format::offsets_within;
use super::index::Entry;

const CHUNK: usize = 256 * 1024;

/// Which part of a file is walked, and which offsets may stand there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where the first record stands.
    pub(super) position: u64,
    /// Which offset it has.
    pub(super) offset: Offset,
    /// Where the walk ends.
    pub(super) end: u64,
    /// Records of this and later offsets are not part of it.
    pub(super) bound: Offset,
}

/// What the walk meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record as it was written.
    Record(Entry),
    /// Bytes that are no record, with good records behind: the walk goes on at `next`.
    Hole {
        position: u64,
        bytes: u64,
        offset: Offset,
        next: Offset,
    },
    /// No more records. `dirty` bytes from here on hold something, but no record.
    End { dirty: u64 },
}

/// The walk.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a File,
    span: Span,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a File, span: Span) -> Self {
        Self {
            file,
            span,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Where the next record is expected.
    pub(super) fn position(&self) -> u64 {
        self.span.position
    }

    /// Which offset is expected there.
    pub(super) fn offset(&self) -> Offset {
        self.span.offset
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        if let Some(step) = self.record()? {
            return Ok(step);
        }
        let (at, expected) = (self.span.position, self.span.offset);
        let Some((position, next)) = self.find_record()? else {
            return Ok(Step::End {
                dirty: self.dirty()?,
            });
        };
        // What another process is still writing may have been half there: look again.
        self.chunk.clear();
        if let Some(step) = self.record()? {
            return Ok(step);
        }
        self.span.position = position;
        self.span.offset = next;
        Ok(Step::Hole {
            position: at,
            bytes: position - at,
            offset: expected,
            next,
        })
    }

    /// The record at the expected place, if it is the expected one.
    fn record(&mut self) -> io::Result<Option<Step>> {
        let Span {
            position, offset, ..
        } = self.span;
        let Some(header) = self.check(position, offset..offset.next())? else {
            return Ok(None);
        };
        self.span.position = position + header.stride();
        self.span.offset = offset.next();
        Ok(Some(Step::Record(Entry {
            offset,
            time_ms: header.time_ms,
            position,
        })))
    }

    /// The header of the record at `position` if its checksum is right, and its offset is of `offsets`.
    fn check(
        &mut self,
        position: u64,
        offsets: std::ops::Range<Offset>,
    ) -> io::Result<Option<RecordHeader>> {
        let left = self.span.end.saturating_sub(position);
        let bytes = self.bytes(position, RECORD_HEADER)?;
        let Some(header) = RecordHeader::parse(bytes) else {
            return Ok(None);
        };
        let within = offsets.contains(&header.offset) && header.offset < self.span.bound;
        if !within || u64::from(header.len) > left {
            return Ok(None);
        }
        let (mut at, mut left) = (position, header.len as usize);
        let mut sum: Option<Checksum> = None;
        while left > 0 {
            let part = self.bytes(at, left.min(CHUNK))?;
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            if part.is_empty() {
                return Ok(None);
            }
            sum = Some(sum.map_or_else(|| Checksum::start(part), |sum| sum.then(part)));
            at += part.len() as u64;
            left -= part.len();
        }
        Ok(sum.filter(|sum| sum.value() == header.crc).map(|_| header))
    }

    /// The first good record behind the expected place, and its offset.
    fn find_record(&mut self) -> io::Result<Option<(u64, Offset)>> {
        let Span {
            position: start,
            offset,
            end,
            ..
        } = self.span;
        let mut position = start + 8;
        while position < end {
            let bytes = self.bytes(position, CHUNK)?;
            if bytes.len() < RECORD_HEADER {
                return Ok(None);
            }
            let limit = offset.plus(1 + offsets_within(position + bytes.len() as u64 - start));
            let aligned = bytes.as_chunks::<8>().0;
            // The offset is the second word of a record: few words pass for one.
            let word = |pair: &[[u8; 8]]| pair.get(1).map(|word| Offset(u64::from_le_bytes(*word)));
            let found = aligned
                .windows(2)
                .position(|pair| word(pair).is_some_and(|found| offset < found && found < limit));
            let Some(found) = found else {
                position += (aligned.len() as u64 - 1) * 8;
                continue;
            };
            position += found as u64 * 8;
            if let Some(header) = self.check(position, offset.next()..limit)? {
                return Ok(Some((position, header.offset)));
            }
            position += 8;
        }
        Ok(None)
    }

    /// How many bytes from the expected place on up to the last that is not zero.
    fn dirty(&mut self) -> io::Result<u64> {
        let Span {
            position: start,
            end,
            ..
        } = self.span;
        let (mut position, mut dirty) = (start, 0);
        while position < end {
            let bytes = self.bytes(position, CHUNK)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                dirty = position + last as u64 + 1 - start;
            }
            position += bytes.len() as u64;
        }
        Ok(dirty)
    }

    /// At least `want` bytes from `position` on, or as many as there are.
    fn bytes(&mut self, position: u64, want: usize) -> io::Result<&[u8]> {
        let held = position
            .checked_sub(self.chunk_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip + want <= self.chunk.len());
        let skip = if let Some(skip) = held {
            skip
        } else {
            let left = usize::try_from(self.span.end.saturating_sub(position)).unwrap_or(CHUNK);
            self.chunk.resize(left.min(CHUNK), 0);
            self.chunk_at = position;
            let mut filled = 0;
            while let Some(rest) = self.chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, position + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.chunk.truncate(filled);
            0
        };
        Ok(self.chunk.get(skip..).unwrap_or_default())
    }
}

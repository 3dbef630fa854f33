//! Reading: from an offset, and from a time. It changes nothing on disk.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use crate::ids::Offset;
use crate::record::{self, Record, RecordHeader};

use super::error::ReadError;
use super::format::DATA_START;
use super::index::Entry;
use super::inner::{Inner, Log, lock};
use super::scan::{Scan, Span, Step};
use super::view::{Place, Segment};

/// The least that is read at once.
const READ_MIN: u64 = 4096;
/// For how many readers it is remembered where they go on.
const HINTS: usize = 256;
/// How often a reader looks again when what it was about to read is being trimmed.
const ATTEMPTS: usize = 8;

/// Where the record of an offset stands, so that a reader that goes on needs not search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    segment: Offset,
    offset: Offset,
    position: u64,
}

/// What a bounded read has brought.
#[derive(Debug)]
pub enum Read {
    /// Consecutive records; nothing: none is durable yet.
    Records(Vec<Record>),
    /// The first record alone takes so many bytes: ask for those.
    Larger(usize),
}

/// The part of a segment that a read is about.
#[derive(Debug)]
struct Source {
    segment: Offset,
    file: Arc<File>,
    span: Span,
}

/// What one look at the view led to.
enum Look {
    Source(Source, Offset),
    Ahead,
    /// The file is not there any more.
    Gone(Offset),
}

impl Log {
    /// Reads consecutive records from `from` on, as slices of one buffer: as many as fit into
    /// `max_bytes`, and at least one. Nothing: no record at or after `from` is durable yet.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] and [`ReadError::Damaged`] say where to go on.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Record>, ReadError> {
        let mut max_bytes = max_bytes;
        loop {
            match self.read_within(from, max_bytes)? {
                Read::Records(records) => return Ok(records),
                Read::Larger(bytes) => max_bytes = bytes,
            }
        }
    }

    /// The same, and never more than `max_bytes`, or 4 KiB.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_within(&self, from: Offset, max_bytes: usize) -> Result<Read, ReadError> {
        let from = from.max(Offset(1));
        for _ in 0..ATTEMPTS {
            match self.look(from)? {
                Look::Ahead => return Ok(Read::Records(Vec::new())),
                Look::Source(source, from) => {
                    let (records, end) = match source.read(from, max_bytes)? {
                        Ok(read) => read,
                        Err(larger) => return Ok(Read::Larger(larger)),
                    };
                    if let Some(last) = records.last() {
                        let (segment, offset) = (source.segment, last.offset().next());
                        self.0.remember(Hint {
                            segment,
                            offset,
                            position: end,
                        });
                    }
                    return Ok(Read::Records(records));
                }
                Look::Gone(next) => self.look_again(from, next)?,
            }
        }
        Err(ReadError::Io(io::ErrorKind::NotFound.into()))
    }

    /// The first record at or after a time; [`Log::next`] if there is none. If the disk refuses to
    /// read, an earlier one.
    pub fn offset_at(&self, time_ms: u64) -> Offset {
        let view = self.0.view();
        let at = view
            .segments
            .iter()
            .find(|segment| segment.times.is_some_and(|(_, last)| last >= time_ms))
            .cloned();
        let next = view.next;
        drop(view);
        let Some(segment) = at else { return next };
        if segment.times.is_some_and(|(first, _)| first >= time_ms) {
            return segment.first;
        }
        match self.0.source(&segment, |index| index.before_time(time_ms)) {
            Ok(source) => source.offset_at(time_ms),
            Err(_) => segment.first,
        }
    }

    fn look(&self, from: Offset) -> Result<Look, ReadError> {
        let (segment, from) = {
            let view = self.0.view();
            match view.place(from) {
                Place::Trimmed(first) => return Err(ReadError::Trimmed { first }),
                Place::Lost(next) => return Err(ReadError::Damaged { next }),
                Place::Ahead => return Ok(Look::Ahead),
                Place::In(segment, from) if segment.live.is_some() => {
                    let live = segment.live.as_ref().map(|live| {
                        let entry = live.index.before_offset(from);
                        Source::of(segment, Arc::clone(&live.file), entry)
                    });
                    let Some(source) = live else {
                        return Ok(Look::Ahead);
                    };
                    return Ok(Look::Source(self.0.advance(source, from), from));
                }
                Place::In(segment, from) => (segment.clone(), from),
            }
        };
        match self.0.source(&segment, |index| index.before_offset(from)) {
            Ok(source) => Ok(Look::Source(self.0.advance(source, from), from)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Look::Gone(segment.next)),
            Err(error) => Err(error.into()),
        }
    }

    /// A file was gone: it has been trimmed meanwhile, or somebody removed it.
    fn look_again(&self, from: Offset, next: Offset) -> Result<(), ReadError> {
        if self.0.anchor.is_none() {
            return self
                .refresh()
                .map_err(|error| ReadError::Io(io::Error::other(error)));
        }
        // Segments leave the view before they leave the disk.
        if self.first() <= from {
            Err(ReadError::Damaged { next })
        } else {
            Ok(())
        }
    }
}

impl Inner {
    fn source(
        &self,
        segment: &Segment,
        entry: impl FnOnce(&super::index::Index) -> Option<Entry>,
    ) -> io::Result<Source> {
        let opened = self.files.open(segment)?;
        Ok(Source::of(
            segment,
            Arc::clone(&opened.file),
            entry(&opened.index),
        ))
    }

    /// Starts where a reader left off, if that is known and nearer.
    fn advance(&self, mut source: Source, from: Offset) -> Source {
        let hints = lock(&self.hints);
        let hint = hints
            .iter()
            .find(|h| h.offset == from && h.segment == source.segment);
        if let Some(hint) = hint.filter(|hint| hint.position < source.span.end) {
            (source.span.offset, source.span.position) = (hint.offset, hint.position);
        }
        source
    }

    /// Remembers where a reader goes on.
    fn remember(&self, hint: Hint) {
        let mut hints = lock(&self.hints);
        hints.retain(|known| known.offset != hint.offset);
        if hints.len() >= HINTS {
            hints.pop_front();
        }
        hints.push_back(hint);
    }
}

impl Source {
    fn of(segment: &Segment, file: Arc<File>, entry: Option<Entry>) -> Self {
        let (position, offset) = entry.map_or((DATA_START, segment.first), |entry| {
            (entry.position, entry.offset)
        });
        let span = Span {
            position,
            offset,
            end: segment.end,
            bound: segment.next,
        };
        Self {
            segment: segment.first,
            file,
            span,
        }
    }

    /// The records from `from` on, and where they end; or what the first takes, if that is more.
    fn read(
        &self,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Result<(Vec<Record>, u64), usize>, ReadError> {
        let position = self.find(from)?;
        let left = self.span.end.saturating_sub(position);
        let want = u64::try_from(max_bytes)
            .unwrap_or(u64::MAX)
            .max(READ_MIN)
            .min(left);
        let buffer = self.bytes(position, want)?;
        if let Some(header) = RecordHeader::parse(&buffer)
            && (want + 1..=left).contains(&header.stride())
        {
            return Ok(Err(usize::try_from(header.stride()).unwrap_or(usize::MAX)));
        }
        let buffer = Bytes::from(buffer);
        let (mut records, mut at, mut offset) = (Vec::new(), 0, from);
        while let Some((record, end)) = record::decode(&buffer, at) {
            let fits = records.is_empty() || end <= max_bytes;
            if record.offset() != offset || offset >= self.span.bound || !fits {
                break;
            }
            records.push(record);
            (at, offset) = (end, offset.next());
        }
        if records.is_empty() {
            return Err(self.damaged(position, from)?);
        }
        Ok(Ok((records, position + at as u64)))
    }

    /// Where the record of `from` stands.
    fn find(&self, from: Offset) -> Result<u64, ReadError> {
        let mut scan = Scan::new(&self.file, self.span);
        while scan.offset() < from {
            if let Step::End { .. } = scan.step()? {
                return Err(ReadError::Damaged {
                    next: self.span.bound,
                });
            }
        }
        if scan.offset() > from {
            return Err(ReadError::Damaged {
                next: scan.offset(),
            });
        }
        Ok(scan.position())
    }

    /// There is no good record at a position: says where the next one is.
    fn damaged(&self, position: u64, offset: Offset) -> io::Result<ReadError> {
        let mut scan = Scan::new(
            &self.file,
            Span {
                position,
                offset,
                ..self.span
            },
        );
        Ok(match scan.step()? {
            Step::Hole { next, .. } => ReadError::Damaged { next },
            Step::End { .. } => ReadError::Damaged {
                next: self.span.bound,
            },
            Step::Record(_) => ReadError::Io(io::ErrorKind::Interrupted.into()),
        })
    }

    fn offset_at(&self, time_ms: u64) -> Offset {
        let mut scan = Scan::new(&self.file, self.span);
        loop {
            match scan.step() {
                Ok(Step::Record(entry)) if entry.time_ms >= time_ms => return entry.offset,
                Ok(Step::Record(_) | Step::Hole { .. }) => {}
                Ok(Step::End { .. }) => return self.span.bound,
                Err(_) => return self.span.offset,
            }
        }
    }

    fn bytes(&self, position: u64, want: u64) -> io::Result<Vec<u8>> {
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        let mut buffer = Vec::with_capacity(want);
        while buffer.len() < want {
            let at = position + buffer.len() as u64;
            if retry_on_intr(|| pread(&*self.file, spare_capacity(&mut buffer), at))? == 0 {
                break;
            }
        }
        buffer.truncate(want);
        Ok(buffer)
    }
}

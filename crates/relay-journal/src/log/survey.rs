//! Finds out what is in a log's directory, and changes nothing: what a writer recovers from, and
//! what read-only use sees.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{Epoch, Offset};

use super::anchor::{ANCHOR, Found, read_anchor};
use super::error::{Damage, Finding, OpenError};
use super::files::{read_start, read_tail};
use super::format::{
    Anchor, BLOCK, BadBlock, DATA_START, Join, SegmentHeader, VERSION, offsets_within,
};
use super::index::Entry;
use super::scan::{Scan, Span, Step};
use super::view::{Segment, View};

const EXTENSION: &str = "segment";

/// The path of a segment.
pub(super) fn segment_path(dir: &Path, first: Offset) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}", first = first.0))
}

/// The segments that a directory holds, by their names, oldest first.
fn list(dir: &Path) -> io::Result<Vec<(Offset, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let named = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        let first = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let (true, Some(first)) = (named, first) {
            found.push((Offset(first), path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) segment: Segment,
    /// Bytes behind the records of an unsealed segment that are no record.
    pub(super) dirty: u64,
    /// Whether its header can be read.
    pub(super) header: bool,
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What the anchor says; `None` where it is missing or damaged.
    pub(super) anchor: Option<Anchor>,
    pub(super) epoch: Option<Epoch>,
    pub(super) identity: Option<String>,
    pub(super) segments: Vec<Surveyed>,
    /// Segments of another log.
    pub(super) foreign: Vec<PathBuf>,
    pub(super) findings: Vec<Finding>,
}

impl Survey {
    /// Reads names, headers and footers, and those segments that have no footer. Of `known` segments
    /// only what is new.
    pub(super) fn of(dir: &Path, known: Option<&View>) -> Result<Self, OpenError> {
        let mut survey = Self::default();
        let found = list(dir).map_err(OpenError::io(dir))?;
        let anchor = read_anchor(dir).map_err(OpenError::io(&dir.join(ANCHOR)))?;
        survey.take_anchor(dir, anchor, found.is_empty())?;
        let mut headers = Vec::with_capacity(found.len());
        for (_, path) in &found {
            headers.push(Self::header(path)?);
        }
        survey.agree(&headers);
        for (at, ((first, path), header)) in found.iter().zip(headers).enumerate() {
            if let Some(header) = header
                .as_ref()
                .filter(|header| Some(header.epoch) != survey.epoch)
            {
                survey.find(
                    path,
                    0,
                    *first,
                    Damage::Foreign {
                        epoch: header.epoch,
                    },
                );
                survey.foreign.push(path.clone());
                continue;
            }
            let bound = found
                .get(at + 1)
                .map_or(Offset(u64::MAX), |(next, _)| *next);
            let old = known.and_then(|view| view.segments.iter().find(|old| old.first == *first));
            match survey.segment(*first, path, header.as_ref(), (bound, old)) {
                Ok(surveyed) => survey.segments.push(surveyed),
                // Trimmed by the writer beside which this reads.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(OpenError::io(path)(error)),
            }
        }
        survey.join();
        Ok(survey)
    }

    fn find(&mut self, segment: &Path, byte: u64, offset: Offset, what: Damage) {
        self.findings.push(Finding {
            segment: segment.to_owned(),
            byte,
            offset,
            what,
        });
    }

    fn take_anchor(&mut self, dir: &Path, found: Found, new: bool) -> Result<(), OpenError> {
        match found {
            Found::Good(anchor) => self.anchor = Some(anchor),
            Found::Bad(BadBlock::Newer(found)) => {
                return Err(OpenError::NewerFormat {
                    found,
                    known: VERSION,
                });
            }
            // Of a directory without segments: the log was being made.
            Found::None | Found::Bad(BadBlock::Damaged) if new => {}
            Found::None | Found::Bad(BadBlock::Damaged) => {
                self.find(&dir.join(ANCHOR), 0, Offset(0), Damage::Anchor);
            }
        }
        Ok(())
    }

    fn header(path: &Path) -> Result<Option<SegmentHeader>, OpenError> {
        let block = match read_start(path, BLOCK, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(OpenError::io(path))?,
        };
        match SegmentHeader::decode(&block) {
            Ok(header) => Ok(Some(header)),
            Err(BadBlock::Newer(found)) => Err(OpenError::NewerFormat {
                found,
                known: VERSION,
            }),
            Err(BadBlock::Damaged) => Ok(None),
        }
    }

    /// Which log this is: what the anchor says, else the newest segment.
    fn agree(&mut self, headers: &[Option<SegmentHeader>]) {
        let newest = headers.iter().rev().flatten().next();
        let anchor = self.anchor.as_ref();
        self.epoch = anchor
            .map(|a| a.epoch)
            .or(newest.map(|header| header.epoch));
        let identity = anchor
            .map(|a| &a.identity)
            .or(newest.map(|header| &header.identity));
        self.identity = identity.cloned();
    }

    fn segment(
        &mut self,
        first: Offset,
        path: &Path,
        header: Option<&SegmentHeader>,
        (bound, old): (Offset, Option<&Segment>),
    ) -> io::Result<Surveyed> {
        if let Some(old) = old.filter(|old| old.sealed) {
            return Ok(Surveyed {
                segment: old.clone(),
                dirty: 0,
                header: true,
            });
        }
        let file = File::open(path)?;
        let join = header.map_or(Join::Loss, |header| header.join);
        let file_bytes = file.metadata()?.len();
        let mut segment = Segment {
            path: path.to_owned(),
            first,
            next: first,
            end: DATA_START,
            file_bytes,
            times: None,
            join,
            sealed: false,
            live: None,
        };
        let tail = read_tail(&file)?.filter(|tail| {
            tail.first == first && Some(tail.epoch) == self.epoch && tail.next <= bound
        });
        let mut dirty = 0;
        if let Some(tail) = tail {
            segment.sealed = true;
            (segment.next, segment.end) = (tail.next, tail.end);
            segment.times = (tail.first < tail.next).then_some((tail.first_time, tail.last_time));
        } else {
            if let Some(old) = old {
                (segment.next, segment.end, segment.times) = (old.next, old.end, old.times);
            }
            dirty = self.walk(&file, &mut segment, bound)?;
        }
        let made = self
            .anchor
            .as_ref()
            .is_some_and(|anchor| anchor.newest >= first);
        let empty = segment.next == first && dirty == 0 && bound.0 == u64::MAX;
        // The newest one may have been in the making.
        let header = header.is_some() || empty && !made;
        if !header {
            self.find(path, 0, first, Damage::Header);
        }
        Ok(Surveyed {
            segment,
            dirty,
            header,
        })
    }

    /// Reads a segment that has no footer.
    fn walk(&mut self, file: &File, segment: &mut Segment, bound: Offset) -> io::Result<u64> {
        let end = segment.file_bytes;
        let span = Span {
            position: segment.end,
            offset: segment.next,
            end,
            bound,
        };
        let mut walk = Scan::new(file, span);
        loop {
            match walk.step()? {
                Step::Record(Entry { time_ms, .. }) => {
                    let first = segment.times.map_or(time_ms, |(first, _)| first);
                    segment.times = Some((first, time_ms));
                    (segment.next, segment.end) = (walk.offset(), walk.position());
                }
                Step::Hole {
                    position,
                    bytes,
                    offset,
                    next,
                } => {
                    let what = Damage::Records { bytes, next };
                    self.find(&segment.path, position, offset, what);
                }
                Step::End { dirty } => return Ok(dirty),
            }
        }
    }

    /// Tells where segments that should follow each other do not.
    fn join(&mut self) {
        let mut missing = Vec::new();
        let mut before: Option<&Segment> = None;
        for Surveyed { segment, .. } in &mut self.segments {
            if let Some(before) = before {
                if before.next == segment.first {
                    segment.join = Join::Close;
                } else if segment.join != Join::Jump {
                    segment.join = Join::Loss;
                    let what = Damage::Missing {
                        next: segment.first,
                    };
                    missing.push((before.path.clone(), before.end, before.next, what));
                }
            }
            before = Some(segment);
        }
        for (path, end, offset, what) in missing {
            self.find(&path, end, offset, what);
        }
    }

    /// How many bytes that may have held records can't be told to have held none: what no record
    /// stands in, and what is no longer part of the newest segment's file.
    fn in_doubt(&self, newest: &Surveyed) -> u64 {
        let Surveyed {
            segment,
            dirty,
            header,
        } = newest;
        let of_it = |anchor: &&Anchor| !segment.sealed && anchor.newest == segment.first;
        let made = self
            .anchor
            .as_ref()
            .filter(of_it)
            .map_or(0, |anchor| anchor.newest_bytes);
        let whole = *header && segment.file_bytes >= made;
        if whole {
            *dirty
        } else {
            made.saturating_sub(segment.end).max(*dirty)
        }
    }

    /// The view that this makes. The next offset is above all that may have been used.
    pub(super) fn view(&self) -> View {
        let segments: VecDeque<_> = self.segments.iter().map(|s| s.segment.clone()).collect();
        let mut view = View {
            segments,
            ..View::default()
        };
        let used = view
            .segments
            .back()
            .map_or(Offset(1), |segment| segment.next);
        view.next = used;
        let newest = self.segments.last();
        let doubt = newest.map_or(0, |newest| self.in_doubt(newest));
        if doubt > 0 {
            (view.next, view.join) = (used.plus(1 + offsets_within(doubt)), Join::Jump);
        }
        if let Some(anchor) = &self.anchor {
            if anchor.floor > view.next {
                let join = if anchor.join == Join::Jump {
                    Join::Jump
                } else {
                    Join::Loss
                };
                (view.next, view.join) = (anchor.floor, join);
            }
            let newest = newest.map_or(Offset(0), |newest| newest.segment.first);
            if anchor.newest > newest {
                let above = anchor.newest.plus(1 + offsets_within(anchor.newest_bytes));
                (view.next, view.join) = (view.next.max(above), Join::Loss);
            }
        }
        let kept = view
            .segments
            .iter()
            .rev()
            .find(|segment| segment.first < segment.next);
        view.last = kept.map_or(view.next.before(), |segment| segment.next.before());
        let kept_time = kept
            .and_then(|segment| segment.times)
            .map_or(0, |(_, last)| last);
        view.last_time = self
            .anchor
            .as_ref()
            .map_or(0, |a| a.last_time)
            .max(kept_time);
        view
    }
}

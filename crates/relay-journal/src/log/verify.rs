//! Reads everything that is in a log's directory, and names what is damaged. It changes nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use super::error::{Damage, Finding, OpenError};
use super::files::read_footer;
use super::format::DATA_START;
use super::scan::{Scan, Span, Step};
use super::survey::Survey;
use super::view::Segment;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// Good records.
    pub records: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Bytes at the very end that are no record: a torn write, or one that is under way.
    pub torn_bytes: u64,
}

pub(super) fn verify(dir: &Path, mut finding: impl FnMut(Finding)) -> Result<Verified, OpenError> {
    let survey = Survey::of(dir, None)?;
    let mut verified = Verified::default();
    // Records are found below, also those of segments that the survey has read already.
    let is_record = |f: &Finding| matches!(f.what, Damage::Records { .. });
    survey
        .findings
        .into_iter()
        .filter(|f| !is_record(f))
        .for_each(&mut finding);
    for (at, surveyed) in survey.segments.iter().enumerate() {
        let segment = &surveyed.segment;
        match read_all(segment, &mut verified, &mut finding) {
            // Trimmed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.map_err(OpenError::io(&segment.path))?,
        }
        if at + 1 == survey.segments.len() {
            verified.torn_bytes = surveyed.dirty;
        }
    }
    Ok(verified)
}

fn read_all(
    segment: &Segment,
    verified: &mut Verified,
    finding: &mut impl FnMut(Finding),
) -> io::Result<()> {
    let file = File::open(&segment.path)?;
    let mut find = |byte, offset, what| {
        finding(Finding {
            segment: segment.path.clone(),
            byte,
            offset,
            what,
        });
    };
    if segment.sealed && read_footer(&file)?.is_none_or(|(_, index)| index.is_none()) {
        find(segment.end, segment.next, Damage::Footer);
    }
    let span = Span {
        position: DATA_START,
        offset: segment.first,
        end: segment.end,
        bound: segment.next,
    };
    let mut walk = Scan::new(&file, span);
    loop {
        match walk.step()? {
            Step::Record(_) => verified.records += 1,
            Step::Hole {
                position,
                bytes,
                offset,
                next,
            } => {
                find(position, offset, Damage::Records { bytes, next });
            }
            Step::End { .. } if walk.position() < segment.end => {
                let bytes = segment.end - walk.position();
                let what = Damage::Records {
                    bytes,
                    next: segment.next,
                };
                find(walk.position(), walk.offset(), what);
                break;
            }
            Step::End { .. } => break,
        }
    }
    verified.segments += 1;
    verified.bytes += segment.file_bytes;
    Ok(())
}

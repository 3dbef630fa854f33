//! A document larger than allowed: its first bytes are kept, the rest is skipped up to its end or the next document.

use bytes::Bytes;

use super::scan::{Scan, Scanner};
use super::{Chunk, Framed, Framer, Malformed, MalformedReason, Mode};

/// What is known of a document that is too large.
#[derive(Debug)]
pub(super) struct Oversize {
    pub(super) kept: Bytes,
    pub(super) size: u64,
    /// None once it is no document either.
    pub(super) scanner: Option<Scanner>,
}

impl Framer {
    /// The document at `chunk.at` reaches beyond `end`, which is as far as one may.
    pub(super) fn too_large(&mut self, chunk: &Chunk, end: usize) -> Option<Framed> {
        let rest = chunk.split_off(chunk.at);
        let kept = chunk.bytes.get(chunk.at..end).unwrap_or_default();
        let oversize = Oversize {
            // A copy: a slice would keep the whole message in memory.
            kept: Bytes::copy_from_slice(kept),
            size: 0,
            scanner: Some(Scanner::of(rest.bytes.first())),
        };
        self.oversize(oversize, rest)
    }

    /// Skips the rest of a document that is too large.
    pub(super) fn oversize(&mut self, mut oversize: Oversize, mut chunk: Chunk) -> Option<Framed> {
        let known = chunk.known_start();
        let scan = match &mut oversize.scanner {
            _ if known.is_some() => Scan::Invalid(0),
            Some(scanner) => scanner.feed(&chunk.bytes),
            None => Scan::Invalid(0),
        };
        let end = match scan {
            Scan::Incomplete => None,
            Scan::Complete(end) => Some(end),
            Scan::Invalid(at) => {
                oversize.scanner = None;
                known.or_else(|| self.first_start(&chunk, at))
            }
        };
        oversize.size += end.unwrap_or(chunk.bytes.len()) as u64;
        let Some(end) = end else {
            self.mode = Mode::Oversize(oversize);
            return None;
        };
        chunk.at = end;
        self.queue.push_front(chunk);
        Some(Framed::Malformed(oversize.malformed()))
    }
}

impl Oversize {
    pub(super) fn malformed(self) -> Malformed {
        Malformed::of_size(MalformedReason::TooLarge, self.kept, self.size)
    }
}

//! A document whose end has not come yet: it is held, searched for its end, and watched for being cut short.

use bytes::Bytes;

use super::oversize::Oversize;
use super::resync::{begins_known, next_line};
use super::scan::{Scan, Scanner};
use super::{Chunk, Framed, Framer, MalformedReason, Mode};
use crate::document;

/// Message starts remembered inside one unfinished document.
const MAX_MARKS: usize = 1 << 16;

/// The beginning of a document.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) held: Vec<u8>,
    pub(super) marks: Vec<usize>,
    pub(super) scanner: Scanner,
    pub(super) rival: Option<Scanner>,
}

impl Framer {
    /// The document at `chunk.at` is not finished in its chunk, or longer than allowed.
    pub(super) fn unfinished(&mut self, chunk: Chunk) -> Option<Framed> {
        let start = chunk.at;
        let end = chunk.bytes.len().min(start + self.max_document);
        if self.was_cut_short(&chunk, end) {
            return Some(self.resume(chunk, end, MalformedReason::Truncated));
        }
        if chunk.bytes.len() > end {
            return self.too_large(&chunk, end);
        }
        self.hold(&chunk, start);
        None
    }

    /// Whether an unfinished XML document holds, at the beginning of a line, a whole one of a known class.
    fn was_cut_short(&mut self, chunk: &Chunk, end: usize) -> bool {
        let bytes = chunk.bytes.get(..end).unwrap_or_default();
        if bytes.get(chunk.at) != Some(&b'<') {
            return false;
        }
        let mut after = chunk.at;
        while let Some(line) = next_line(bytes, after) {
            if begins_known(bytes, line) {
                let rest = bytes.get(line..).unwrap_or_default();
                let read = document::read(rest);
                let cost = read.map_or(rest.len(), |parsed| parsed.end);
                return self.allowance.take(cost) && read.is_ok();
            }
            after = line;
        }
        false
    }

    /// Holds the chunk from `start` on as the beginning of a document.
    fn hold(&mut self, chunk: &Chunk, start: usize) {
        let rest = chunk.split_off(start);
        let mut scanner = Scanner::of(rest.bytes.first());
        // A pass has just found it unfinished, and the scanner agrees with it on every boundary.
        scanner.feed(&rest.bytes);
        let partial = Partial {
            held: rest.bytes.to_vec(),
            marks: rest.marks,
            scanner,
            rival: None,
        };
        self.mode = Mode::Partial(partial);
    }

    /// Feeds the next message to an unfinished document.
    pub(super) fn partial(&mut self, mut partial: Partial, mut chunk: Chunk) -> Option<Framed> {
        let held = partial.held.len();
        let rival_from = partial.enter_rival(&chunk);
        match partial.scanner.feed(&chunk.bytes) {
            Scan::Complete(end) => {
                self.complete(partial, &chunk, end);
                return None;
            }
            Scan::Invalid(at) => {
                let reason = MalformedReason::of_grammar(partial.held.first());
                return Some(self.give_up(partial, Some(chunk), held + at, reason));
            }
            Scan::Incomplete => {}
        }
        let end = held + chunk.bytes.len();
        if partial.rival_ends(&chunk, rival_from) {
            return Some(self.give_up(partial, Some(chunk), end, MalformedReason::Truncated));
        }
        if end > self.max_document {
            return self.outgrown(partial, chunk);
        }
        let room = MAX_MARKS.saturating_sub(partial.marks.len());
        partial
            .marks
            .extend(chunk.marks.drain(..).take(room).map(|mark| held + mark));
        partial.held.extend_from_slice(&chunk.bytes);
        self.mode = Mode::Partial(partial);
        None
    }

    /// The document becomes too large with this chunk, which does not end it.
    fn outgrown(&mut self, mut partial: Partial, mut chunk: Chunk) -> Option<Framed> {
        let held = partial.held.len();
        let known = chunk.known_start();
        let lost = known.unwrap_or(chunk.bytes.len());
        let room = self.max_document.saturating_sub(held).min(lost);
        partial
            .held
            .extend_from_slice(chunk.bytes.get(..room).unwrap_or_default());
        let oversize = Oversize {
            kept: partial.held.into(),
            size: (held + lost) as u64,
            scanner: Some(partial.scanner),
        };
        let Some(known) = known else {
            self.mode = Mode::Oversize(oversize);
            return None;
        };
        chunk.at = known;
        self.queue.push_front(chunk);
        Some(Framed::Malformed(oversize.malformed()))
    }

    /// The document ends with `end` bytes of the chunk: it becomes a chunk of its own, to be read as a whole.
    fn complete(&mut self, mut partial: Partial, chunk: &Chunk, end: usize) {
        partial
            .held
            .extend_from_slice(chunk.bytes.get(..end).unwrap_or_default());
        // Split off: if the document turns out too large, what is left of it is held once more, and the rest with it.
        self.queue.push_front(chunk.split_off(end));
        let bytes = Bytes::from(partial.held);
        self.queue.push_front(Chunk {
            bytes,
            at: 0,
            marks: partial.marks,
        });
    }
}

impl Partial {
    /// Where in the chunk the rival is to be fed from. A message that begins a document of a known class becomes
    /// the rival, also in place of one that is not finished: that was cut short as well.
    fn enter_rival(&mut self, chunk: &Chunk) -> usize {
        let possible = match &self.scanner {
            Scanner::Xml(_) => true,
            Scanner::Json(scanner) => scanner.awaits_member_value(),
        };
        match chunk.known_start() {
            Some(mark) if possible => {
                self.rival = Some(Scanner::of(chunk.bytes.get(mark)));
                mark
            }
            _ => 0,
        }
    }

    /// Feeds the rival, and says whether it has come to its end.
    fn rival_ends(&mut self, chunk: &Chunk, from: usize) -> bool {
        let Some(rival) = &mut self.rival else {
            return false;
        };
        match rival.feed(chunk.bytes.get(from..).unwrap_or_default()) {
            Scan::Incomplete => false,
            Scan::Complete(_) => true,
            Scan::Invalid(_) => {
                self.rival = None;
                false
            }
        }
    }
}

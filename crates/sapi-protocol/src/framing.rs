//! Documents out of the byte stream of one connection: boundaries by grammar, and resuming after what is none.
//!
//! Messages only carry the stream. Many documents in one message are each read in one pass and are slices
//! of it, without a copy; a document over several messages is searched for its end by a resumable scanner,
//! each byte once, and copied once. Between documents blanks, byte-order marks, stray `X`, XML
//! declarations, comments and instructions are skipped.
//!
//! **Resuming.** Bytes that turn out to be no document are lost only up to the next message or line that
//! begins one ([`resync`]), also where that lies before the byte at which the error showed: a document cut
//! after a colon swallows the next one, and gives it back. An XML document cut inside its text would swallow
//! all that follow, since elements nest: so while a document is unfinished, a message that begins one of a
//! known class (heartbeats are) is scanned on its own beside it (the rival), and if it ends first, the unfinished
//! one was cut short. Reading again is bounded (see `Allowance`): where that is used up,
//! reading resumes only behind the error.
//!
//! **Memory.** What is held is at most `max_document` bytes, and the message being read.

mod json_scan;
mod malformed;
mod resync;
mod scan;
mod xml_scan;

use std::collections::VecDeque;

use bytes::Bytes;

pub use malformed::{Malformed, MalformedReason};
use resync::{Allowance, begins_known, is_start, mark_of, next_line, skip_filler};
use scan::{Scan, Scanner};

use crate::document::{self, Document, Stop};

/// Message starts remembered inside one unfinished document.
const MAX_MARKS: usize = 1 << 16;
/// The most that `max_document` can be: what a span inside a document reaches.
const MAX_DOCUMENT: usize = 1 << 30;

/// What comes out of the stream.
#[derive(Clone, Debug)]
pub enum Framed {
    /// A document.
    Document(Document),
    /// Bytes that are none.
    Malformed(Malformed),
}

/// Cuts the byte stream of one connection into documents.
///
/// Push a message, then take what comes with [`next`](Self::next) until `None`. At the end of the
/// connection, [`finish`](Self::finish) says what was left unfinished.
#[derive(Debug)]
pub struct Framer {
    max_document: usize,
    queue: VecDeque<Chunk>,
    mode: Mode,
    allowance: Allowance,
}

/// Bytes of the stream, and how far they are read.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    at: usize,
    /// Where messages inside begin a document, in order.
    marks: Vec<usize>,
}

impl Chunk {
    /// Where its first message begins a document of a known class, if it does.
    fn known_start(&self) -> Option<usize> {
        let mark = self.marks.first().copied()?;
        begins_known(&self.bytes, mark).then_some(mark)
    }
}

#[derive(Debug)]
enum Mode {
    /// Between documents.
    Between,
    /// Inside a document whose beginning is held.
    Partial(Partial),
    /// Inside a document that is too large.
    Oversize(Oversize),
    /// Behind bytes that are none, looking for a message or line that begins one.
    Stray(Stray),
}

#[derive(Debug)]
struct Partial {
    held: Vec<u8>,
    marks: Vec<usize>,
    scanner: Scanner,
    rival: Option<Scanner>,
}

#[derive(Debug)]
struct Oversize {
    kept: Bytes,
    size: u64,
    /// None once it is no document either.
    scanner: Option<Scanner>,
}

#[derive(Debug, Default)]
struct Stray {
    kept: Vec<u8>,
    size: u64,
}

impl Framer {
    /// A framer for one connection. A document larger than `max_document` bytes (at most 1 GiB) is malformed.
    pub fn new(max_document: usize) -> Self {
        Self {
            max_document: max_document.clamp(1, MAX_DOCUMENT),
            queue: VecDeque::new(),
            mode: Mode::Between,
            allowance: Allowance::default(),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, message: Bytes) {
        self.allowance.came(message.len());
        let marks = mark_of(&message).into_iter().collect();
        self.queue.push_back(Chunk {
            bytes: message,
            at: 0,
            marks,
        });
    }

    /// The next document, or bytes that are none; `None` until more is pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: None is no end, push goes on"
    )]
    pub fn next(&mut self) -> Option<Framed> {
        while let Some(chunk) = self.queue.pop_front() {
            let framed = match std::mem::replace(&mut self.mode, Mode::Between) {
                Mode::Between => self.between(chunk),
                Mode::Partial(partial) => self.partial(partial, chunk),
                Mode::Oversize(oversize) => self.oversize(oversize, chunk),
                Mode::Stray(stray) => self.stray(stray, chunk),
            };
            if framed.is_some() {
                return framed;
            }
        }
        None
    }

    /// The connection has ended: what was left unfinished, if anything was.
    ///
    /// Documents that it had swallowed come out of [`next`](Self::next) after it; so the last words of a
    /// connection are read by calling `next` until `None`, then `finish`, again and again until it says `None`.
    pub fn finish(&mut self) -> Option<Malformed> {
        match std::mem::replace(&mut self.mode, Mode::Between) {
            Mode::Between => None,
            Mode::Partial(partial) => {
                let end = partial.held.len();
                let framed = self.give_up(partial, None, end, MalformedReason::Truncated);
                match framed {
                    Framed::Malformed(malformed) => Some(malformed),
                    Framed::Document(_) => None,
                }
            }
            Mode::Oversize(oversize) => Some(oversize.malformed()),
            Mode::Stray(stray) => stray.malformed(),
        }
    }

    /// Bytes held at this moment: at most `max_document`, and what was pushed and is not read yet.
    pub fn buffered(&self) -> usize {
        let waiting: usize = self
            .queue
            .iter()
            .map(|chunk| chunk.bytes.len() - chunk.at)
            .sum();
        let held = match &self.mode {
            Mode::Between => 0,
            Mode::Partial(partial) => partial.held.len(),
            Mode::Oversize(oversize) => oversize.kept.len(),
            Mode::Stray(stray) => stray.kept.len(),
        };
        waiting + held
    }

    /// Reads one document of a chunk, or what stands in its place.
    fn between(&mut self, mut chunk: Chunk) -> Option<Framed> {
        let start = match skip_between(&chunk.bytes, chunk.at) {
            Ok(start) => start,
            Err(comment) => {
                chunk.at = comment;
                return self.unfinished(chunk);
            }
        };
        chunk.at = start;
        let rest = chunk.bytes.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        if !is_start(rest.first()) {
            return Some(self.resume(chunk, start, MalformedReason::NotADocument));
        }
        // A longer one is too large; how long it is, the scanner finds out.
        let window = rest.get(..=self.max_document).unwrap_or(rest);
        match document::read(window) {
            Ok(parsed) => {
                let bytes = chunk.bytes.slice(start..start + parsed.end);
                chunk.at = start + parsed.end;
                if chunk.at < chunk.bytes.len() {
                    self.queue.push_front(chunk);
                }
                Some(self.judge(bytes, &parsed))
            }
            Err(Stop::Invalid(at)) => {
                let reason = MalformedReason::of_grammar(rest.first());
                Some(self.resume(chunk, start + at, reason))
            }
            Err(Stop::Incomplete) => self.unfinished(chunk),
        }
    }

    /// What a whole document comes to.
    fn judge(&self, bytes: Bytes, parsed: &document::Parsed) -> Framed {
        if bytes.len() > self.max_document {
            return Framed::Malformed(self.cut(MalformedReason::TooLarge, &bytes));
        }
        match Document::of(bytes.clone(), parsed) {
            Some(document) => Framed::Document(document),
            None => Framed::Malformed(Malformed::new(MalformedReason::InvalidUtf8, bytes)),
        }
    }

    fn cut(&self, reason: MalformedReason, bytes: &Bytes) -> Malformed {
        let kept = bytes.slice(..bytes.len().min(self.max_document));
        Malformed::of_size(reason, kept, bytes.len() as u64)
    }

    /// The document at `chunk.at` is not finished in its chunk, or longer than allowed.
    fn unfinished(&mut self, chunk: Chunk) -> Option<Framed> {
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

    /// The document at `chunk.at` reaches beyond `end`, which is as far as one may.
    fn too_large(&mut self, chunk: &Chunk, end: usize) -> Option<Framed> {
        let start = chunk.at;
        let bytes = chunk.bytes.slice(start..);
        let marks = chunk
            .marks
            .iter()
            .filter(|&&mark| mark > start)
            .map(|mark| mark - start);
        let oversize = Oversize {
            // A copy: a slice would keep the whole message in memory.
            kept: Bytes::copy_from_slice(chunk.bytes.get(start..end).unwrap_or_default()),
            size: 0,
            scanner: Some(Scanner::of(bytes.first())),
        };
        let marks = marks.collect();
        self.oversize(
            oversize,
            Chunk {
                bytes,
                at: 0,
                marks,
            },
        )
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
                return self.allowance.take(rest.len()) && document::read(rest).is_ok();
            }
            after = line;
        }
        false
    }

    /// Holds the chunk from `start` on as the beginning of a document.
    fn hold(&mut self, chunk: &Chunk, start: usize) {
        let rest = chunk.bytes.get(start..).unwrap_or_default();
        let mut scanner = Scanner::of(rest.first());
        // A pass has just found it unfinished, and the scanner agrees with it on every boundary.
        scanner.feed(rest);
        let marks = chunk
            .marks
            .iter()
            .filter(|&&mark| mark > start)
            .map(|mark| mark - start);
        let partial = Partial {
            held: rest.to_vec(),
            marks: marks.collect(),
            scanner,
            rival: None,
        };
        self.mode = Mode::Partial(partial);
    }

    /// Feeds the next message to an unfinished document.
    fn partial(&mut self, mut partial: Partial, mut chunk: Chunk) -> Option<Framed> {
        let held = partial.held.len();
        let rival_from = partial.enter_rival(&chunk);
        match partial.scanner.feed(&chunk.bytes) {
            Scan::Complete(end) => {
                self.complete(partial, chunk, end);
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
    fn complete(&mut self, mut partial: Partial, mut chunk: Chunk, end: usize) {
        partial
            .held
            .extend_from_slice(chunk.bytes.get(..end).unwrap_or_default());
        chunk.at = end;
        self.queue.push_front(chunk);
        let bytes = Bytes::from(partial.held);
        self.queue.push_front(Chunk {
            bytes,
            at: 0,
            marks: partial.marks,
        });
    }

    /// The document at `chunk.at` is none, as the byte at `error` shows: resumes at the next that begins one.
    fn resume(&mut self, mut chunk: Chunk, error: usize, reason: MalformedReason) -> Framed {
        let start = chunk.at;
        let next = self.next_start(&chunk.bytes, &chunk.marks, start, error);
        let end = next.unwrap_or(chunk.bytes.len());
        let bytes = chunk.bytes.slice(start..end);
        if next.is_some() {
            chunk.at = end;
            self.queue.push_front(chunk);
        } else {
            self.mode = Mode::Stray(Stray::default());
        }
        Framed::Malformed(self.cut(reason_at(reason, error, next), &bytes))
    }

    /// The same for a document that is held, with the chunk that showed it.
    fn give_up(
        &mut self,
        partial: Partial,
        chunk: Option<Chunk>,
        error: usize,
        reason: MalformedReason,
    ) -> Framed {
        let held = partial.held.len();
        let inside = self.next_start(&partial.held, &partial.marks, 0, error);
        if let Some(next) = inside {
            let bytes = Bytes::from(partial.held);
            let lost = bytes.slice(..next);
            if let Some(chunk) = chunk {
                self.queue.push_front(chunk);
            }
            self.queue.push_front(Chunk {
                bytes,
                at: next,
                marks: partial.marks,
            });
            return Framed::Malformed(self.cut(reason_at(reason, error, inside), &lost));
        }
        let Some(mut chunk) = chunk else {
            return Framed::Malformed(self.cut(reason, &partial.held.into()));
        };
        let next = self.first_start(&chunk, error - held);
        let end = next.unwrap_or(chunk.bytes.len());
        let mut lost = partial.held;
        let missing = self.max_document.saturating_sub(held).min(end);
        lost.extend_from_slice(chunk.bytes.get(..missing).unwrap_or_default());
        if next.is_some() {
            chunk.at = end;
            self.queue.push_front(chunk);
        } else {
            self.mode = Mode::Stray(Stray::default());
        }
        let reason = reason_at(reason, error, next.map(|next| held + next));
        Framed::Malformed(Malformed::of_size(reason, lost.into(), (held + end) as u64))
    }

    /// The first message or line in a whole chunk that begins a document; reading ran up to `read`.
    fn first_start(&mut self, chunk: &Chunk, read: usize) -> Option<usize> {
        if chunk.marks.first() == Some(&0) && self.allowance.take(read) {
            return Some(0);
        }
        self.next_start(&chunk.bytes, &chunk.marks, 0, read)
    }

    /// The first message or line after `start` that begins a document; what lies before `error` is read again.
    fn next_start(
        &mut self,
        bytes: &[u8],
        marks: &[usize],
        start: usize,
        error: usize,
    ) -> Option<usize> {
        let after = |after: usize| {
            let mark = marks
                .get(marks.partition_point(|&mark| mark <= after))
                .copied();
            let line = next_line(bytes.get(..mark.unwrap_or(bytes.len()))?, after);
            line.or(mark)
        };
        let next = after(start)?;
        if self.allowance.take(error.saturating_sub(next)) {
            return Some(next);
        }
        after(error.min(bytes.len()).saturating_sub(1))
    }

    /// Skips the rest of a document that is too large.
    fn oversize(&mut self, mut oversize: Oversize, mut chunk: Chunk) -> Option<Framed> {
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

    /// Looks for a message or line that begins a document; what comes before it is one malformed part.
    fn stray(&mut self, mut stray: Stray, mut chunk: Chunk) -> Option<Framed> {
        let next = self.first_start(&chunk, 0);
        let lost = chunk
            .bytes
            .get(..next.unwrap_or(chunk.bytes.len()))
            .unwrap_or_default();
        if skip_filler(lost, 0) < lost.len() {
            stray.size += lost.len() as u64;
            let room = self.max_document.saturating_sub(stray.kept.len());
            stray
                .kept
                .extend_from_slice(lost.get(..room).unwrap_or(lost));
        }
        let Some(next) = next else {
            self.mode = Mode::Stray(stray);
            return None;
        };
        chunk.at = next;
        self.queue.push_front(chunk);
        stray.malformed().map(Framed::Malformed)
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

impl Oversize {
    fn malformed(self) -> Malformed {
        Malformed::of_size(MalformedReason::TooLarge, self.kept, self.size)
    }
}

impl Stray {
    fn malformed(self) -> Option<Malformed> {
        let malformed =
            Malformed::of_size(MalformedReason::NotADocument, self.kept.into(), self.size);
        (self.size > 0).then_some(malformed)
    }
}

/// A document that broke only where the next one begins was cut short.
fn reason_at(reason: MalformedReason, error: usize, next: Option<usize>) -> MalformedReason {
    let broken = matches!(
        reason,
        MalformedReason::InvalidJson | MalformedReason::InvalidXml
    );
    if broken && next.is_some_and(|next| next <= error) {
        return MalformedReason::Truncated;
    }
    reason
}

/// The first position from `from` on where something stands between documents that counts; `Err` if a
/// comment or instruction begins there and does not end.
fn skip_between(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut at = skip_filler(bytes, from);
    while bytes.get(at) == Some(&b'<') {
        match document::misc(bytes, at) {
            Ok(Some(length)) => at = skip_filler(bytes, at + length),
            Ok(None) => break,
            Err(_) => return Err(at),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests;

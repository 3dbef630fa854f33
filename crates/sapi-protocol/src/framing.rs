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
mod oversize;
mod resume;
mod resync;
mod scan;
mod unfinished;
mod xml_scan;

use std::collections::VecDeque;

use bytes::Bytes;

pub use malformed::{Malformed, MalformedReason};
use oversize::Oversize;
use resume::Stray;
use resync::{Allowance, begins_known, is_start, mark_of, skip_filler};
use unfinished::Partial;

use crate::document::{self, Document, Stop};

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
/// connection, take what is left with [`last`](Self::last) until `None`.
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
    /// What begins at `start`, as a chunk of its own; a document that begins just there is no mark of it.
    fn split_off(&self, start: usize) -> Self {
        let after = self.marks.iter().filter(|&&mark| mark > start);
        Self {
            bytes: self.bytes.slice(start..),
            at: 0,
            marks: after.map(|mark| mark - start).collect(),
        }
    }

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
    /// Documents that it had swallowed come out of [`next`](Self::next) after it, and may be followed by more
    /// to finish: [`last`](Self::last) does both until nothing is left.
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

    /// The connection has ended: the next of all that is left, documents that an unfinished one had swallowed
    /// included; `None` for good.
    pub fn last(&mut self) -> Option<Framed> {
        self.next().or_else(|| self.finish().map(Framed::Malformed))
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

//! Resuming after bytes that are no document: what is lost, and where reading goes on.

use bytes::Bytes;

use super::resync::{next_line, skip_filler};
use super::unfinished::Partial;
use super::{Chunk, Framed, Framer, Malformed, MalformedReason, Mode};

/// Bytes behind a malformed part that begin no document either.
#[derive(Debug, Default)]
pub(super) struct Stray {
    pub(super) kept: Vec<u8>,
    pub(super) size: u64,
}

impl Framer {
    /// The document at `chunk.at` is none, as the byte at `error` shows: resumes at the next that begins one.
    pub(super) fn resume(
        &mut self,
        mut chunk: Chunk,
        error: usize,
        reason: MalformedReason,
    ) -> Framed {
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
    pub(super) fn give_up(
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
    pub(super) fn first_start(&mut self, chunk: &Chunk, read: usize) -> Option<usize> {
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

    /// Looks for a message or line that begins a document; what comes before it is one malformed part.
    pub(super) fn stray(&mut self, mut stray: Stray, mut chunk: Chunk) -> Option<Framed> {
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

impl Stray {
    pub(super) fn malformed(self) -> Option<Malformed> {
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

//! Where reading can resume after bytes that are no document: which messages and lines begin one.
//!
//! A message begins a document if its first byte that is no blank is `{`, `[` or `<`. A line does under
//! the same rule at its first column; but an indented line, and one that begins with an XML tag, must name
//! its class as SAPI names classes, with a capital: else every line of a pretty-printed document that was
//! cut short would come out as an event.

use memchr::memchr;

use crate::text::{is_blank, is_name_byte, skip_blanks};

/// The classes of the vendor's page.
const KNOWN_CLASSES: [&[u8]; 4] = [
    b"AgentStatusChange",
    b"AgentProvChange",
    b"ClientCheck",
    b"Interaction",
];

/// Whether a byte between documents means nothing: blanks, the bytes of a byte-order mark, and the `X`
/// that the server's framework sends as a heartbeat.
fn is_filler(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'X' | 0xef | 0xbb | 0xbf)
}

/// The first position from `from` on that is no filler.
pub(super) fn skip_filler(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter()
        .position(|&byte| !is_filler(byte))
        .map_or(bytes.len(), |length| from + length)
}

/// Whether a byte begins a document.
pub(super) fn is_start(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'{' | b'[' | b'<'))
}

/// Where in a message a document begins, if it does with the first byte that is no filler.
pub(super) fn mark_of(message: &[u8]) -> Option<usize> {
    let at = skip_filler(message, 0);
    is_start(message.get(at)).then_some(at)
}

/// The first line after `after` that begins a document.
pub(super) fn next_line(bytes: &[u8], after: usize) -> Option<usize> {
    let mut from = after;
    loop {
        let line = from + memchr(b'\n', bytes.get(from..)?)? + 1;
        let rest = bytes.get(line..)?;
        let indent = rest
            .iter()
            .position(|&byte| !matches!(byte, b' ' | b'\t' | b'X'));
        let start = line + indent.unwrap_or(rest.len());
        if line_begins_document(bytes, line, start) {
            return Some(start);
        }
        from = line;
    }
}

fn line_begins_document(bytes: &[u8], line: usize, start: usize) -> bool {
    let named = || {
        name_at(bytes, start)
            .first()
            .is_some_and(u8::is_ascii_uppercase)
    };
    match bytes.get(start) {
        Some(b'{') => line == start || named(),
        Some(b'[') => line == start,
        Some(b'<') => {
            named()
                || bytes
                    .get(start..)
                    .is_some_and(|rest| rest.starts_with(b"<?xml"))
        }
        _ => false,
    }
}

/// The name of the class that the bytes at `at` begin; empty if there is none, cut if the bytes end.
pub(super) fn name_at(bytes: &[u8], at: usize) -> &[u8] {
    let begin = match bytes.get(at) {
        Some(b'<') => at + 1,
        Some(b'{') => skip_blanks(bytes, at + 1) + 1,
        _ => return b"",
    };
    if bytes.get(at) == Some(&b'{') && bytes.get(begin - 1) != Some(&b'"') {
        return b"";
    }
    let rest = bytes.get(begin..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|&byte| !is_name_byte(byte))
        .unwrap_or(rest.len());
    rest.get(..length).unwrap_or_default()
}

/// Whether a document of a known class begins at `at`.
pub(super) fn begins_known(bytes: &[u8], at: usize) -> bool {
    KNOWN_CLASSES.contains(&name_at(bytes, at))
}

/// Reading some bytes again is what resuming costs. The allowance keeps all work linear in the bytes that
/// came: at most five times as much, and a mebibyte.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    came: u64,
    again: u64,
}

impl Allowance {
    const FREE: u64 = 1 << 20;
    const FACTOR: u64 = 4;

    pub(super) fn came(&mut self, bytes: usize) {
        self.came = self.came.saturating_add(bytes as u64);
    }

    /// Takes the cost of reading so many bytes again, if it is left.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let again = self.again.saturating_add(bytes as u64);
        let left = again
            <= self
                .came
                .saturating_mul(Self::FACTOR)
                .saturating_add(Self::FREE);
        if left {
            self.again = again;
        }
        left
    }

    #[cfg(test)]
    pub(super) fn is_kept(&self) -> bool {
        self.again <= self.came * Self::FACTOR + Self::FREE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_a_document_by_its_column_and_name() {
        let next = |text: &str| next_line(text.as_bytes(), 0);
        assert_eq!(next("x\n{\"a\":1}"), Some(2));
        assert_eq!(next("x\n[1]"), Some(2));
        assert_eq!(next("x\n  {\"a\":1}"), None);
        assert_eq!(next("x\n  { \"Abc\":1}"), Some(4));
        assert_eq!(next("x\n<event>"), None);
        assert_eq!(next("x\n\t<Interaction>"), Some(3));
        assert_eq!(next("x\r\nX<?xml version='1.0'?>"), Some(4));
        assert_eq!(next("{\"a\":1}\n\n"), None);
    }

    #[test]
    fn a_known_class_is_known_by_its_whole_name() {
        assert!(begins_known(b"{ \"ClientCheck\" :", 0));
        assert!(begins_known(b"<Interaction x='1'>", 0));
        assert!(!begins_known(b"<Interact", 0));
        assert!(!begins_known(b"{\"InteractionX\":1}", 0));
        assert!(!begins_known(b"{", 0));
    }

    #[test]
    fn the_allowance_runs_out_and_comes_back_with_bytes() {
        let mut allowance = Allowance::default();
        assert!(allowance.take(1 << 20));
        assert!(!allowance.take(1));
        allowance.came(1);
        assert!(allowance.take(4));
        assert!(!allowance.take(1));
    }
}

//! What came, in numbers: for consumers of millions of events that are numbered without a hole.

use std::time::{Duration, Instant};

/// Counts events by their `sapisequence`, in structured CloudEvents, single ones or in batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Events that followed the one before.
    pub events: usize,
    /// Events that had come already.
    pub repeated: usize,
    /// Events that came before one that precedes them.
    pub early: usize,
    /// The number of the first.
    pub first: Option<u64>,
    /// The longest time between two that followed.
    pub longest_gap: Duration,
    last: u64,
    last_at: Option<Instant>,
}

impl Tally {
    /// Takes a body in; returns how many events in it followed.
    pub fn take(&mut self, body: &[u8], at: Instant) -> usize {
        const FIELD: &[u8] = br#""sapisequence":""#;
        let before = self.events;
        for found in memchr::memmem::find_iter(body, FIELD) {
            let digits = body[found + FIELD.len()..].iter();
            let digits = digits.take_while(|byte| byte.is_ascii_digit());
            let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            self.number(number);
        }
        if self.events > before {
            let last = self.last_at.replace(at).unwrap_or(at);
            self.longest_gap = self.longest_gap.max(at.duration_since(last));
        }
        self.events - before
    }

    fn number(&mut self, number: u64) {
        let first = *self.first.get_or_insert(number);
        if number == first && self.events == 0 || number == self.last + 1 {
            (self.events, self.last) = (self.events + 1, number);
        } else if (first..=self.last).contains(&number) {
            self.repeated += 1;
        } else {
            self.early += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_follows_what_repeats_and_what_is_early() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let event = |number| format!(r#"{{"id":"x","sapisequence":"{number}"}}"#);
        let batch = format!("[{},{}]", event(100), event(101));
        assert_eq!(tally.take(batch.as_bytes(), start), 2);
        let later = start + Duration::from_secs(3);
        for (number, follows) in [(100, 0), (101, 0), (103, 0), (102, 1), (99, 0)] {
            assert_eq!(tally.take(event(number).as_bytes(), later), follows);
        }
        assert_eq!((tally.events, tally.repeated, tally.early), (3, 2, 2));
        assert_eq!(
            (tally.first, tally.longest_gap),
            (Some(100), Duration::from_secs(3))
        );
    }
}

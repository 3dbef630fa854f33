//! A numbering as it is kept over a restart: little-endian words.
//!
//! `next, newest_ms, heard_ms`, then `first, began_ms`, then for each hole that was not reported yet
//! `first, last, from_ms, until_ms`. Earlier versions wrote the first three.

use std::time::Instant;

use super::{HOLES, Hole, Ledger};

impl Ledger {
    /// The numbering, and when it was last heard.
    pub(super) fn save(&self, heard_ms: u64) -> Vec<u8> {
        let words = [
            self.next,
            self.newest_ms,
            heard_ms,
            self.first,
            self.began_ms,
        ];
        let open = self.holes.iter().filter(|hole| !hole.reported);
        let holes = open.flat_map(|hole| [hole.first, hole.last, hole.from_ms, hole.until_ms]);
        let words = words.into_iter().chain(holes);
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// A numbering as an earlier run of the relay left it, and when it was last heard. What was
    /// open then can still be filled, and is reported if it is not.
    pub(super) fn restore(bytes: &[u8], now: Instant) -> Option<(Self, u64)> {
        let (words, []) = bytes.as_chunks() else {
            return None;
        };
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (&[next, newest_ms, heard_ms], rest) = words.split_first_chunk()?;
        let (&[first, began_ms], holes) = rest.split_first_chunk().unwrap_or((&[next, 0], &[]));
        let hole = |&[first, last, from_ms, until_ms]: &[u64; 4]| Hole {
            first,
            last,
            from_ms,
            until_ms,
            opened: now,
            reported: false,
            filled: 0,
            unverified: false,
            across_cut: false,
        };
        let holes = holes.as_chunks().0.iter().map(hole);
        let ledger = Self {
            next,
            began_ms,
            holes: holes
                .filter(|hole| hole.first <= hole.last)
                .take(HOLES)
                .collect(),
            restored: true,
            cut: true,
            ..Self::begin(first, newest_ms)
        };
        Some((ledger, heard_ms))
    }
}

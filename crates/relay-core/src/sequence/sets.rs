//! Numberings as sets of numbers: what one of them has not heard, and what two of them together
//! have not heard.

use super::{HOLES, Hole, Ledger, Turn};

/// A run of numbers, both ends included.
pub(super) type Run = (u64, u64);

/// How many numbers.
pub(super) fn count(runs: &[Run]) -> u64 {
    let len = |(first, last): &Run| (last - first).saturating_add(1);
    runs.iter().map(len).fold(0, u64::saturating_add)
}

impl Ledger {
    /// The numbers of a run that it has not heard, or can't know of. What was reported as missing
    /// a while ago counts as heard: it has been told.
    pub(super) fn unheard(&self, run: Run) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut push = |first: u64, last: u64| {
            let (first, last) = (first.max(run.0), last.min(run.1));
            if first <= last {
                runs.push((first, last));
            }
        };
        if let Some(before) = self.first.checked_sub(1) {
            push(0, before);
        }
        for hole in &self.holes {
            push(hole.first, hole.last);
        }
        push(self.next.max(self.first), u64::MAX);
        runs
    }

    /// When the present numbering began, as far as that was seen; 0 where it was not.
    pub(super) fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// How many holes it has, against how many it can have.
    pub(super) fn is_crowded(&self) -> bool {
        self.holes.len() > HOLES / 2
    }

    /// Forgets the holes of which `other` has heard every number.
    pub(super) fn forget_heard(&mut self, other: &Self) {
        self.holes
            .retain(|hole| !other.unheard((hole.first, hole.last)).is_empty());
    }

    /// Whatever is open and not reported yet is reported now.
    pub(super) fn give_up(mut self) -> Vec<Turn> {
        let open = self.holes.drain(..).filter(|hole| !hole.reported);
        self.turns.extend(open.map(Turn::Open));
        self.forget_told(|_| true);
        self.turns
    }

    /// What two numberings that are one have heard together. Some number has been heard by both.
    pub(super) fn merged(&self, other: &Self) -> Self {
        let (ahead, behind) = if self.next >= other.next {
            (self, other)
        } else {
            (other, self)
        };
        let pieces = |hole: &Hole, runs: Vec<Run>| {
            let hole = *hole;
            runs.into_iter().map(move |(first, last)| Hole {
                first,
                last,
                across_cut: false,
                ..hole
            })
        };
        // Only before the first number that the other one knows of, what is behind knows more.
        let before = |hole: &Hole| {
            let last = hole.last.min(ahead.first.saturating_sub(1));
            let run = (hole.first, last);
            Some(run).filter(|(first, last)| first <= last && hole.first < ahead.first)
        };
        let early = behind.holes.iter();
        let early = early.flat_map(|hole| pieces(hole, before(hole).into_iter().collect()));
        let late = ahead.holes.iter();
        let late = late.flat_map(|hole| pieces(hole, behind.unheard((hole.first, hole.last))));
        let mut merged = Self {
            first: ahead.first.min(behind.first),
            newest_ms: ahead.newest_ms.max(behind.newest_ms),
            holes: early.chain(late).collect(),
            turns: Vec::new(),
            cut: false,
            ..ahead.clone()
        };
        let behind_told = behind.told.iter().filter(|told| {
            let mut known = ahead.told.iter();
            !known.any(|known| known.first <= told.last && told.first <= known.last)
        });
        let told = ahead.told.iter().chain(behind_told).map(|told| {
            let open = merged.unheard((told.first, told.last));
            let filled = told.len().saturating_sub(count(&open));
            Hole { filled, ..*told }
        });
        merged.told = told.filter(|told| told.filled < told.len()).collect();
        while merged.holes.len() > HOLES {
            let oldest = merged.holes.pop_front().filter(|hole| !hole.reported);
            merged.turns.extend(oldest.map(Turn::Open));
        }
        merged
    }
}

//! The numbering of one subscription and instance: what is expected next, which holes are open,
//! and when the numbering began anew. Pure: it is told numbers and times.
//!
//! How the server numbers is not documented (per subscription? per tenant? heartbeats too?), so
//! everything that this finds is advice. Rules:
//! * a number beyond the expected one opens a hole; a number within a hole fills it; a hole is
//!   reported only if it is still open after [`GRACE`];
//! * a number before the expected one, in no hole, is a repetition, unless its timestamp is newer
//!   than all before it and the next number follows it: then the numbering began anew;
//! * a leap beyond [`LEAP`] is a new beginning as well, not that many losses;
//! * a number with a timestamp from before the present numbering's beginning is a straggler.
//!
//! Where several subscriptions share a numbering, [`common`] says what none of them has heard.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod common;
mod instance;
mod ledgers;
mod saved;
mod sets;
#[cfg(test)]
mod tests;

pub(crate) use ledgers::{AcrossCut, Finding, Ledgers};

/// How long a hole may be open before it is reported.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// A forward leap beyond this is a new beginning of the numbering.
const LEAP: u64 = 1_000_000;
/// Holes that are kept for one numbering; beyond that the oldest is reported at once.
const HOLES: usize = 64;
/// A reported hole can be filled for so long.
const LATE: Duration = Duration::from_mins(10);
/// A hole that a subscription may still fill, being away or just back, is held back for so long.
const HELD: Duration = Duration::from_mins(1);

/// What a document says of its place in the numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) sequence: u64,
    pub(crate) timestamp: Option<u64>,
    pub(crate) heartbeat: bool,
    /// A hash of the document without its msgInfo.
    pub(crate) content: u64,
}

/// What one number said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The first that is known of this numbering.
    First,
    /// The expected one.
    Next,
    /// A later one: numbers are missing before it.
    Hole,
    /// It filled (part of) a hole.
    Filled,
    /// A repetition, a straggler, or something that can't be told yet.
    Old,
    /// The numbering began anew.
    Restarted,
}

/// A run of numbers that have not been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The timestamps around it, in Unix milliseconds, as far as they are known.
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) opened: Instant,
    /// It was told to an operator.
    pub(crate) reported: bool,
    /// Of what was told, how many numbers came after all.
    pub(crate) filled: u64,
    /// It spans a restart of the relay.
    pub(crate) unverified: bool,
    /// It spans the last disconnect, or the restart of the relay.
    pub(crate) across_cut: bool,
}

impl Hole {
    /// How many numbers.
    pub(crate) fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    fn contains(&self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    /// When it is reported, if it stays open. `hold`: until then a subscription may fill it.
    fn due(&self, hold: Option<Instant>) -> Instant {
        let longest = self.opened + HELD;
        let until = hold.map_or(self.opened, |hold| hold.min(longest));
        until.max(self.opened + GRACE)
    }
}

/// What became of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It stayed open for too long.
    Open(Hole),
    /// It had been reported, as large as it is here, and is now filled; or some of it is, and the
    /// rest won't be.
    Filled(Hole),
}

/// One numbering.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// The first number of which it knows whether it was seen.
    first: u64,
    next: u64,
    /// The newest timestamp seen.
    newest_ms: u64,
    /// The timestamp with which the present numbering began.
    began_ms: u64,
    /// The number that would follow, if the numbering began anew, and its timestamp.
    anew: Option<(u64, u64)>,
    holes: VecDeque<Hole>,
    /// Reported holes as large as they were reported.
    told: VecDeque<Hole>,
    turns: Vec<Turn>,
    /// Nothing has been seen since the relay started.
    restored: bool,
    /// Nothing has been seen since the last disconnect.
    cut: bool,
}

impl Ledger {
    /// A numbering whose first known number is `sequence`.
    pub(crate) fn begin(sequence: u64, timestamp: u64) -> Self {
        Self {
            first: sequence,
            next: sequence.saturating_add(1),
            newest_ms: timestamp,
            began_ms: 0,
            anew: None,
            holes: VecDeque::new(),
            told: VecDeque::new(),
            turns: Vec::new(),
            restored: false,
            cut: false,
        }
    }

    /// The subscription's connection ended. What earlier cuts left open has been told with them.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
        for hole in &mut self.holes {
            hole.across_cut = false;
        }
    }

    /// Takes a number in.
    pub(crate) fn observe(
        &mut self,
        sequence: u64,
        timestamp: Option<u64>,
        now: Instant,
    ) -> Observed {
        let observed = self.judge(sequence, timestamp, now);
        if matches!(
            observed,
            Observed::Next | Observed::Hole | Observed::Restarted
        ) {
            (self.restored, self.cut) = (false, false);
        }
        self.newest_ms = self.newest_ms.max(timestamp.unwrap_or(0));
        observed
    }

    fn judge(&mut self, sequence: u64, timestamp: Option<u64>, now: Instant) -> Observed {
        if sequence == self.next {
            self.anew = None;
            self.next = sequence.saturating_add(1);
            return Observed::Next;
        }
        if self.fill(sequence) {
            return Observed::Filled;
        }
        let stamp = timestamp.unwrap_or(self.newest_ms);
        if let Some((next, since)) = self.anew
            && sequence >= next
            && sequence < self.next
            && stamp >= since
        {
            self.restart(next, since);
            self.advance(sequence, stamp, now);
            return Observed::Restarted;
        }
        if sequence < self.next {
            if timestamp.is_some_and(|timestamp| timestamp > self.newest_ms) {
                self.anew = Some((sequence.saturating_add(1), stamp));
            }
            return Observed::Old;
        }
        if timestamp.is_some_and(|timestamp| timestamp < self.began_ms) {
            return Observed::Old;
        }
        if sequence - self.next > LEAP {
            self.restart(sequence.saturating_add(1), stamp);
            return Observed::Restarted;
        }
        self.anew = None;
        self.advance(sequence, stamp, now);
        Observed::Hole
    }

    /// Goes on behind `sequence`, over a hole if there is one.
    fn advance(&mut self, sequence: u64, stamp: u64, now: Instant) {
        if sequence > self.next {
            if self.holes.len() >= HOLES
                && let Some(hole) = self.holes.pop_front()
                && !hole.reported
            {
                self.turns.push(Turn::Open(hole));
            }
            self.holes.push_back(Hole {
                first: self.next,
                last: sequence - 1,
                from_ms: self.newest_ms,
                until_ms: stamp,
                opened: now,
                reported: false,
                filled: 0,
                unverified: self.restored,
                across_cut: self.cut,
            });
        }
        self.next = sequence.saturating_add(1);
    }

    /// The numbering begins anew: its open holes can't be filled any more.
    fn restart(&mut self, next: u64, began_ms: u64) {
        let open = self.holes.drain(..).filter(|hole| !hole.reported);
        self.turns.extend(open.map(Turn::Open));
        self.forget_told(|_| true);
        // The number before `next` has been seen: it was the first.
        self.first = next.saturating_sub(1);
        (self.next, self.began_ms, self.anew) = (next, began_ms, None);
    }

    /// Takes a number out of the hole it lies in.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some(index) = self.holes.iter().position(|hole| hole.contains(sequence)) else {
            return false;
        };
        let Some(hole) = self.holes.get_mut(index) else {
            return false;
        };
        let was_reported = hole.reported;
        if hole.first == hole.last {
            self.holes.remove(index);
        } else if sequence == hole.first {
            hole.first += 1;
        } else if sequence == hole.last {
            hole.last -= 1;
        } else {
            let after = Hole {
                first: sequence + 1,
                ..*hole
            };
            hole.last = sequence - 1;
            if self.holes.len() < HOLES {
                self.holes.insert(index + 1, after);
            } else if !after.reported {
                self.turns.push(Turn::Open(after));
            }
        }
        if was_reported {
            let mut told = self.told.iter_mut();
            if let Some(told) = told.find(|told| told.contains(sequence)) {
                told.filled += 1;
            }
            self.forget_told(|told| told.filled == told.len());
        }
        true
    }

    /// Some of what was told is over: filled, or not to be filled any more. What came of it is said.
    fn forget_told(&mut self, is_over: impl Fn(&Hole) -> bool) {
        let over = self.told.iter().filter(|told| is_over(told));
        let filled = over.filter(|told| told.filled > 0).copied();
        self.turns.extend(filled.map(Turn::Filled));
        self.told.retain(|told| !is_over(told));
    }

    /// Reports what has been open for too long, and what became of reported holes. `hold`: until
    /// then a subscription may fill what is open.
    pub(crate) fn settle(&mut self, now: Instant, hold: Option<Instant>) -> Vec<Turn> {
        let is_late = |hole: &Hole| now.saturating_duration_since(hole.opened) >= LATE;
        for hole in &mut self.holes {
            if !hole.reported && hole.due(hold) <= now {
                self.turns.push(Turn::Open(*hole));
                hole.reported = true;
                self.told.push_back(*hole);
            }
        }
        self.holes.retain(|hole| !is_late(hole));
        self.forget_told(is_late);
        while self.told.len() > HOLES {
            let oldest = self.told.pop_front().filter(|told| told.filled > 0);
            self.turns.extend(oldest.map(Turn::Filled));
        }
        std::mem::take(&mut self.turns)
    }

    /// When [`Ledger::settle`] has something to say.
    pub(crate) fn due(&self, hold: Option<Instant>) -> Option<Instant> {
        let open = self.holes.iter().filter(|hole| !hole.reported);
        let partly = self.told.iter().filter(|told| told.filled > 0);
        let partly = partly.map(|told| told.opened + LATE);
        let due = open.map(|hole| hole.due(hold)).chain(partly).min();
        if self.turns.is_empty() {
            due
        } else {
            Some(self.turns_due(due))
        }
    }

    fn turns_due(&self, due: Option<Instant>) -> Instant {
        let opened = self.turns.iter().map(|turn| match turn {
            Turn::Open(hole) | Turn::Filled(hole) => hole.opened,
        });
        opened.chain(due).min().unwrap_or_else(Instant::now)
    }

    /// The open holes that span the last disconnect.
    pub(crate) fn across_cut(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter().filter(|hole| hole.across_cut)
    }
}

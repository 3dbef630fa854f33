//! One numbering that several subscriptions share: how that is found out, and what none of them has
//! heard. Pure: it is told what each subscription shows.
//!
//! A server that numbers tenant-wide gives a heartbeat of one subscription a number that the others
//! never see. So:
//! * an event that two subscriptions show with the same number, time and content proves that they
//!   share the numbering; from then on only what *none* of them has heard is missing;
//! * the same number with another time, or on a heartbeat here and an event there, proves that they
//!   do not; from then on each is held to its own numbers, until much more speaks for the contrary;
//! * before there is either, a hole of one subscription is explained by what the others showed with
//!   just these numbers and at that time. That is so in a night without an event.
//!
//! No loss can hide in this. Where the numbering is shared, a lost number is heard by none. Where it
//! is not, but looks like it for a while, the subscriptions are in step, and a number means the
//! same event; once they fall out of step, the next number that both show says so, and what was
//! still being held is announced.

use std::time::Instant;

use super::sets::Run;
use super::{Hole, Ledger, Observed, Shown, Turn};

#[cfg(test)]
mod tests;

/// The latest numbers that are compared; a power of two.
const RECENT: usize = 1024;
/// Timestamps of one server may be out of order by so much.
const SLACK_MS: u64 = 1_000;
/// After a contradiction it takes so many times as many proofs as before.
const CAUTION: u32 = 64;
/// But never more than this.
const CAUTIOUS: u32 = CAUTION * CAUTION;

/// A number, and which subscriptions showed it.
#[derive(Clone, Copy, Debug)]
struct Recent {
    shown: Shown,
    by: u8,
}

/// What a number says of the subscriptions that showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    Nothing,
    /// These share the numbering.
    Shared(u8),
    Apart,
}

/// What is known of the subscriptions' numberings of one instance.
#[derive(Debug)]
pub(super) struct Common {
    recent: Vec<Option<Recent>>,
    /// The subscriptions that share the numbering, a bit each.
    linked: u8,
    /// What they have heard together.
    union: Option<Ledger>,
    proofs: u32,
    needed: u32,
}

impl Common {
    pub(super) fn new() -> Self {
        Self {
            recent: Vec::new(),
            linked: 0,
            union: None,
            proofs: 0,
            needed: 1,
        }
    }

    /// As an earlier run left it.
    pub(super) fn restore(linked: u8, union: Ledger) -> Self {
        Self {
            linked,
            union: Some(union),
            ..Self::new()
        }
    }

    /// The subscriptions that share the numbering, a bit each, and what they have heard together.
    pub(super) fn shared(&self) -> Option<(u8, &Ledger)> {
        self.union.as_ref().map(|union| (self.linked, union))
    }

    pub(super) fn is_linked(&self, subscription: usize) -> bool {
        self.linked & bit(subscription) != 0
    }

    /// Whether nothing has spoken for the numberings yet, nor against them.
    fn is_undecided(&self) -> bool {
        self.needed == 1
    }

    /// A subscription has shown a number, and its own ledger said what that is. Answers with what is
    /// to be reported because the numbering turns out not to be shared.
    pub(super) fn observe<'a>(
        &mut self,
        subscription: usize,
        shown: Shown,
        observed: Observed,
        ledger: impl Fn(usize) -> Option<&'a Ledger>,
        now: Instant,
    ) -> Vec<Turn> {
        let mut turns = Vec::new();
        match self.compare(subscription, shown, observed) {
            Evidence::Nothing => {}
            Evidence::Shared(by) => {
                self.proofs = self.proofs.saturating_add(1);
                if self.proofs >= self.needed && by & !self.linked != 0 {
                    self.link(by, ledger);
                }
            }
            Evidence::Apart => {
                // A straggler from before the numbering began anew contradicts nothing.
                let ledgers = (0..u8::BITS as usize).filter_map(&ledger);
                let began_ms = ledgers.map(Ledger::began_ms).max();
                let union_ms = self.union.as_ref().map(Ledger::began_ms);
                if shown.timestamp >= began_ms.max(union_ms) {
                    turns = self.part();
                }
            }
        }
        if self.is_linked(subscription)
            && let Some(union) = &mut self.union
        {
            union.observe(shown.sequence, shown.timestamp, now);
        }
        turns
    }

    /// Compares a number with what others showed under it.
    fn compare(&mut self, subscription: usize, shown: Shown, observed: Observed) -> Evidence {
        if observed == Observed::Restarted {
            self.recent.clear();
        }
        // A repetition says nothing new; and what has no time can't be told from its like.
        if shown.timestamp.is_none() || observed == Observed::Old {
            return Evidence::Nothing;
        }
        self.recent.resize(RECENT, None);
        let Some(place) = self.recent.get_mut(place(shown.sequence)) else {
            return Evidence::Nothing;
        };
        let own = bit(subscription);
        let news = Recent { shown, by: own };
        let Some(known) = place.as_mut() else {
            *place = Some(news);
            return Evidence::Nothing;
        };
        let same_number = known.shown.sequence == shown.sequence;
        if same_number && known.shown == shown {
            known.by |= own;
            return if known.by == own || shown.heartbeat {
                Evidence::Nothing
            } else {
                Evidence::Shared(known.by)
            };
        }
        let same_time =
            known.shown.timestamp == shown.timestamp && known.shown.heartbeat == shown.heartbeat;
        let foreign = known.by & own == 0;
        *known = news;
        if same_number && foreign && !same_time {
            Evidence::Apart
        } else {
            Evidence::Nothing
        }
    }

    /// These subscriptions share the numbering.
    fn link<'a>(&mut self, by: u8, ledger: impl Fn(usize) -> Option<&'a Ledger>) {
        let added = by & !self.linked;
        let added = (0..u8::BITS as usize).filter(|index| added & bit(*index) != 0);
        for ledger in added.filter_map(ledger) {
            self.union = Some(match self.union.take() {
                None => ledger.merged(ledger),
                Some(union) => union.merged(ledger),
            });
        }
        self.linked |= by;
    }

    /// The subscriptions do not share the numbering. What was held is to be reported.
    fn part(&mut self) -> Vec<Turn> {
        (self.linked, self.proofs) = (0, 0);
        self.needed = self.needed.saturating_mul(CAUTION).min(CAUTIOUS);
        self.union.take().map(Ledger::give_up).unwrap_or_default()
    }

    /// What is to be said of the shared numbering by now.
    pub(super) fn settle(&mut self, now: Instant, hold: Option<Instant>) -> Vec<Turn> {
        let union = self.union.as_mut();
        union.map_or(Vec::new(), |union| union.settle(now, hold))
    }

    /// When [`Common::settle`] has something to say.
    pub(super) fn due(&self, hold: Option<Instant>) -> Option<Instant> {
        self.union.as_ref().and_then(|union| union.due(hold))
    }

    /// The numbers of a subscription's hole of which nothing is known by the others either.
    pub(super) fn unexplained(&self, subscription: usize, hole: &Hole) -> Vec<Run> {
        let run = (hole.first, hole.last);
        if self.is_linked(subscription) {
            // A numbering that has begun anew since says nothing of what was before.
            let union = self.union.as_ref();
            let union = union.filter(|union| union.began_ms() <= hole.until_ms);
            return union.map_or_else(|| vec![run], |union| union.unheard(run));
        }
        if !self.is_undecided() || hole.len() > RECENT as u64 {
            return vec![run];
        }
        let mut runs: Vec<Run> = Vec::new();
        for sequence in
            (hole.first..=hole.last).filter(|it| !self.explains(subscription, hole, *it))
        {
            match runs.last_mut().filter(|(_, last)| last + 1 == sequence) {
                Some((_, last)) => *last = sequence,
                None => runs.push((sequence, sequence)),
            }
        }
        runs
    }

    /// Whether another subscription showed a number of a hole, at the time of the hole.
    fn explains(&self, subscription: usize, hole: &Hole, sequence: u64) -> bool {
        let known = self.recent.get(place(sequence)).copied().flatten();
        known.is_some_and(|known| {
            let from_ms = hole.from_ms.saturating_sub(SLACK_MS);
            let until_ms = hole.until_ms.saturating_add(SLACK_MS);
            let at_ms = known.shown.timestamp.unwrap_or(0);
            known.shown.sequence == sequence
                && known.by & bit(subscription) == 0
                && (from_ms..=until_ms).contains(&at_ms)
        })
    }
}

/// A subscription's bit.
pub(super) fn bit(subscription: usize) -> u8 {
    u32::try_from(subscription).map_or(0, |by| 1u8.checked_shl(by).unwrap_or(0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower bits are what is wanted"
)]
fn place(sequence: u64) -> usize {
    sequence as usize & (RECENT - 1)
}

//! What is known of one instance's numbers: a ledger for each subscription, and what they share.

use std::sync::Arc;
use std::time::Instant;

use relay_journal::Table;

use super::common::{Common, bit};
use super::sets;
use super::{GRACE, HELD, Hole, Ledger, Observed, Shown, Turn};
use crate::Store;

/// The ledger of one subscription for one instance.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) ledger: Ledger,
    pub(super) heard_ms: u64,
    pub(super) dirty: bool,
    /// It was heard on the present connection.
    pub(super) is_heard: bool,
    /// It was heard on the connection before, and has not gone on since.
    pub(super) is_awaited: bool,
}

impl Kept {
    /// One that has not been heard on this connection.
    pub(super) fn new(ledger: Ledger, heard_ms: u64) -> Self {
        Self {
            ledger,
            heard_ms,
            dirty: false,
            is_heard: false,
            is_awaited: false,
        }
    }

    fn observe(&mut self, shown: Shown, at_ms: u64, now: Instant) -> Observed {
        (self.heard_ms, self.dirty, self.is_heard) = (at_ms, true, true);
        let observed = self.ledger.observe(shown.sequence, shown.timestamp, now);
        match observed {
            Observed::Next | Observed::Hole | Observed::Filled => self.is_awaited = false,
            Observed::First | Observed::Old | Observed::Restarted => {}
        }
        observed
    }

    /// The connection ended. `was_heard`: any instance was, on it.
    pub(super) fn cut(&mut self, was_heard: bool) {
        self.ledger.cut();
        if was_heard {
            self.is_awaited = std::mem::take(&mut self.is_heard);
        }
    }
}

/// What is known of one instance's numbers.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// By subscription.
    pub(super) kept: Vec<Option<Kept>>,
    /// Where subscriptions may share a numbering.
    pub(super) common: Option<Common>,
    /// Of what the subscriptions share, the store has something; it lags behind.
    pub(super) common_stored: bool,
    common_dirty: bool,
}

impl Instance {
    pub(super) fn new(subscriptions: usize, sharing: bool) -> Self {
        Self {
            kept: (0..subscriptions).map(|_| None).collect(),
            common: sharing.then(Common::new),
            ..Self::default()
        }
    }

    /// A subscription shows a number. Also says what has to be said because of it.
    pub(super) fn observe(
        &mut self,
        subscription: usize,
        shown: Shown,
        at_ms: u64,
        now: Instant,
    ) -> Option<(Observed, Vec<Turn>)> {
        let slot = self.kept.get_mut(subscription)?;
        let observed = if let Some(kept) = slot {
            kept.observe(shown, at_ms, now)
        } else {
            let ledger = Ledger::begin(shown.sequence, shown.timestamp.unwrap_or(0));
            *slot = Some(Kept {
                dirty: true,
                is_heard: true,
                ..Kept::new(ledger, at_ms)
            });
            Observed::First
        };
        let Some(common) = &mut self.common else {
            return Some((observed, Vec::new()));
        };
        let kept = &self.kept;
        let ledger = |index: usize| {
            let kept = kept.get(index).and_then(Option::as_ref);
            kept.map(|kept| &kept.ledger)
        };
        let turns = common.observe(subscription, shown, observed, ledger, now);
        self.common_dirty = true;
        if observed == Observed::Hole
            && let Some((linked, union)) = common.shared()
            && linked & bit(subscription) != 0
            && let Some(Some(kept)) = self.kept.get_mut(subscription)
            && kept.ledger.is_crowded()
        {
            kept.ledger.forget_heard(union);
        }
        Some((observed, turns))
    }

    /// What is to be said by now, and of which subscriptions.
    pub(super) fn settle(&mut self, presence: &[Presence], now: Instant) -> Vec<(u8, Turn)> {
        let mut said = Vec::new();
        for index in 0..self.kept.len() {
            let Some(Some(kept)) = self.kept.get_mut(index) else {
                continue;
            };
            let turns = kept.ledger.settle(now, None);
            kept.dirty |= !turns.is_empty();
            for turn in turns {
                let left = self.left(index, turn).into_iter();
                said.extend(left.map(|turn| (bit(index), turn)));
            }
        }
        if let Some(common) = &mut self.common
            && let Some((linked, _)) = common.shared()
        {
            let turns = common.settle(now, hold(presence, linked));
            self.common_dirty |= !turns.is_empty();
            said.extend(turns.into_iter().map(|turn| (linked, turn)));
        }
        said
    }

    /// When [`Instance::settle`] has something to say.
    pub(super) fn due(&self, presence: &[Presence]) -> Option<Instant> {
        let kept = self.kept.iter().flatten();
        let kept = kept.filter_map(|kept| kept.ledger.due(None));
        let common = self.common.as_ref().and_then(|common| {
            let (linked, _) = common.shared()?;
            common.due(hold(presence, linked))
        });
        kept.chain(common).min()
    }

    /// Numbers missing in a subscription's open holes that span a disconnect.
    pub(super) fn missing_across_cut(&self, subscription: usize) -> u64 {
        let Some(Some(kept)) = self.kept.get(subscription) else {
            return 0;
        };
        let holes = kept.ledger.across_cut();
        holes
            .map(|hole| sets::count(&self.unexplained(subscription, hole)))
            .fold(0, u64::saturating_add)
    }

    /// Whether a subscription heard it before the last disconnect, and it has not gone on since.
    pub(super) fn is_silent(&self, subscription: usize) -> bool {
        let kept = self.kept.get(subscription).and_then(Option::as_ref);
        kept.is_some_and(|kept| kept.is_awaited)
    }

    /// Hands to the store what subscriptions share: their names, and what they have heard.
    pub(super) fn save_common(&mut self, names: &[Arc<str>], instance: &str, store: &Store) {
        if !std::mem::take(&mut self.common_dirty) {
            return;
        }
        let shared = self.common.as_ref().and_then(Common::shared);
        let key = format!("/{instance}");
        if let Some((linked, union)) = shared {
            let names = names.iter().enumerate();
            let names = names.filter(|(index, _)| linked & bit(*index) != 0);
            let names: Vec<&str> = names.map(|(_, name)| &**name).collect();
            let mut value = names.join("/").into_bytes();
            value.push(b'\n');
            value.extend(union.save(0));
            store.set(Table::Sequences, &key, value);
        } else if self.common_stored {
            store.remove(Table::Sequences, &key);
        }
        self.common_stored = shared.is_some();
    }

    pub(super) fn heard_ms(&self) -> u64 {
        let heard = self.kept.iter().flatten().map(|kept| kept.heard_ms);
        heard.max().unwrap_or(0)
    }

    /// The numbers of a subscription's hole that no subscription is known to have heard.
    fn unexplained(&self, subscription: usize, hole: &Hole) -> Vec<sets::Run> {
        match &self.common {
            None => vec![(hole.first, hole.last)],
            Some(common) => common.unexplained(subscription, hole),
        }
    }

    /// What is left to say of a subscription's turn. Where the numbering is shared, nothing: that is
    /// said once, for all.
    fn left(&self, subscription: usize, turn: Turn) -> Vec<Turn> {
        let is_linked = |common: &Common| common.is_linked(subscription);
        if self.common.as_ref().is_some_and(is_linked) {
            return Vec::new();
        }
        let Turn::Open(hole) = turn else {
            return vec![turn];
        };
        let runs = self.unexplained(subscription, &hole).into_iter();
        let piece = |(first, last)| Hole {
            first,
            last,
            ..hole
        };
        runs.map(|run| Turn::Open(piece(run))).collect()
    }
}

/// Whether a subscription can still bring what others have seen missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    Away(Instant),
    Back(Instant),
}

/// Until when subscriptions that are away, or just back, may bring what is missing.
pub(super) fn hold(presence: &[Presence], linked: u8) -> Option<Instant> {
    let linked = presence
        .iter()
        .enumerate()
        .filter(|(index, _)| linked & bit(*index) != 0);
    linked
        .map(|(_, presence)| match presence {
            Presence::Away(since) => *since + HELD,
            Presence::Back(at) => *at + GRACE,
        })
        .max()
}

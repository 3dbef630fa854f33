//! The ledgers of all subscriptions and instances, bounded, and what of them survives a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use relay_journal::Table;

use super::{Ledger, Observed, Turn};
use crate::Store;

/// Instances that are told apart for one subscription; beyond that the one heard longest ago goes.
const INSTANCES: usize = 64;
/// An instance's name beyond this is cut.
const NAME: usize = 256;

#[derive(Debug)]
struct Kept {
    ledger: Ledger,
    heard_ms: u64,
    dirty: bool,
    /// The store has it.
    stored: bool,
}

/// What a ledger has to say.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The subscription's index.
    pub(crate) subscription: usize,
    pub(crate) instance: Box<str>,
    pub(crate) turn: Turn,
}

/// All ledgers, by subscription and instance.
#[derive(Debug)]
pub(crate) struct Ledgers {
    names: Vec<Arc<str>>,
    kept: Vec<HashMap<Box<str>, Kept>>,
    due: Option<Instant>,
    dirty: bool,
    removed: Vec<String>,
}

impl Ledgers {
    /// Ledgers for subscriptions, as an earlier run left them.
    pub(crate) fn restore(names: Vec<Arc<str>>, store: &Store) -> Self {
        let kept = names.iter().map(|_| HashMap::new()).collect();
        let mut ledgers = Self {
            names,
            kept,
            due: None,
            dirty: false,
            removed: Vec::new(),
        };
        for (key, value) in store.all(Table::Sequences) {
            let Some((name, instance)) = key.split_once('/') else {
                continue;
            };
            let index = ledgers.names.iter().position(|known| **known == *name);
            let kept = index.and_then(|index| ledgers.kept.get_mut(index));
            if let (Some(kept), Some([next, newest_ms, heard_ms])) = (kept, words(&value)) {
                let ledger = Ledger::restore(next, newest_ms);
                kept.insert(
                    instance.into(),
                    Kept {
                        ledger,
                        heard_ms,
                        dirty: false,
                        stored: true,
                    },
                );
            }
        }
        ledgers
    }

    /// A subscription shows a number.
    pub(crate) fn observe(
        &mut self,
        subscription: usize,
        instance: &str,
        sequence: u64,
        timestamp: Option<u64>,
        at_ms: u64,
        now: Instant,
    ) -> Option<Observed> {
        let instance = instance
            .get(..instance.floor_char_boundary(NAME))
            .unwrap_or_default();
        let kept = self.kept.get_mut(subscription)?;
        self.dirty = true;
        if let Some(known) = kept.get_mut(instance) {
            (known.heard_ms, known.dirty) = (at_ms, true);
            let observed = known.ledger.observe(sequence, timestamp, now);
            if observed != Observed::Next
                && let Some(due) = known.ledger.due()
            {
                self.due = Some(self.due.map_or(due, |known| known.min(due)));
            }
            return Some(observed);
        }
        if kept.len() >= INSTANCES
            && let Some(oldest) = kept
                .iter()
                .min_by_key(|(_, kept)| kept.heard_ms)
                .map(|(name, _)| name.clone())
        {
            let gone = kept.remove(&oldest).filter(|gone| gone.stored);
            let name = gone.and_then(|_| self.names.get(subscription));
            self.removed
                .extend(name.map(|name| format!("{name}/{oldest}")));
        }
        let ledger = Ledger::begin(sequence, timestamp.unwrap_or(0));
        kept.insert(
            instance.into(),
            Kept {
                ledger,
                heard_ms: at_ms,
                dirty: true,
                stored: false,
            },
        );
        Some(Observed::First)
    }

    /// A subscription's connection ended.
    pub(crate) fn cut(&mut self, subscription: usize) {
        for kept in self
            .kept
            .get_mut(subscription)
            .into_iter()
            .flat_map(HashMap::values_mut)
        {
            kept.ledger.cut();
        }
    }

    /// Numbers missing in a subscription's open holes that span a disconnect.
    pub(crate) fn missing_across_cut(&self, subscription: usize) -> u64 {
        let kept = self
            .kept
            .get(subscription)
            .into_iter()
            .flat_map(HashMap::values);
        kept.map(|kept| kept.ledger.missing_across_cut())
            .fold(0, u64::saturating_add)
    }

    /// When [`Ledgers::settle`] may have something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be said by now.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.due.is_none_or(|due| due > now) {
            return findings;
        }
        self.due = None;
        for (subscription, kept) in self.kept.iter_mut().enumerate() {
            for (instance, kept) in kept {
                let turns = kept.ledger.settle(now).into_iter();
                findings.extend(turns.map(|turn| Finding {
                    subscription,
                    instance: instance.clone(),
                    turn,
                }));
                self.due = self.due.into_iter().chain(kept.ledger.due()).min();
            }
        }
        findings
    }

    /// Hands what has changed to the store.
    pub(crate) fn save(&mut self, store: &Store) {
        for key in self.removed.drain(..) {
            store.remove(Table::Sequences, &key);
        }
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for (name, kept) in self.names.iter().zip(&mut self.kept) {
            for (instance, kept) in kept.iter_mut().filter(|(_, kept)| kept.dirty) {
                (kept.dirty, kept.stored) = (false, true);
                let (next, newest_ms) = kept.ledger.state();
                let value = [next, newest_ms, kept.heard_ms]
                    .map(u64::to_le_bytes)
                    .concat();
                store.set(Table::Sequences, &format!("{name}/{instance}"), value);
            }
        }
    }
}

/// Three little-endian words.
fn words(bytes: &[u8]) -> Option<[u64; 3]> {
    let ([first, second, third], []) = bytes.as_chunks() else {
        return None;
    };
    Some([first, second, third].map(|word| u64::from_le_bytes(*word)))
}

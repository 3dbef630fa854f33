//! The ledgers of all subscriptions and instances, bounded, and what of them survives a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use relay_journal::Table;

use super::common::{Common, bit};
use super::instance::{Instance, Kept, Presence, hold};
use super::{GRACE, Ledger, Observed, Shown, Turn};
use crate::Store;

/// Instances that are told apart; beyond that the one heard longest ago goes.
const INSTANCES: usize = 64;
/// An instance's name beyond this is cut.
const NAME: usize = 256;

/// After a restart an instance is expected to go on if it was heard so long before the last one.
const LIVELY_MS: u64 = 3_600_000;

/// What the numbering says of a subscription's last disconnect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcrossCut {
    /// Numbers missing in open holes that span it, and that no other subscription is known to have
    /// heard.
    pub(crate) missing: u64,
    /// An instance that was heard before it has not gone on since: of that one, nothing is known.
    pub(crate) is_silent: bool,
}

/// What a ledger has to say.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The indexes of the subscriptions it is about: several share one numbering.
    pub(crate) subscriptions: Vec<usize>,
    pub(crate) instance: Box<str>,
    pub(crate) turn: Turn,
}

/// All ledgers, by subscription and instance.
#[derive(Debug)]
pub(crate) struct Ledgers {
    names: Vec<Arc<str>>,
    presence: Vec<Presence>,
    /// Subscriptions may share a numbering.
    sharing: bool,
    instances: HashMap<Box<str>, Instance>,
    /// What was said out of turn.
    findings: Vec<Finding>,
    due: Option<Instant>,
    dirty: bool,
    removed: Vec<String>,
}

impl Ledgers {
    /// Ledgers for subscriptions, as an earlier run left them. `sharing`: where several
    /// subscriptions turn out to share a numbering, only what none of them has heard is missing.
    pub(crate) fn restore(names: Vec<Arc<str>>, sharing: bool, store: &Store) -> Self {
        let now = Instant::now();
        let mut ledgers = Self {
            presence: names.iter().map(|_| Presence::Away(now)).collect(),
            sharing: sharing && names.len() > 1,
            names,
            instances: HashMap::new(),
            findings: Vec::new(),
            due: None,
            dirty: false,
            removed: Vec::new(),
        };
        for (key, value) in store.all(Table::Sequences) {
            let Some((name, instance)) = key.split_once('/') else {
                continue;
            };
            if name.is_empty() {
                ledgers.restore_common(instance, &value, now);
                continue;
            }
            let index = ledgers.names.iter().position(|known| **known == *name);
            if let (Some(index), Some((ledger, heard_ms))) = (index, Ledger::restore(&value, now)) {
                let due = ledger.due(None);
                ledgers.due = ledgers.due.into_iter().chain(due).min();
                if let Some(slot) = ledgers.instance(instance).kept.get_mut(index) {
                    *slot = Some(Kept::new(ledger, heard_ms));
                }
            }
        }
        for subscription in 0..ledgers.names.len() {
            let heard_ms = ledgers.of(subscription).map(|kept| kept.heard_ms);
            let last_ms = heard_ms.max().unwrap_or(0);
            for kept in ledgers.of(subscription) {
                kept.is_awaited = kept.heard_ms.saturating_add(LIVELY_MS) >= last_ms;
            }
        }
        ledgers
    }

    /// The numberings of a subscription.
    fn of(&mut self, subscription: usize) -> impl Iterator<Item = &mut Kept> {
        let instances = self.instances.values_mut();
        instances.filter_map(move |instance| instance.kept.get_mut(subscription)?.as_mut())
    }

    /// What subscriptions shared, if at least two of them are still there.
    fn restore_common(&mut self, instance: &str, value: &[u8], now: Instant) {
        let end = value.iter().position(|byte| *byte == b'\n');
        let Some((names, words)) = end.and_then(|end| value.split_at_checked(end)) else {
            return;
        };
        let shared: Vec<_> = names.split(|byte| *byte == b'/').collect();
        let known = self.names.iter().enumerate();
        let known = known.filter(|(_, name)| shared.contains(&name.as_bytes()));
        let linked = known.fold(0, |linked, (index, _)| linked | bit(index));
        let union = words.get(1..).and_then(|words| Ledger::restore(words, now));
        if let Some((union, _)) = union.filter(|_| self.sharing && linked.count_ones() > 1) {
            self.due = self.due.into_iter().chain(union.due(None)).min();
            let instance = self.instance(instance);
            instance.common = Some(Common::restore(linked, union));
            instance.common_stored = true;
        } else {
            self.removed.push(format!("/{instance}"));
        }
    }

    fn instance(&mut self, name: &str) -> &mut Instance {
        let (count, sharing) = (self.names.len(), self.sharing);
        let instance = || Instance::new(count, sharing);
        self.instances.entry(name.into()).or_insert_with(instance)
    }

    /// A subscription shows a number.
    pub(crate) fn observe(
        &mut self,
        subscription: usize,
        instance: &str,
        shown: Shown,
        at_ms: u64,
        now: Instant,
    ) -> Option<Observed> {
        let name = instance
            .get(..instance.floor_char_boundary(NAME))
            .unwrap_or_default();
        self.dirty = true;
        let (observed, turns) = if let Some(known) = self.instances.get_mut(name) {
            known.observe(subscription, shown, at_ms, now)?
        } else {
            self.make_room();
            let instance = self.instance(name);
            instance.observe(subscription, shown, at_ms, now)?
        };
        if observed != Observed::Old {
            self.is_back(subscription, now);
        }
        let is_quiet = matches!(observed, Observed::Next | Observed::Old);
        if !is_quiet || !turns.is_empty() {
            let known = self.instances.get(name);
            let due = known.and_then(|known| known.due(&self.presence));
            self.due = self.due.into_iter().chain(due).min();
        }
        let all = self.names.len();
        self.findings.extend(turns.into_iter().map(|turn| Finding {
            subscriptions: (0..all).collect(),
            instance: name.into(),
            turn,
        }));
        Some(observed)
    }

    /// Forgets the instance that was heard longest ago, if there are too many.
    fn make_room(&mut self) {
        if self.instances.len() < INSTANCES {
            return;
        }
        let oldest = self
            .instances
            .iter()
            .min_by_key(|(_, instance)| instance.heard_ms());
        let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
            return;
        };
        self.instances.remove(&oldest);
        let names = self.names.iter().map(|name| &**name).chain([""]);
        self.removed
            .extend(names.map(|name| format!("{name}/{oldest}")));
    }

    /// A subscription shows news: it is no longer away, nor only repeats what was before.
    fn is_back(&mut self, subscription: usize, now: Instant) {
        if let Some(presence @ Presence::Away(_)) = self.presence.get_mut(subscription) {
            *presence = Presence::Back(now);
            // What was held back for it is looked at again.
            self.due = self.due.into_iter().chain([now + GRACE]).min();
        }
    }

    /// A subscription's connection ended.
    pub(crate) fn cut(&mut self, subscription: usize, now: Instant) {
        if let Some(presence @ Presence::Back(_)) = self.presence.get_mut(subscription) {
            *presence = Presence::Away(now);
        }
        // One that brought nothing says nothing of who should go on.
        let was_heard = self.of(subscription).any(|kept| kept.is_heard);
        for kept in self.of(subscription) {
            kept.cut(was_heard);
        }
    }

    /// What the numbering says of a subscription's last disconnect.
    pub(crate) fn across_cut(&self, subscription: usize) -> AcrossCut {
        let instances = self.instances.values();
        instances.fold(AcrossCut::default(), |all, instance| AcrossCut {
            missing: all
                .missing
                .saturating_add(instance.missing_across_cut(subscription)),
            is_silent: all.is_silent || instance.is_silent(subscription),
        })
    }

    /// Until when another subscription may bring what this one has seen missing.
    pub(crate) fn hold(&self, subscription: usize) -> Option<Instant> {
        let commons = self.instances.values().filter_map(|it| it.common.as_ref());
        let linked = commons.filter_map(|common| Some(common.shared()?.0));
        let linked = linked.filter(|linked| linked & bit(subscription) != 0);
        let others = linked.fold(0, |all, linked| all | linked) & !bit(subscription);
        hold(&self.presence, others)
    }

    /// Whether all that a subscription has shown is numbered in common with another one.
    pub(crate) fn is_vouched_for(&self, subscription: usize) -> bool {
        let mut instances = self
            .instances
            .values()
            .filter(|instance| matches!(instance.kept.get(subscription), Some(Some(_))))
            .peekable();
        let is_linked = |instance: &Instance| {
            let common = instance.common.as_ref();
            common.is_some_and(|common| common.is_linked(subscription))
        };
        instances.peek().is_some() && instances.all(is_linked)
    }

    /// When [`Ledgers::settle`] may have something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be said by now.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.findings);
        if self.due.is_none_or(|due| due > now) {
            return findings;
        }
        self.due = None;
        for (name, instance) in &mut self.instances {
            for (about, turn) in instance.settle(&self.presence, now) {
                self.dirty = true;
                let subscriptions = 0..self.names.len();
                findings.push(Finding {
                    subscriptions: subscriptions
                        .filter(|index| about & bit(*index) != 0)
                        .collect(),
                    instance: name.clone(),
                    turn,
                });
            }
            let due = instance.due(&self.presence);
            self.due = self.due.into_iter().chain(due).min();
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
        for (instance, known) in &mut self.instances {
            for (name, kept) in self.names.iter().zip(&mut known.kept) {
                if let Some(kept) = kept.as_mut().filter(|kept| kept.dirty) {
                    kept.dirty = false;
                    let value = kept.ledger.save(kept.heard_ms);
                    store.set(Table::Sequences, &format!("{name}/{instance}"), value);
                }
            }
            known.save_common(&self.names, instance, store);
        }
    }
}

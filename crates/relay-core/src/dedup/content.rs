//! Contents counted by subscription, for servers that number each subscription apart: an event is
//! delivered when the subscription that shows it has shown that content more often than any other.
//!
//! A content is forgotten as a whole once nobody has shown it for the horizon: forgetting single
//! sightings would make a subscription's count fall behind and its next event a false duplicate.

use std::collections::{HashMap, VecDeque};

/// Subscriptions that are told apart: three, and one for all that are no longer configured.
pub(crate) const SLOTS: usize = 4;
/// A horizon is forgotten in so many steps.
const STEPS: u64 = 64;
/// What a content takes: its entry in the map with the map's slack, and its place in the steps.
const ENTRY_BYTES: usize = 2 * size_of::<(u128, Shown)>() + size_of::<u128>();

/// Which of the subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u8);

impl Slot {
    /// All that are not configured.
    pub(crate) const OTHERS: Self = Self(3);
}

/// How often each subscription has shown a content; only differences count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) [u16; SLOTS]);

impl Counts {
    /// Counts one more; says whether no other subscription has shown as many.
    fn show(&mut self, slot: Slot) -> bool {
        let (mut own, mut others) = (0, 0);
        for (index, count) in self.0.iter_mut().enumerate() {
            if index == usize::from(slot.0) {
                *count = count.saturating_add(1);
                own = *count;
            } else {
                others = others.max(*count);
            }
        }
        if own == u16::MAX {
            // Only differences count: keep them, and room to count on.
            let least = self.0.iter().copied().min().unwrap_or(0).max(u16::MAX / 2);
            self.0 = self.0.map(|count| count.saturating_sub(least));
        }
        own > others
    }

    fn level(&mut self, slot: Slot) {
        let most = self.0.iter().copied().max().unwrap_or(0);
        if let Some(count) = self.0.get_mut(usize::from(slot.0)) {
            *count = most;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    counts: Counts,
    step: u64,
}

#[derive(Debug)]
pub(crate) struct Sightings {
    step_ms: u64,
    memory: usize,
    shown: HashMap<u128, Shown>,
    /// Contents by the step in which they were last shown; also those that were shown again later.
    steps: VecDeque<(u64, Vec<u128>)>,
    listed: usize,
    short: bool,
}

impl Sightings {
    pub(super) fn new(horizon_ms: u64, memory: usize) -> Self {
        let step_ms = horizon_ms.div_ceil(STEPS).max(1);
        let memory = memory.max(1024 * ENTRY_BYTES);
        Self {
            step_ms,
            memory,
            shown: HashMap::new(),
            steps: VecDeque::new(),
            listed: 0,
            short: false,
        }
    }

    /// A subscription shows a content. Says whether it is to be delivered, and the counts then.
    pub(super) fn show(&mut self, content: u128, slot: Slot, at_ms: u64) -> (bool, Counts) {
        let shown = self.touch(content, at_ms);
        (shown.counts.show(slot), shown.counts)
    }

    /// The counts of a content, as they were journaled.
    pub(super) fn set(&mut self, content: u128, counts: Counts, at_ms: u64) {
        self.touch(content, at_ms).counts = counts;
    }

    pub(super) fn level(&mut self, slot: Slot) {
        for shown in self.shown.values_mut() {
            shown.counts.level(slot);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.shown.len() * ENTRY_BYTES
            + self.listed.saturating_sub(self.shown.len()) * size_of::<u128>()
    }

    pub(super) fn reach(&self) -> (u64, bool) {
        let steps = match (self.steps.front(), self.steps.back()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        };
        (
            if self.short { steps } else { STEPS } * self.step_ms,
            self.short,
        )
    }

    /// A content's counts, which are remembered for a horizon from now.
    fn touch(&mut self, content: u128, at_ms: u64) -> &mut Shown {
        let now = at_ms / self.step_ms;
        let step = self.steps.back().map_or(now, |(last, _)| now.max(*last));
        while self
            .steps
            .front()
            .is_some_and(|(oldest, _)| oldest + STEPS < step)
        {
            self.forget_step();
            self.short = false;
        }
        while self.bytes() + ENTRY_BYTES > self.memory && !self.steps.is_empty() {
            self.forget_step();
            self.short = true;
        }
        if self.steps.back().is_none_or(|(last, _)| *last != step) {
            self.steps.push_back((step, Vec::new()));
        }
        let shown = self.shown.entry(content).or_insert(Shown {
            counts: Counts::default(),
            step: u64::MAX,
        });
        if shown.step != step {
            shown.step = step;
            self.listed += 1;
            if let Some((_, contents)) = self.steps.back_mut() {
                contents.push(content);
            }
        }
        shown
    }

    fn forget_step(&mut self) {
        let Some((step, contents)) = self.steps.pop_front() else {
            return;
        };
        self.listed -= contents.len();
        for content in contents {
            if self
                .shown
                .get(&content)
                .is_some_and(|shown| shown.step == step)
            {
                self.shown.remove(&content);
            }
        }
        // A map never shrinks by itself.
        if self.shown.len() * 4 < self.shown.capacity() {
            self.shown.shrink_to(self.shown.len() * 2);
        }
    }
}

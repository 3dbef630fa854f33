//! What is remembered of committed events, so that a replay is not delivered twice and nothing is
//! dropped as a false duplicate. Pure: told hashes and times, it knows neither documents nor disk.
//!
//! What is remembered is what was pushed into a commit group. Groups are committed in their order,
//! each however often it must be tried, and nothing is acknowledged before those ahead of it: what is
//! dropped as a duplicate of an event under way counts as taken only once that one is durable. A group
//! is given up only at the end of intake, with all that follows it; and at a start everything is
//! rebuilt from the journal. So an event is remembered if and only if it is durable, as far as anyone
//! can see.

use std::time::Duration;

mod content;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use content::{Counts, SLOTS, Sightings, Slot};
use window::{Seen, Window};

use crate::intake::Across;

/// What an event is, compared with what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never seen: deliver it.
    New,
    /// The id is known with other content: deliver it under an id of its own.
    Conflict,
    /// Its id and content are known, yet another subscription has shown it as a further one:
    /// deliver it under an id that nothing else has.
    Again,
    /// Committed before: drop it.
    Duplicate,
    /// Another subscription has shown it, as often: journal that it was seen here as well.
    Sighted(Counts),
}

/// The memory.
#[derive(Debug)]
pub(crate) struct Dedup {
    ids: Window,
    /// Contents, counted by subscription, where subscriptions are numbered apart.
    contents: Option<Sightings>,
}

impl Dedup {
    pub(crate) fn new(horizon: Duration, memory: usize, across: Across) -> Self {
        let horizon_ms = u64::try_from(horizon.as_millis()).unwrap_or(u64::MAX);
        match across {
            Across::MsgInfo => Self {
                ids: Window::new(horizon_ms, memory),
                contents: None,
            },
            Across::Content => Self {
                ids: Window::new(horizon_ms, memory / 2),
                contents: Some(Sightings::new(horizon_ms, memory / 2)),
            },
        }
    }

    /// Judges an event and remembers it, unless it is a duplicate. `id`: the hash of its id, `None`
    /// where that is not complete. `at_ms`: journal time, never running backwards.
    pub(crate) fn admit(
        &mut self,
        id: Option<u64>,
        content: u128,
        slot: Slot,
        at_ms: u64,
    ) -> Verdict {
        let Some(contents) = &mut self.contents else {
            return match id.map(|id| self.ids.see(id, content, at_ms)) {
                None | Some(Seen::Never) => Verdict::New,
                Some(Seen::OtherContent) => Verdict::Conflict,
                Some(Seen::Before) => Verdict::Duplicate,
            };
        };
        // Within the subscription the id decides.
        let within = id.map(|id| self.ids.see(id ^ salt(slot), content, at_ms));
        if within == Some(Seen::Before) {
            return Verdict::Duplicate;
        }
        // Across subscriptions the content does, counted.
        let (delivered, counts) = contents.show(content, slot, at_ms);
        if !delivered {
            return Verdict::Sighted(counts);
        }
        // What is delivered must not share its id with what another subscription brought.
        match id.map(|id| self.ids.see(id, content, at_ms)) {
            None | Some(Seen::Never) => Verdict::New,
            Some(Seen::OtherContent) => Verdict::Conflict,
            Some(Seen::Before) => Verdict::Again,
        }
    }

    /// Remembers an event of the journal.
    pub(crate) fn restore(&mut self, id: Option<u64>, content: u128, slot: Slot, at_ms: u64) {
        if let Some(id) = id {
            self.ids.see(id, content, at_ms);
            if self.contents.is_some() {
                self.ids.see(id ^ salt(slot), content, at_ms);
            }
        }
        if let Some(contents) = &mut self.contents {
            contents.show(content, slot, at_ms);
        }
    }

    /// Remembers a suppressed sighting of the journal.
    pub(crate) fn restore_sighting(
        &mut self,
        id: Option<u64>,
        content: u128,
        slot: Slot,
        counts: Counts,
        at_ms: u64,
    ) {
        let Some(contents) = &mut self.contents else {
            return;
        };
        contents.set(content, counts, at_ms);
        if let Some(id) = id {
            self.ids.see(id ^ salt(slot), content, at_ms);
        }
    }

    /// A subscription that is new, or was away for too long, starts level with the others.
    pub(crate) fn level(&mut self, slot: Slot) {
        if let Some(contents) = &mut self.contents {
            contents.level(slot);
        }
    }

    /// Whether subscriptions are told apart.
    pub(crate) fn counts_content(&self) -> bool {
        self.contents.is_some()
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.ids.bytes() + self.contents.as_ref().map_or(0, Sightings::bytes)
    }

    /// How far back it reaches, in milliseconds, and whether memory made that less than the horizon.
    pub(crate) fn reach(&self) -> (u64, bool) {
        let (reach, short) = self.ids.reach();
        let contents = self
            .contents
            .as_ref()
            .map_or((reach, false), Sightings::reach);
        (reach.min(contents.0), short || contents.1)
    }
}

/// Sets the ids of one subscription apart from the others' and from those of delivered events.
fn salt(slot: Slot) -> u64 {
    (u64::from(slot.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

//! Owns what one subscription has yet to get: its place in the log, and the stored documents that
//! come before that place. It does not know whether anyone is connected to take them.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use super::log::{Kind, Log};
use crate::faults::{Faults, knob};

/// How many written events are remembered, for an overlap that a fault asks for later.
const REMEMBERED: usize = 4096;

/// One subsId and its store.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: Arc<str>,
    /// The next document of the log that is live for it.
    pub(super) next: u64,
    /// Stored documents to come before that, by number.
    pub(super) backlog: VecDeque<u64>,
    /// What the last reconnect found stored.
    pub(super) stored: Vec<u64>,
    /// The last events written.
    recent: VecDeque<u64>,
    /// Since when nobody is connected.
    pub(super) gone_at: Option<Instant>,
    /// Connected sessions, oldest first.
    pub(super) sessions: Vec<u64>,
    /// Burst documents given so far.
    pub(super) burst: u64,
}

impl Subscription {
    /// One that never was connected, and gets what comes after now.
    pub(super) fn new(id: &str, next: u64) -> Self {
        Self {
            id: Arc::from(id),
            next,
            backlog: VecDeque::new(),
            stored: Vec::new(),
            recent: VecDeque::new(),
            gone_at: Some(Instant::now()),
            sessions: Vec::new(),
            burst: 0,
        }
    }

    /// Documents it has yet to get, stored or live.
    pub(super) fn pending(&self, log: &Log) -> u64 {
        let live = (self.next.max(log.first())..log.next())
            .filter(|n| log.get(*n).is_some_and(|record| record.is_for(&self.id)))
            .count();
        (self.backlog.len() + live) as u64
    }

    /// Whether it has yet to get any.
    pub(super) fn has_pending(&self, log: &Log) -> bool {
        !self.backlog.is_empty()
            || (self.next.max(log.first())..log.next())
                .any(|n| log.get(n).is_some_and(|record| record.is_for(&self.id)))
    }

    /// A new subscription begins with some history, if a fault says so.
    pub(super) fn begin(&mut self, log: &Log, faults: &Faults) {
        if let Some(history) = faults.fire(&knob::FIRST_HISTORY) {
            let mut events: Vec<u64> = (log.first()..log.next())
                .rev()
                .filter(|n| self.is_event(log, *n))
                .take(usize::try_from(history.number()).unwrap_or(usize::MAX))
                .collect();
            events.reverse();
            self.backlog = events.into();
        }
    }

    /// Puts in order what a reconnect gets first: what was written last again if there is an
    /// overlap, then what is stored.
    pub(super) fn resume(&mut self, log: &Log, overlap: usize, faults: &Faults) {
        let heartbeats = faults.on(&knob::REPLAY_HEARTBEATS);
        let mut stored: Vec<u64> = self
            .backlog
            .drain(..)
            .chain(self.next.max(log.first())..log.next())
            .filter(|n| {
                log.get(*n).is_some_and(|record| {
                    record.is_for(&self.id) && (heartbeats || record.kind != Kind::Heartbeat)
                })
            })
            .collect();
        if stored.iter().any(|n| {
            log.get(*n)
                .is_some_and(|record| record.kind == Kind::Heartbeat)
        }) {
            faults.fire(&knob::REPLAY_HEARTBEATS);
        }
        Self::bound(&mut stored, faults);
        let more = faults
            .fire(&knob::REPLAY_DUPLICATES)
            .map_or(0, |arg| arg.number());
        let overlap = overlap.max(usize::try_from(more).unwrap_or(usize::MAX));
        let waiting: HashSet<u64> = stored.iter().copied().collect();
        let again = self.recent.len().saturating_sub(overlap);
        let mut backlog: Vec<u64> = self
            .recent
            .iter()
            .skip(again)
            .copied()
            .filter(|n| !waiting.contains(n))
            .collect();
        backlog.append(&mut stored);
        if backlog.len() > 1 && faults.fires(&knob::REPLAY_NEWEST_FIRST) {
            backlog.reverse();
        }
        self.stored.clone_from(&backlog);
        self.backlog = backlog.into();
        self.next = log.next();
    }

    /// A store that holds less than the log.
    fn bound(stored: &mut Vec<u64>, faults: &Faults) {
        let over = |fault| {
            faults
                .arg(fault)
                .map(|arg| usize::try_from(arg.number()).unwrap_or(usize::MAX))
                .filter(|limit| stored.len() > *limit)
        };
        if let Some(limit) = over(&knob::CACHE_DROP_OLDEST) {
            faults.fire(&knob::CACHE_DROP_OLDEST);
            stored.drain(..stored.len() - limit);
        } else if let Some(limit) = over(&knob::CACHE_DROP_NEWEST) {
            faults.fire(&knob::CACHE_DROP_NEWEST);
            stored.truncate(limit);
        }
    }

    /// An event was written.
    pub(super) fn remember(&mut self, n: u64, overlap: usize) {
        self.recent.push_back(n);
        while self.recent.len() > REMEMBERED.max(overlap) {
            self.recent.pop_front();
        }
    }

    fn is_event(&self, log: &Log, n: u64) -> bool {
        log.get(n)
            .is_some_and(|record| record.is_for(&self.id) && record.kind == Kind::Event)
    }
}

//! Owns which documents a session writes next, and the note that it has: stored ones first, then
//! live ones, or as faults want it. It does not know how they are written.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Hub, State, Stop,
    admission::{Flight, Session},
    log::{Kind, Log, Record, To, Written},
    numbers::style,
    subscription::Subscription,
};
use crate::faults::knob;

/// How much to take at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Documents.
    pub(crate) documents: usize,
    /// Bytes; one document may exceed it.
    pub(crate) bytes: usize,
}

/// A document to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The JSON document.
    pub(crate) bytes: Bytes,
    /// It was stored for the subscription.
    pub(crate) stored: bool,
    /// It is an event, not a heartbeat.
    pub(crate) event: bool,
    /// Goes as text, whatever it holds.
    pub(crate) as_text: bool,
}

/// Where the next document comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Stored,
    Live,
}

impl Hub {
    /// The next documents for a session. They count as being written until `written` or `detach`.
    pub(crate) fn take(&self, session: u64, limit: Limit) -> Vec<Taken> {
        let mut guard = self.lock();
        let mut taken: Vec<Taken> = Vec::new();
        let mut bytes = 0;
        self.discard(&mut guard, session);
        while taken.len() < limit.documents && (taken.is_empty() || bytes < limit.bytes) {
            let Some(document) = self.take_one(&mut guard, session) else {
                break;
            };
            bytes += document.bytes.len();
            taken.push(document);
        }
        taken
    }

    fn take_one(&self, state: &mut State, number: u64) -> Option<Taken> {
        let session = state.sessions.get_mut(&number)?;
        let subscription = state.subscriptions.get_mut(&session.subs_id)?;
        loop {
            let source = self.source(session, subscription, &state.log)?;
            let n = match source {
                Source::Stored => subscription.backlog.pop_front()?,
                Source::Live => {
                    let next = session.own_next.as_mut().unwrap_or(&mut subscription.next);
                    let n = (*next).max(state.log.first());
                    *next = n + 1;
                    n
                }
            };
            let stored = source == Source::Stored;
            let Some(record) = state.log.get(n) else {
                continue;
            };
            if !stored && !record.is_for(&subscription.id) {
                continue;
            }
            let n = if stored && record.kind == Kind::Event && self.faults.fires(&knob::RESTAMP) {
                let now = self.wall_clock();
                let stamp = state
                    .numbers
                    .stamp(Some(&subscription.id), now, &self.faults);
                let document = record.document.restamped(&stamp, style(&self.faults));
                let copy = Record {
                    event: record.event,
                    at: now,
                    stamp: Some(stamp),
                    class: record.class.clone(),
                    kind: record.kind,
                    document,
                    to: To::Nobody,
                    as_text: record.as_text,
                    written: Vec::new(),
                };
                state.log.push(copy)
            } else {
                n
            };
            session.in_flight.push_back(Flight { n, stored });
            let record = state.log.get(n)?;
            return Some(Taken {
                bytes: record.document.bytes.clone(),
                stored,
                event: record.kind != Kind::Heartbeat,
                as_text: record.as_text,
            });
        }
    }

    /// Stored documents first; or as faults want it. None while there is nothing to write.
    fn source(&self, session: &Session, subscription: &Subscription, log: &Log) -> Option<Source> {
        let live = session.own_next.unwrap_or(subscription.next) < log.next();
        if session.own_next.is_some() || subscription.backlog.is_empty() {
            return live.then_some(Source::Live);
        }
        let age = session.since.elapsed();
        let held = self
            .faults
            .arg(&knob::REPLAY_DELAY)
            .is_some_and(|arg| age < Duration::from_millis(arg.number()))
            && self.faults.fires(&knob::REPLAY_DELAY);
        let taken = session.live_written
            + session
                .in_flight
                .iter()
                .filter(|flight| !flight.stored)
                .count() as u64;
        let behind = self
            .faults
            .arg(&knob::REPLAY_LIVE_FIRST)
            .is_some_and(|arg| taken < arg.number())
            && self.faults.fires(&knob::REPLAY_LIVE_FIRST);
        if held || behind {
            return live.then_some(Source::Live);
        }
        let all = session.stored_written
            + session
                .in_flight
                .iter()
                .filter(|flight| flight.stored)
                .count() as u64;
        if let Some(cut) = self.faults.arg(&knob::CUT_DURING_REPLAY)
            && all >= cut.number()
        {
            return None;
        }
        let turn = live && all > taken && self.faults.fires(&knob::REPLAY_INTERLEAVED);
        Some(if turn { Source::Live } else { Source::Stored })
    }

    /// When a session that has nothing to write should look again without being woken.
    pub(crate) fn look_again(&self, session: u64) -> Option<Instant> {
        let delay = self.faults.arg(&knob::REPLAY_DELAY)?;
        let state = self.lock();
        let session = state.sessions.get(&session)?;
        let due = session.since + Duration::from_millis(delay.number());
        (due > Instant::now()).then_some(due)
    }

    /// Whether stored documents wait for a session.
    pub(crate) fn has_stored(&self, session: u64) -> bool {
        let state = self.lock();
        state
            .sessions
            .get(&session)
            .and_then(|session| state.subscriptions.get(&session.subs_id))
            .is_some_and(|subscription| !subscription.backlog.is_empty())
    }

    /// B18: what a slow client is too slow for is dropped.
    fn discard(&self, state: &mut State, number: u64) {
        let Some(limit) = self.faults.arg(&knob::SLOW_DISCARD) else {
            return;
        };
        let head = state.log.next();
        if let Some(session) = state.sessions.get(&number)
            && let Some(subscription) = state.subscriptions.get_mut(&session.subs_id)
            && head.saturating_sub(subscription.next) > limit.number()
        {
            self.faults.fire(&knob::SLOW_DISCARD);
            subscription.next = head.saturating_sub(limit.number());
        }
    }

    /// The oldest `count` documents being written are written (or went nowhere). Says so if a fault
    /// ends the connection at this point.
    pub(crate) fn written(&self, number: u64, count: usize, lost: bool) -> Option<Stop> {
        let at = self.wall_clock();
        let mut guard = self.lock();
        let state = &mut *guard;
        let session = state.sessions.get_mut(&number)?;
        let subscription = state.subscriptions.get_mut(&session.subs_id)?;
        let mut stored = 0;
        for flight in session
            .in_flight
            .drain(..count.min(session.in_flight.len()))
        {
            stored += u64::from(flight.stored);
            session.live_written += u64::from(!flight.stored);
            if let Some(record) = state.log.get_mut(flight.n) {
                record.written.push(Written {
                    subs_id: Arc::clone(&subscription.id),
                    at,
                    lost,
                });
                if record.kind == Kind::Event {
                    subscription.remember(flight.n, self.config.overlap);
                }
            }
        }
        session.stored_written += stored;
        if let Some(entry) = state.connections.get_mut(session.connection) {
            entry.documents += count as u64;
        }
        let stop = (stored > 0)
            .then(|| self.cut_during_replay(session.stored_written, subscription))
            .flatten();
        drop(guard);
        self.changed();
        stop
    }

    fn cut_during_replay(&self, written: u64, subscription: &mut Subscription) -> Option<Stop> {
        let cut = self.faults.arg(&knob::CUT_DURING_REPLAY)?;
        if written < cut.number() || subscription.backlog.is_empty() {
            return None;
        }
        self.faults.fire(&knob::CUT_DURING_REPLAY);
        if self.faults.fires(&knob::REPLAY_REST_LOST) {
            subscription.backlog.clear();
        } else if self.faults.fires(&knob::REPLAY_WHOLE_AGAIN) {
            subscription.backlog = subscription.stored.iter().copied().collect();
        }
        Some(Stop::Drop("cut during replay"))
    }

    /// The next burst document of a subscription, counted from 0.
    pub(crate) fn burst_position(&self, number: u64) -> Option<u64> {
        let state = self.lock();
        let session = state.sessions.get(&number)?;
        state
            .subscriptions
            .get(&session.subs_id)
            .map(|subscription| subscription.burst)
    }

    /// So many more burst documents were written.
    pub(crate) fn burst_written(&self, number: u64, count: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(session) = state.sessions.get(&number) else {
            return;
        };
        if let Some(subscription) = state.subscriptions.get_mut(&session.subs_id) {
            subscription.burst += count;
        }
        if let Some(entry) = state.connections.get_mut(session.connection) {
            entry.documents += count;
        }
        drop(guard);
        self.changed();
    }
}

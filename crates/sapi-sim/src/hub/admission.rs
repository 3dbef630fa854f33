//! Owns who may connect: the limit of clients, a subsId that is connected already, a store that has
//! expired; and how a session is told to stop. It does not know sockets.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Connection, End, EndedBy, Hub, State, subscription::Subscription};
use crate::faults::knob;

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The connection's number.
    pub(crate) connection: u64,
    /// The subscription.
    pub(crate) subs_id: String,
}

/// Why a session must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Close with this code and reason.
    Close(u16, &'static str),
    /// The connection drops without a Close.
    Drop(&'static str),
    /// A TCP reset.
    Reset(&'static str),
    /// Not a byte any more.
    Mute,
}

impl Stop {
    /// A cut with this close code; 1006 is none at all.
    pub(crate) fn cut(code: u64) -> Self {
        match u16::try_from(code) {
            Ok(1006) | Err(_) => Self::Drop("cut"),
            Ok(code) => Self::Close(code, ""),
        }
    }
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// One client too many.
    Quota,
    /// The subsId is connected.
    SameId,
}

/// A session that may begin.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The session's number.
    pub(crate) session: u64,
    /// The subscription, as the server spells it.
    pub(crate) subs_id: Arc<str>,
    /// Says when to stop.
    pub(crate) stop: watch::Receiver<Option<Stop>>,
}

/// Where a document that is being written came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) n: u64,
    pub(super) stored: bool,
}

/// A connected session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) subs_id: Arc<str>,
    pub(super) connection: u64,
    stop: watch::Sender<Option<Stop>>,
    /// Its own place in the log, where two sessions of a subsId both get everything.
    pub(super) own_next: Option<u64>,
    pub(super) in_flight: VecDeque<Flight>,
    pub(super) live_written: u64,
    pub(super) stored_written: u64,
    pub(super) since: Instant,
}

impl Hub {
    /// Notes an attempt to connect; the number names it from now on.
    pub(crate) fn connection(&self, peer: String, path: String) -> u64 {
        let at = self.wall_clock();
        let id = self.lock().connections.open(at, peer, path);
        self.changed();
        id
    }

    /// Notes what an attempt was answered.
    pub(crate) fn answered(&self, connection: u64, subs_id: Option<&str>, status: u16) {
        if let Some(entry) = self.lock().connections.get_mut(connection) {
            entry.status = status;
            if let Some(id) = subs_id {
                entry.subs_id = Some(id.to_owned());
            }
        }
        self.changed();
    }

    /// Notes how a connection ended.
    pub(crate) fn ended(&self, connection: u64, by: EndedBy, code: Option<u16>, reason: &str) {
        let at = self.wall_clock();
        if let Some(entry) = self.lock().connections.get_mut(connection)
            && entry.ended.is_none()
        {
            entry.ended = Some(End {
                at,
                by,
                code,
                reason: reason.to_owned(),
            });
        }
        self.changed();
    }

    /// Every attempt so far.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.lock().connections.all().cloned().collect()
    }

    /// Clients connected now.
    pub(crate) fn connected(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Admits a request, or says why not.
    pub(crate) fn attach(&self, request: &Request) -> Result<Admitted, Refusal> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let id = self.canonical(state, &request.subs_id);
        let shared = self.same_id(state, &id)?;
        if shared.is_none() {
            self.quota(state, &id)?;
        }
        self.renew(state, &id, shared.is_some());
        let (stop, stopped) = watch::channel(None);
        let number = state.next_session;
        state.next_session += 1;
        let next = state.log.next();
        let subscription = state
            .subscriptions
            .entry(Arc::clone(&id))
            .or_insert_with(|| Subscription::new(&id, next));
        subscription.gone_at = None;
        subscription.sessions.push(number);
        let session = Session {
            subs_id: Arc::clone(&id),
            connection: request.connection,
            stop,
            own_next: (shared == Some(Shared::Both)).then_some(next),
            in_flight: VecDeque::new(),
            live_written: 0,
            stored_written: 0,
            since: Instant::now(),
        };
        state.sessions.insert(number, session);
        if let Some(entry) = state.connections.get_mut(request.connection) {
            entry.admitted = true;
        }
        if self.faults.fires(&knob::SEQ_RESTART_ON_CONNECT) {
            state.numbers.restart();
        }
        drop(guard);
        self.changed();
        Ok(Admitted {
            session: number,
            subs_id: id,
            stop: stopped,
        })
    }

    /// The id as the server knows it.
    fn canonical(&self, state: &State, id: &str) -> Arc<str> {
        let known = state
            .subscriptions
            .keys()
            .find(|known| known.eq_ignore_ascii_case(id) && known.as_ref() != id);
        match known {
            Some(known) if self.faults.fires(&knob::SUBS_ID_ANY_CASE) => Arc::clone(known),
            _ => Arc::from(id),
        }
    }

    /// What becomes of the sessions that the id has already.
    fn same_id(&self, state: &mut State, id: &Arc<str>) -> Result<Option<Shared>, Refusal> {
        let Some(subscription) = state.subscriptions.get(id) else {
            return Ok(None);
        };
        let old = subscription.sessions.clone();
        if old.is_empty() {
            return Ok(None);
        }
        let mode = self.faults.fire(&knob::SAME_SUBS_ID);
        match mode.as_ref().map_or("kick", |arg| arg.text()) {
            "refuse" => Err(Refusal::SameId),
            "both" => Ok(Some(Shared::Both)),
            "split" => Ok(Some(Shared::Split)),
            _ => {
                for session in old {
                    self.let_go(state, session, Some(Stop::Close(1008, "subscribed again")));
                }
                Ok(None)
            }
        }
    }

    /// Whether there is room for one more client.
    fn quota(&self, state: &mut State, id: &Arc<str>) -> Result<(), Refusal> {
        if self.faults.fires(&knob::QUOTA_FULL) {
            return Err(Refusal::Quota);
        }
        if self.faults.on(&knob::BRIDGE) || self.faults.on(&knob::QUOTA_ACCEPT) {
            self.faults.fire(&knob::QUOTA_ACCEPT);
            return Ok(());
        }
        let cache = self.cache();
        let stored = self.faults.on(&knob::QUOTA_COUNTS_DISCONNECTED);
        let ghost = self.faults.arg(&knob::GHOST_SLOT);
        let used = |subscription: &&Subscription| {
            let gone = subscription.gone_at.map(|at| at.elapsed());
            subscription.id != *id
                && (gone.is_none_or(|gone| stored && gone < cache)
                    || ghost.as_ref().is_some_and(|arg| {
                        gone.is_some_and(|gone| gone < Duration::from_secs(arg.number()))
                    }))
        };
        let taken = state.subscriptions.values().filter(used).count();
        if taken < self.config.max_clients {
            return Ok(());
        }
        let ghosts = state
            .subscriptions
            .values()
            .filter(used)
            .any(|one| one.gone_at.is_some());
        if ghosts {
            self.faults.fire(&knob::QUOTA_COUNTS_DISCONNECTED);
            self.faults.fire(&knob::GHOST_SLOT);
        }
        let oldest = state.sessions.keys().next().copied();
        if let Some(oldest) = oldest
            && self.faults.fires(&knob::QUOTA_EVICT_OLDEST)
        {
            self.let_go(state, oldest, Some(Stop::Close(1008, "too many clients")));
            return Ok(());
        }
        Err(Refusal::Quota)
    }

    /// Forgets a store that has expired, and puts in order what a reconnect gets.
    fn renew(&self, state: &mut State, id: &Arc<str>, shared: bool) {
        if shared {
            return;
        }
        let expired = state.subscriptions.get(id).is_some_and(|subscription| {
            subscription
                .gone_at
                .is_some_and(|at| at.elapsed() >= self.cache())
        });
        let known = state.subscriptions.contains_key(id);
        if expired {
            self.faults.fire(&knob::CACHE_SHORT);
        }
        if expired || (known && self.faults.fires(&knob::CACHE_LOST)) {
            state.subscriptions.remove(id);
        }
        if let Some(subscription) = state.subscriptions.get_mut(id) {
            subscription.resume(&state.log, self.config.overlap, &self.faults);
        } else {
            let mut subscription = Subscription::new(id, state.log.next());
            subscription.begin(&state.log, &self.faults);
            state.subscriptions.insert(Arc::clone(id), subscription);
        }
    }

    /// How long a store lasts.
    fn cache(&self) -> Duration {
        self.faults
            .arg(&knob::CACHE_SHORT)
            .map_or(self.config.cache, |arg| Duration::from_secs(arg.number()))
    }

    /// A session's connection is over; what it was writing is stored again.
    pub(crate) fn detach(&self, session: u64) {
        let mut state = self.lock();
        self.let_go(&mut state, session, None);
        drop(state);
        self.changed();
    }

    fn let_go(&self, state: &mut State, number: u64, stop: Option<Stop>) {
        let Some(session) = state.sessions.remove(&number) else {
            return;
        };
        session.stop.send_replace(stop);
        let Some(subscription) = state.subscriptions.get_mut(&session.subs_id) else {
            return;
        };
        subscription.sessions.retain(|other| *other != number);
        if let Some(next) = session.own_next {
            subscription.next = subscription.next.max(next);
        } else if !session.in_flight.is_empty() && self.faults.fires(&knob::REQUEUE_AT_TAIL) {
            // In the order of a queue that the failed writes were put back into: after what is stored.
            let live = subscription.next..state.log.next();
            subscription.next = state.log.next();
            subscription.backlog.extend(live);
            subscription
                .backlog
                .extend(session.in_flight.iter().map(|flight| flight.n));
        } else {
            for flight in session.in_flight.iter().rev() {
                subscription.backlog.push_front(flight.n);
            }
        }
        if subscription.sessions.is_empty() {
            subscription.gone_at = Some(Instant::now());
        }
    }

    /// Tells every session to stop.
    pub(crate) fn stop_all(&self, stop: &Stop) -> usize {
        let state = self.lock();
        for session in state.sessions.values() {
            session.stop.send_replace(Some(stop.clone()));
        }
        state.sessions.len()
    }

    /// Heartbeats for subscriptions that nobody is connected to, where those are stored too.
    pub(crate) fn stored_heartbeats(&self) {
        if !self.faults.on(&knob::REPLAY_HEARTBEATS) {
            return;
        }
        let gone: Vec<Arc<str>> = self
            .lock()
            .subscriptions
            .values()
            .filter(|subscription| subscription.gone_at.is_some())
            .map(|subscription| Arc::clone(&subscription.id))
            .collect();
        for id in gone {
            self.heartbeat(&id);
        }
    }
}

/// How several sessions share a subsId.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    /// Each gets everything.
    Both,
    /// Each event goes to one of them.
    Split,
}

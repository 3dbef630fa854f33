//! Owns the server's memory: the log of documents, the subscriptions with what each has yet to get,
//! who is connected, and the series of numbers. All of it behind one lock; it touches no socket.

mod admission;
mod connections;
mod delivery;
mod emission;
mod log;
mod numbers;
mod subscription;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::watch;

use self::{
    admission::Session, connections::Connections, log::Log, numbers::Numbers,
    subscription::Subscription,
};
pub(crate) use self::{
    admission::{Admitted, Refusal, Request, Stop},
    delivery::{Limit, Taken},
};
pub use self::{
    connections::{Connection, End, EndedBy},
    log::{Kind, LedgerEntry, Written},
};
use crate::{
    config::Config,
    faults::{BadFault, Fault, FaultSpec, Faults, knob},
    world::World,
};

/// The faults that change the token.
static ROTATIONS: [&Fault; 3] = [
    &knob::TOKEN_ROTATED,
    &knob::TOKEN_ROTATED_CLOSE,
    &knob::TOKEN_ROTATED_SILENT,
];

/// What the lock guards.
pub(crate) struct State {
    log: Log,
    numbers: Numbers,
    world: World,
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    connections: Connections,
    /// Events emitted so far.
    events: u64,
    rate: f64,
}

/// The server.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) faults: Faults,
    state: Mutex<State>,
    /// Moves with every change that someone may wait for.
    version: watch::Sender<u64>,
}

/// One subscription, as `GET /sim/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SubscriptionStatus {
    /// Its id.
    #[serde(rename = "subsId")]
    pub subs_id: String,
    /// Connections it has now.
    pub connected: usize,
    /// Documents it has yet to get.
    pub pending: u64,
    /// Burst documents it was given.
    pub burst: u64,
}

/// The server, as `GET /sim/status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Status {
    /// The tenant.
    pub tenant: String,
    /// Events emitted so far.
    pub events: u64,
    /// The number of the newest ledger entry, 0 before the first.
    pub ledger: u64,
    /// Events a second now.
    pub rate: f64,
    /// Clients connected now.
    pub connected: usize,
    /// Every subscription that still has a store.
    pub subscriptions: Vec<SubscriptionStatus>,
}

impl Hub {
    pub(crate) fn new(config: Config) -> Self {
        let faults = Faults::default();
        for fault in &config.faults {
            faults.set(fault.clone());
        }
        let log = Log::new(config.ledger_events);
        let subscriptions = config
            .preload_subs
            .iter()
            .map(|id| (Arc::from(id.as_str()), Subscription::new(id, log.next())))
            .collect();
        let state = State {
            numbers: Numbers::new(config.numbering, &config.instance),
            world: World::new(config.seed, &config.tenant, config.agents),
            log,
            subscriptions,
            sessions: BTreeMap::new(),
            next_session: 1,
            connections: Connections::default(),
            events: 0,
            rate: config.rate,
        };
        Self {
            config,
            faults,
            state: Mutex::new(state),
            version: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Sees every change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Now, in ms since 1970.
    #[expect(
        clippy::unused_self,
        reason = "the clock is the server's; tests read it here"
    )]
    pub(crate) fn wall_clock(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    /// The ledger from entry `from` on, at most `limit` of it.
    pub(crate) fn ledger(&self, from: u64, limit: usize) -> Vec<LedgerEntry> {
        let state = self.lock();
        let from = from.max(state.log.first());
        (from..state.log.next())
            .take(limit)
            .filter_map(|n| state.log.entry(n))
            .collect()
    }

    /// Events emitted so far.
    pub(crate) fn events(&self) -> u64 {
        self.lock().events
    }

    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        self.lock().rate
    }

    /// Emits so many events a second from now on.
    pub(crate) fn set_rate(&self, rate: f64) {
        self.lock().rate = if rate.is_finite() { rate.max(0.0) } else { 0.0 };
        self.changed();
    }

    /// The token that is valid now: the configured one, until a fault rotates it.
    pub(crate) fn token(&self) -> String {
        ROTATIONS
            .into_iter()
            .find_map(|fault| self.faults.arg(fault))
            .map_or_else(|| self.config.token.clone(), |arg| arg.text().to_owned())
    }

    /// Switches a fault on. What is to happen now happens now, to every session.
    pub(crate) fn set_fault(&self, spec: FaultSpec) {
        self.faults.set(spec);
        self.act();
        self.changed();
    }

    /// Switches a fault off.
    pub(crate) fn clear_fault(&self, name: &str) -> Result<(), BadFault> {
        self.faults.clear(name)?;
        self.changed();
        Ok(())
    }

    /// The faults that happen to all sessions at once.
    pub(crate) fn act(&self) {
        if self.connected() == 0 {
            return;
        }
        if let Some(code) = self.faults.fire(&knob::CUT_NOW) {
            self.stop_all(&Stop::cut(code.number()));
        }
        if self.faults.fires(&knob::TCP_RESET) {
            self.stop_all(&Stop::Reset("tcp-reset"));
        }
    }

    /// What `GET /sim/status` says.
    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let subscriptions = state
            .subscriptions
            .values()
            .map(|subscription| SubscriptionStatus {
                subs_id: subscription.id.to_string(),
                connected: subscription.sessions.len(),
                pending: subscription.pending(&state.log),
                burst: subscription.burst,
            })
            .collect();
        Status {
            tenant: self.config.tenant.clone(),
            events: state.events,
            ledger: state.log.next() - 1,
            rate: state.rate,
            connected: state.sessions.len(),
            subscriptions,
        }
    }

    /// Everything that was to be emitted is, and every connected subscription has it.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.lock();
        let mut connected = state
            .subscriptions
            .values()
            .filter(|subscription| !subscription.sessions.is_empty());
        if let Some(burst) = self.config.burst {
            return state.subscriptions.values().next().is_some()
                && connected.all(|subscription| subscription.burst >= burst.events);
        }
        self.config
            .events
            .is_some_and(|events| state.events >= events)
            && connected.all(|subscription| !subscription.has_pending(&state.log))
            && state
                .sessions
                .values()
                .all(|session| session.in_flight.is_empty())
    }
}

#[cfg(test)]
mod tests;

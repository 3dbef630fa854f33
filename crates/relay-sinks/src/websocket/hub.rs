//! What the connections of one websocket sink share: the bus, its clients, and how many of them
//! are being served. It knows no protocol.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use relay_core::cloudevents::Source;
use relay_core::filter::Filters;
use relay_core::store::Store;
use relay_core::storm::Storm;
use relay_core::{Bus, Metrics, ReadError};
use tokio::runtime::Handle;
use tokio::select;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::budget::{Budget, Room};
use super::clients::{Clients, Entry};
use super::cookies::Cookies;
use super::group::Groups;
use super::sapi::{Converted, Slots};

/// Why a client left: the `reason` label of `clients_disconnected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client closed, or its connection broke.
    Closed,
    /// It has had all that it asked for.
    Complete,
    /// It broke the WebSocket protocol.
    Protocol,
    /// Its kernel refused bytes for too long.
    Slow,
    /// Its token was removed or changed.
    Revoked,
    /// Another connection took over its subsId.
    TakenOver,
    /// `sapi.session_length` was over.
    SessionLength,
    /// The journal could not be read.
    Journal,
    /// The relay stops.
    Shutdown,
}

impl Reason {
    /// Every reason, for the metric's closed list.
    const ALL: [Self; 9] = [
        Self::Closed,
        Self::Complete,
        Self::Protocol,
        Self::Slow,
        Self::Revoked,
        Self::TakenOver,
        Self::SessionLength,
        Self::Journal,
        Self::Shutdown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Complete => "complete",
            Self::Protocol => "protocol",
            Self::Slow => "slow",
            Self::Revoked => "revoked",
            Self::TakenOver => "taken_over",
            Self::SessionLength => "session_length",
            Self::Journal => "journal",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: Config,
    pub(super) bus: Bus,
    pub(super) source: Source,
    pub(super) clients: Clients,
    pub(super) cookies: Cookies,
    pub(super) slots: Slots,
    pub(super) converted: Converted,
    pub(super) filters: Filters,
    pub(super) budget: Budget,
    pub(super) groups: Groups,
    /// Cancelled when the relay stops; every client's token is a child of it.
    pub(super) stop: CancellationToken,
    pub(super) events: IntCounter,
    dropped: IntCounter,
    connected: IntGauge,
    left: IntCounterVec,
    unread: Mutex<Storm>,
    crowded: Mutex<Storm>,
}

impl Hub {
    pub(super) fn new(
        config: Config,
        bus: Bus,
        clients: Clients,
        stop: CancellationToken,
        (store, metrics): (Store, &Metrics),
    ) -> Arc<Self> {
        let name = &*config.name;
        // There from the start, so that the first of each shows as an increase.
        for reason in Reason::ALL {
            let labels = &[name, reason.as_str()];
            drop(metrics.clients_disconnected_total.with_label_values(labels));
        }
        Arc::new(Self {
            source: Source::new(&config.tenant, bus.epoch()),
            slots: Slots::new(&config, store, bus.epoch()),
            cookies: Cookies::default(),
            converted: Converted::default(),
            filters: Filters::default(),
            budget: Budget::default(),
            groups: Groups::new(Handle::current().metrics().num_workers()),
            events: metrics.client_events_total.with_label_values(&[name]),
            dropped: metrics
                .client_connections_dropped_total
                .with_label_values(&[name]),
            connected: metrics.clients_connected.with_label_values(&[name]),
            left: metrics.clients_disconnected_total.clone(),
            unread: Mutex::default(),
            crowded: Mutex::default(),
            config,
            bus,
            clients,
            stop,
        })
    }

    /// A connection has been dropped, for so many are open.
    pub(super) fn crowded(&self, open: usize) {
        self.dropped.inc();
        if let Some(times) = strike(&self.crowded) {
            tracing::warn!(sink = %self.config.name, open, times, "too many connections are open: a new one is dropped");
        }
    }

    /// The journal could not be read for a client.
    pub(super) fn unread(&self, error: &ReadError) {
        if let Some(times) = strike(&self.unread) {
            tracing::error!(sink = %self.config.name, %error, times, "a client could not be served");
        }
    }

    /// Takes a client in. `None`: `max_clients` are being served.
    pub(super) fn admit(self: &Arc<Self>, client: &Arc<Entry>) -> Option<Admission> {
        let most = self.config.max_clients;
        let more = |now: usize| (now < most).then_some(now + 1);
        self.clients
            .counter()
            .fetch_update(Relaxed, Relaxed, more)
            .ok()?;
        self.connected.inc();
        Some(Admission {
            hub: Arc::clone(self),
            client: Arc::clone(client),
            end: client.gone.child_token(),
            reason: Reason::Closed,
            stalled: None,
        })
    }
}

fn strike(storm: &Mutex<Storm>) -> Option<u64> {
    let mut storm = storm.lock().unwrap_or_else(PoisonError::into_inner);
    storm.strike()
}

/// A client that is being served. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) hub: Arc<Hub>,
    pub(super) client: Arc<Entry>,
    /// Cancelled when this connection is to end.
    pub(super) end: CancellationToken,
    reason: Reason,
    stalled: Option<Arc<AtomicBool>>,
}

impl Admission {
    /// A flag that tells, once the client has left, whether it was too slow.
    pub(super) fn watch(&mut self, stalled: &Arc<AtomicBool>) {
        self.stalled = Some(Arc::clone(stalled));
    }

    /// Why `end` was cancelled.
    pub(super) fn why(&self) -> Reason {
        if self.hub.stop.is_cancelled() {
            Reason::Shutdown
        } else if self.client.gone.is_cancelled() {
            Reason::Revoked
        } else {
            Reason::TakenOver
        }
    }

    /// Waits for room for a large event, for as long as a client may be slow. `None`: the client is
    /// to leave, and it is said why; its cursor is good.
    pub(super) async fn room(&mut self, size: usize) -> Option<Room> {
        let patience = self.hub.config.slow_client_timeout;
        let reason = select! {
            biased;
            () = self.end.cancelled() => self.why(),
            room = timeout(patience, self.hub.budget.room(size)) => match room {
                Ok(Some(room)) => return Some(room),
                Ok(None) | Err(_) => Reason::Slow,
            },
        };
        self.leaves(reason);
        None
    }

    /// Says why the client leaves; [`Reason::Closed`] if nobody does.
    pub(super) fn leaves(&mut self, reason: Reason) {
        self.reason = reason;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let stalled = self
            .stalled
            .as_ref()
            .is_some_and(|stalled| stalled.load(Relaxed));
        let reason = if self.reason != Reason::Closed {
            self.reason
        } else if stalled {
            Reason::Slow
        } else if self.hub.stop.is_cancelled() {
            // Cut off before anybody could say so.
            Reason::Shutdown
        } else {
            Reason::Closed
        };
        let labels = [&*self.hub.config.name, reason.as_str()];
        self.hub.left.with_label_values(&labels).inc();
        self.hub.connected.dec();
        self.hub.clients.counter().fetch_sub(1, Relaxed);
    }
}

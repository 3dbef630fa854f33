//! What `/v1/status` says of subscriptions and sinks: plain values, kept by their owners.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A subscription's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// Connecting, or waiting for its turn.
    #[default]
    Connecting,
    /// Connected and receiving.
    Streaming,
    /// Reconnecting after an expected cut.
    Rotating,
    /// Waiting after a failure, with its cause.
    BackingOff(BackOffCause),
    /// Stopped: the relay shuts down, or the disk is full.
    Stopped,
}

/// What a subscription backs off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackOffCause {
    /// Network trouble, or a server that fails.
    Network,
    /// 401 or 403.
    Auth,
    /// The upstream's limit of clients.
    Quota,
    /// The path was not found, or another answer that only a configuration change cures.
    Refused,
}

/// One subscription's row, as a snapshot. Times are Unix milliseconds.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionStatus {
    /// The subscription's id.
    pub id: Arc<str>,
    /// Its state.
    pub state: SubscriptionState,
    /// Since when.
    pub since_ms: u64,
    /// When the present connection was made.
    pub connected_at_ms: Option<u64>,
    /// When it is expected to be cut.
    pub expected_cut_at_ms: Option<u64>,
    /// The last byte received.
    pub last_byte_at_ms: Option<u64>,
    /// The last event received.
    pub last_event_at_ms: Option<u64>,
    /// The last error, in words; never holds a secret.
    pub last_error: Option<String>,
    /// Holes found in its sequences.
    pub gaps: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// The connection before the present one ended because nothing came.
    pub ended_silent: bool,
    /// When its loop comes round again at the latest; `None`: it waits for as long as it takes.
    pub due: Option<Instant>,
}

impl SubscriptionStatus {
    /// When the upstream last gave a sign of life. A connection that was just made counts, but not
    /// where the one before it stayed silent: then only a byte does.
    pub fn heard_at_ms(&self) -> Option<u64> {
        if self.ended_silent {
            self.last_byte_at_ms
        } else {
            self.last_byte_at_ms.max(self.connected_at_ms)
        }
    }

    /// For how long its loop has been due.
    pub fn overdue(&self, now: Instant) -> Duration {
        self.due
            .map_or(Duration::ZERO, |due| now.saturating_duration_since(due))
    }
}

/// One subscription's live row: the session writes it, the admin server reads it.
#[derive(Debug, Default)]
pub struct SubscriptionBoard {
    row: Mutex<SubscriptionStatus>,
    last_byte_at_ms: AtomicU64,
    last_event_at_ms: AtomicU64,
    gaps: AtomicU64,
}

impl SubscriptionBoard {
    /// A row for a subscription.
    pub fn new(id: Arc<str>) -> Arc<Self> {
        let board = Self::default();
        board.update(|row| row.id = id);
        Arc::new(board)
    }

    /// Changes the row. For what changes rarely: state, connection, errors.
    pub fn update(&self, change: impl FnOnce(&mut SubscriptionStatus)) {
        change(&mut self.row.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Bytes were received at a time, in Unix milliseconds. Lock-free.
    pub fn bytes_at(&self, at_ms: u64) {
        self.last_byte_at_ms.store(at_ms, Relaxed);
    }

    /// An event was received at a time, in Unix milliseconds. Lock-free.
    pub fn event_at(&self, at_ms: u64) {
        self.last_event_at_ms.store(at_ms, Relaxed);
    }

    /// A hole was found.
    pub fn gap(&self) {
        self.gaps.fetch_add(1, Relaxed);
    }

    /// The row as it is now.
    pub fn snapshot(&self) -> SubscriptionStatus {
        let some = |value: u64| (value > 0).then_some(value);
        let mut row = self
            .row
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        row.last_byte_at_ms = some(self.last_byte_at_ms.load(Relaxed));
        row.last_event_at_ms = some(self.last_event_at_ms.load(Relaxed));
        row.gaps = self.gaps.load(Relaxed);
        row
    }
}

/// A sink's state (PRODUCT section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// Delivering, or ready to.
    #[default]
    Running,
    /// Waiting after a failure that time cures.
    Retrying,
    /// Stopped by an operator.
    Paused,
    /// A cause that waiting does not cure; retried slowly, alarm.
    Blocked,
    /// `on_reject = "halt"` met a rejection.
    Halted,
    /// The destination said that it is gone for good.
    Disabled,
}

impl SinkState {
    /// Every state, for the metric's closed list.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Retrying,
        Self::Paused,
        Self::Blocked,
        Self::Halted,
        Self::Disabled,
    ];

    /// The label, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Blocked => "blocked",
            Self::Halted => "halted",
            Self::Disabled => "disabled",
        }
    }
}

/// A sink's last error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// What happened; never holds a secret.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

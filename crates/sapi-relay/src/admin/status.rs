//! Owns `/v1/status`: its schema, and how it is filled.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use relay_core::sink::Warning;
use relay_core::status::{
    BackOffCause, SinkError, SinkState, SubscriptionState, SubscriptionStatus,
};
use serde::Serialize;

use super::answer::at;
use crate::relay::{SharedState, SinkRow};

/// The whole of it. Times are RFC 3339.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    tenant: String,
    epoch: String,
    started_at: String,
    ready: bool,
    subscriptions: Vec<Subscription>,
    journal: Journal,
    bus: BusPart,
    sinks: Vec<Sink>,
    clients: Clients,
}

#[derive(Debug, Serialize)]
struct Subscription {
    id: String,
    state: String,
    since: String,
    connected_at: Option<String>,
    expected_cut_at: Option<String>,
    last_byte_at: Option<String>,
    last_event_at: Option<String>,
    last_error: Option<String>,
    gaps: u64,
    reconnects: u64,
}

#[derive(Debug, Serialize)]
struct Journal {
    first: String,
    last: String,
    bytes: u64,
    oldest_at: Option<String>,
    writable: bool,
    commit_ms: f64,
}

#[derive(Debug, Serialize)]
struct BusPart {
    bytes: usize,
    first: String,
}

#[derive(Debug, Serialize)]
struct Sink {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: SinkState,
    cursor: Option<String>,
    lag_events: u64,
    lag_seconds: f64,
    retries: u64,
    last_error: Option<LastError>,
    warnings: Vec<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<usize>,
}

#[derive(Debug, Serialize)]
struct LastError {
    at: String,
    text: String,
    remedy: String,
}

/// What works, but not as well as it could, and what to do about it.
#[derive(Debug, Serialize)]
struct Words {
    text: String,
    remedy: String,
}

#[derive(Debug, Serialize)]
struct Clients {
    connected: usize,
}

/// Everything, as it is now.
pub(super) async fn status(State(state): State<Arc<SharedState>>) -> Json<Status> {
    Json(Status::of(&state).await)
}

impl Status {
    pub(super) async fn of(state: &SharedState) -> Self {
        let rows = state.sinks.rows().await;
        let connected = rows.iter().map(|row| match row {
            SinkRow::Listener { connected, .. } => *connected,
            SinkRow::Worker(_) => 0,
        });
        let log = state.bus.log();
        let cursor = |offset| state.bus.cursor(offset).to_string();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            tenant: state.config().upstream.tenant_id.clone(),
            epoch: state.bus.epoch().to_string(),
            started_at: state.started_at.to_string(),
            ready: state.checks().iter().all(|check| check.ok),
            subscriptions: state
                .boards
                .iter()
                .map(|board| subscription(board.snapshot()))
                .collect(),
            journal: Journal {
                first: cursor(log.first()),
                last: cursor(state.bus.last()),
                bytes: log.bytes(),
                oldest_at: log.oldest_time_ms().map(at),
                writable: state.intake.writable(),
                commit_ms: state.intake.last_commit_ms(),
            },
            bus: BusPart {
                bytes: state.bus.memory_bytes(),
                first: cursor(state.bus.memory_first()),
            },
            clients: Clients {
                connected: connected.sum(),
            },
            sinks: rows.into_iter().map(sink).collect(),
        }
    }
}

fn subscription(row: SubscriptionStatus) -> Subscription {
    let SubscriptionStatus {
        id,
        state,
        since_ms,
        last_error,
        gaps,
        reconnects,
        ..
    } = row;
    Subscription {
        id: id.to_string(),
        state: state_text(state),
        since: at(since_ms),
        connected_at: row.connected_at_ms.map(at),
        expected_cut_at: row.expected_cut_at_ms.map(at),
        last_byte_at: row.last_byte_at_ms.map(at),
        last_event_at: row.last_event_at_ms.map(at),
        last_error,
        gaps,
        reconnects,
    }
}

/// `backing_off(auth)` and so on.
fn state_text(state: SubscriptionState) -> String {
    let cause = match state {
        SubscriptionState::Connecting => return "connecting".to_owned(),
        SubscriptionState::Streaming => return "streaming".to_owned(),
        SubscriptionState::Rotating => return "rotating".to_owned(),
        SubscriptionState::Stopped => return "stopped".to_owned(),
        SubscriptionState::BackingOff(BackOffCause::Network) => "network",
        SubscriptionState::BackingOff(BackOffCause::Auth) => "auth",
        SubscriptionState::BackingOff(BackOffCause::Quota) => "quota",
        SubscriptionState::BackingOff(BackOffCause::Refused) => "refused",
    };
    format!("backing_off({cause})")
}

fn sink(row: SinkRow) -> Sink {
    let (name, state) = (sink_name(&row).to_owned(), sink_state(&row));
    match row {
        SinkRow::Worker(status) => Sink {
            name,
            kind: status.kind,
            state,
            cursor: Some(status.cursor.to_string()),
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            retries: status.retries,
            last_error: status.last_error.map(last_error),
            warnings: status.warnings.into_iter().map(words).collect(),
            listen: None,
            clients: None,
        },
        SinkRow::Listener {
            address,
            connected,
            failure,
            ..
        } => Sink {
            name,
            kind: "websocket",
            state,
            cursor: None,
            lag_events: 0,
            lag_seconds: 0.0,
            retries: 0,
            last_error: failure.map(|text| LastError {
                at: at(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()),
                text,
                remedy: "see the log; if its address is taken, free it".to_owned(),
            }),
            warnings: Vec::new(),
            listen: Some(address),
            clients: Some(connected),
        },
    }
}

fn last_error(error: SinkError) -> LastError {
    LastError {
        at: at(error.at_ms),
        text: error.text,
        remedy: error.remedy,
    }
}

fn words(warning: Warning) -> Words {
    let Warning { text, remedy } = warning;
    Words { text, remedy }
}

/// A row's name.
pub(super) fn sink_name(row: &SinkRow) -> &str {
    match row {
        SinkRow::Worker(status) => &status.name,
        SinkRow::Listener { name, .. } => name,
    }
}

/// A row's state; a listener that is there serves, one that has failed starts again.
pub(super) fn sink_state(row: &SinkRow) -> SinkState {
    match row {
        SinkRow::Worker(status) => status.state,
        SinkRow::Listener { failure: None, .. } => SinkState::Running,
        SinkRow::Listener { .. } => SinkState::Retrying,
    }
}

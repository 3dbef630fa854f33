//! Owns the probes: `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::status::{sink_name, sink_state};
use crate::relay::SharedState;

/// Whether runtime, intake and subscriptions make progress, and nothing else: a restart would help.
pub(super) async fn livez(State(state): State<Arc<SharedState>>) -> (StatusCode, String) {
    match state.stuck() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")),
    }
}

/// Whether the relay does its work. Sinks are listed; a dead one does not unready.
pub(super) async fn readyz(State(state): State<Arc<SharedState>>) -> (StatusCode, Json<Value>) {
    let checks = state.checks();
    let ready = checks.iter().all(|check| check.ok);
    let rows = state.sinks.rows().await;
    let sinks = rows
        .iter()
        .map(|row| json!({ "name": sink_name(row), "state": sink_state(row).as_str() }));
    let body = json!({ "ready": ready, "checks": checks, "sinks": sinks.collect::<Vec<_>>() });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}

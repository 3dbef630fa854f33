//! Owns `/metrics`: gauges that are computed are set here, when somebody looks.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use prometheus::TextEncoder;
use relay_core::status::SubscriptionBoard;

use super::answer::Refused;
use crate::relay::{SharedState, now_ms};

/// Every metric, as Prometheus' text.
pub(super) async fn metrics(
    State(state): State<Arc<SharedState>>,
) -> Result<([(HeaderName, &'static str); 1], String), Refused> {
    state.sinks.scrape().await;
    set_gauges(&state);
    let families = state.metrics.registry.gather();
    let text = TextEncoder::new().encode_to_string(&families);
    let text = text.map_err(|error| {
        Refused(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )
    })?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
}

fn set_gauges(state: &SharedState) {
    let metrics = &state.metrics;
    let log = state.bus.log();
    metrics.journal_bytes.set(gauge(log.bytes()));
    let journal = &state.config().journal;
    metrics
        .journal_retention_bytes
        .set(gauge(journal.keep.retention_bytes));
    // A volume that does not answer keeps its last value; the journal says what is wrong with it.
    if let Ok(space) = relay_journal::free_bytes(&journal.dir) {
        let free = gauge(space.available);
        metrics.journal_volume_available_bytes.set(free);
    }
    metrics
        .journal_oldest_timestamp_seconds
        .set(log.oldest_time_ms().map_or(0.0, seconds));
    metrics
        .journal_writable
        .set(i64::from(state.intake.writable()));
    metrics
        .bus_memory_bytes
        .set(i64::try_from(state.bus.memory_bytes()).unwrap_or(i64::MAX));
    let now = now_ms();
    for board in &state.boards {
        set_subscription(state, board, now);
    }
}

fn set_subscription(state: &SharedState, board: &SubscriptionBoard, now: u64) {
    let row = board.snapshot();
    let age = row
        .connected_at_ms
        .map_or(0.0, |at| seconds(now.saturating_sub(at)));
    let label = [&*row.id];
    state
        .metrics
        .upstream_session_age_seconds
        .with_label_values(&label)
        .set(age);
    if let Some(at) = row.last_byte_at_ms {
        state
            .metrics
            .upstream_last_byte_timestamp_seconds
            .with_label_values(&label)
            .set(seconds(at));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

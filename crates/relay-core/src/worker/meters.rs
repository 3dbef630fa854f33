//! A worker's metrics: the children of its label, made once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use relay_journal::{Log, Offset};

use super::SinkStatus;
use crate::Metrics;
use crate::status::SinkState;

/// Rates are taken over at least so long.
const RATE_WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Meters {
    pub(super) delivered: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) rejected: IntCounter,
    pub(super) skipped: IntCounter,
    pub(super) delivery: Histogram,
    pub(super) latency: Histogram,
    pub(super) headroom: Gauge,
    lag_events: IntGauge,
    lag_seconds: Gauge,
    up: IntGauge,
    states: [(SinkState, IntGauge); 6],
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, sink: &str) -> Self {
        let label = &[sink];
        // There from the start, so that the first letter shows as an increase.
        drop(metrics.dead_letters.with_label_values(label));
        let state = |state: SinkState| {
            (
                state,
                metrics
                    .sink_state
                    .with_label_values(&[sink, state.as_str()]),
            )
        };
        Self {
            delivered: metrics.sink_delivered_total.with_label_values(label),
            retries: metrics.sink_retries_total.with_label_values(label),
            rejected: metrics.sink_rejected_total.with_label_values(label),
            skipped: metrics.sink_skipped_total.with_label_values(label),
            delivery: metrics
                .sink_delivery_duration_seconds
                .with_label_values(label),
            latency: metrics.sink_latency_seconds.with_label_values(label),
            headroom: metrics
                .sink_retention_headroom_seconds
                .with_label_values(label),
            lag_events: metrics.sink_lag_events.with_label_values(label),
            lag_seconds: metrics.sink_lag_seconds.with_label_values(label),
            up: metrics.sink_up.with_label_values(label),
            states: SinkState::ALL.map(state),
        }
    }

    /// Sets the gauges.
    pub(super) fn show(&self, status: &SinkStatus) {
        self.lag_events
            .set(i64::try_from(status.lag_events).unwrap_or(i64::MAX));
        self.lag_seconds.set(status.lag_seconds);
        self.up.set((status.state == SinkState::Running).into());
        for (state, gauge) in &self.states {
            gauge.set((*state == status.state).into());
        }
    }
}

/// How long until retention by bytes reaches a cursor, at the rate of late.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    since: Option<(Instant, Offset)>,
    records_per_second: f64,
}

impl Headroom {
    /// Infinite while nothing is written.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn measure(
        &mut self,
        log: &Log,
        status: &SinkStatus,
        retention_bytes: u64,
        now: Instant,
    ) -> f64 {
        let last = log.last();
        let (then, before) = *self.since.get_or_insert((now, last));
        let elapsed = now.duration_since(then);
        if elapsed >= RATE_WINDOW {
            self.records_per_second =
                last.0.saturating_sub(before.0) as f64 / elapsed.as_secs_f64();
            self.since = Some((now, last));
        }
        let records = last.0.saturating_sub(log.first().0) + 1;
        let record_bytes = log.bytes() as f64 / records as f64;
        let rate = self.records_per_second * record_bytes;
        if rate <= 0.0 {
            return f64::INFINITY;
        }
        let unread = status.lag_events as f64 * record_bytes;
        ((retention_bytes as f64 - unread) / rate).max(0.0)
    }
}

/// The wall clock, in Unix milliseconds: for ages and latencies, never for waiting.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

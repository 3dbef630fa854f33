//! The metrics of PRODUCT section 6: every family, its help text, its labels, in one place.

use std::collections::HashMap;

use prometheus::core::{Collector as _, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Buckets from 100 µs to 100 s, for everything that is a duration.
const SECONDS: [f64; 19] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 25.0, 50.0, 100.0,
];

macro_rules! metrics {
    ($( $(#[doc = $help:literal])+ $name:ident : $kind:ident $([$($label:literal),+])? ),+ $(,)?) => {
        /// Every metric of the relay. Names are prefixed `sapi_relay_`.
        ///
        /// Whoever works per event keeps the child of a labelled family rather than asking for it
        /// each time.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            /// The registry that all of them belong to.
            pub registry: Registry,
            $( $(#[doc = $help])+ pub $name: $kind, )+
        }

        impl Metrics {
            /// A fresh set on a registry of its own.
            ///
            /// # Errors
            /// Never in practice: the names are constant and distinct, as a test shows.
            pub fn new() -> prometheus::Result<Self> {
                let registry = Registry::new();
                Ok(Self {
                    $( $name: register::<$kind>(
                        &registry, stringify!($name), concat!($($help),+).trim(), &[$($($label),+)?],
                    )?, )+
                    registry,
                })
            }
        }
    };
}

metrics! {
    /// 1 while the subscription is connected.
    upstream_connected: IntGaugeVec["subscription"],
    /// Connections made.
    upstream_connects_total: IntCounterVec["subscription"],
    /// Connections that ended, or could not be made, by reason.
    upstream_disconnects_total: IntCounterVec["subscription", "reason"],
    /// Documents received by type, heartbeats and duplicates included.
    upstream_events_total: IntCounterVec["subscription", "type"],
    /// Bytes received, those of WebSocket's framing included.
    upstream_bytes_total: IntCounterVec["subscription"],
    /// When the last byte was received, in Unix seconds; 0: never.
    upstream_last_byte_timestamp_seconds: GaugeVec["subscription"],
    /// Age of the present connection in seconds; 0 while there is none.
    upstream_session_age_seconds: GaugeVec["subscription"],
    /// Events that were already committed and were not delivered again.
    duplicates_total: IntCounterVec["subscription"],
    /// Events without a complete msgInfo: they can't be told from their repetition.
    events_without_id_total: IntCounterVec["subscription"],
    /// Holes found in the numbering of a subscription.
    sequence_gaps_total: IntCounterVec["subscription"],
    /// Numbers that those holes span.
    sequence_missing_total: IntCounterVec["subscription"],
    /// Documents that could not be parsed, by reason; they are in the dead letters.
    malformed_total: IntCounterVec["subscription", "reason"],
    /// Notices, by kind.
    notices_total: IntCounterVec["kind"],
    /// Dead letters kept, by origin: a sink's name, or upstream.
    dead_letters: IntGaugeVec["sink"],
    /// Dead letters that their own bounds have dropped.
    dead_letters_dropped_total: IntCounter,
    /// Spans of sampled events, by what became of them: sent, failed (the collector did not take them), or dropped (they waited for it too long).
    trace_spans_total: IntCounterVec["result"],
    /// Events committed to the journal.
    journal_appended_events_total: IntCounter,
    /// Seconds that a commit takes: write and fsync.
    journal_commit_duration_seconds: Histogram,
    /// Bytes of the journal on disk.
    journal_bytes: IntGauge,
    /// Bytes that the journal may hold, by its configuration.
    journal_retention_bytes: IntGauge,
    /// Bytes that are free on the journal's volume.
    journal_volume_available_bytes: IntGauge,
    /// Arrival of the oldest record kept, in Unix seconds; 0 while there is none.
    journal_oldest_timestamp_seconds: Gauge,
    /// 1 while the journal can be written.
    journal_writable: IntGauge,
    /// Bytes that the bus holds in memory.
    bus_memory_bytes: IntGauge,
    /// Bytes that the memory of ids takes.
    dedup_memory_bytes: IntGauge,
    /// How far back the memory of ids reaches, in seconds.
    dedup_horizon_seconds: Gauge,
    /// 1 while the sink delivers: its state is running.
    sink_up: IntGaugeVec["sink"],
    /// 1 for the sink's present state, 0 for the others.
    sink_state: IntGaugeVec["sink", "state"],
    /// Events confirmed by the destination.
    sink_delivered_total: IntCounterVec["sink"],
    /// Deliveries tried again.
    sink_retries_total: IntCounterVec["sink"],
    /// Events that the destination refused for good.
    sink_rejected_total: IntCounterVec["sink"],
    /// Events that retention removed before the sink had read them.
    sink_skipped_total: IntCounterVec["sink"],
    /// Events between the sink's cursor and the end of the journal.
    sink_lag_events: IntGaugeVec["sink"],
    /// Age in seconds of the oldest event that the sink has not settled; 0 when it has settled all.
    sink_lag_seconds: GaugeVec["sink"],
    /// Seconds until retention by bytes reaches the sink's cursor at the present rate; +Inf while nothing is written.
    sink_retention_headroom_seconds: GaugeVec["sink"],
    /// Seconds from handing a batch to the sink to its outcomes.
    sink_delivery_duration_seconds: HistogramVec["sink"],
    /// Seconds from an event's arrival to its confirmation.
    sink_latency_seconds: HistogramVec["sink"],
    /// Downstream clients connected.
    clients_connected: IntGaugeVec["sink"],
    /// Downstream clients that left, by reason.
    clients_disconnected_total: IntCounterVec["sink", "reason"],
    /// Connections dropped at once because too many were open.
    client_connections_dropped_total: IntCounterVec["sink"],
    /// Events sent to downstream clients.
    client_events_total: IntCounterVec["sink"],
    /// Tasks restarted after an error or a panic.
    task_restarts_total: IntCounterVec["task", "cause"],
    /// 1 if the last reload of the configuration succeeded.
    config_last_reload_successful: IntGauge,
    /// 1; the labels say which build runs.
    build_info: IntGaugeVec["version"],
}

impl Metrics {
    /// Forgets a sink that is gone for good: what it was must not be taken for what it is. Its dead
    /// letters are still there, and so is their number.
    pub fn forget_sink(&self, sink: &str) {
        let gone = ("sink", sink);
        forget(&self.sink_up, gone);
        forget(&self.sink_state, gone);
        forget(&self.sink_delivered_total, gone);
        forget(&self.sink_retries_total, gone);
        forget(&self.sink_rejected_total, gone);
        forget(&self.sink_skipped_total, gone);
        forget(&self.sink_lag_events, gone);
        forget(&self.sink_lag_seconds, gone);
        forget(&self.sink_retention_headroom_seconds, gone);
        forget(&self.sink_delivery_duration_seconds, gone);
        forget(&self.sink_latency_seconds, gone);
        forget(&self.clients_connected, gone);
        forget(&self.clients_disconnected_total, gone);
        forget(&self.client_connections_dropped_total, gone);
        forget(&self.client_events_total, gone);
    }
}

/// Removes the series of a family that have a label with a value.
fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, (name, value): (&str, &str)) {
    for family_now in family.collect() {
        for series in family_now.get_metric() {
            let labels = series.get_label().iter();
            let labels: HashMap<&str, &str> =
                labels.map(|label| (label.name(), label.value())).collect();
            if labels.get(name) == Some(&value) {
                // An error would mean that somebody else has removed it meanwhile.
                family.remove(&labels).ok();
            }
        }
    }
}

/// Makes and registers one family.
fn register<M: Family>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<M> {
    let family = M::family(&format!("sapi_relay_{name}"), help, labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

trait Family: prometheus::core::Collector + Clone + 'static {
    fn family(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self>;
}

macro_rules! family {
    ($($kind:ty => |$name:ident, $help:ident, $labels:ident| $make:expr;)+) => {
        $(impl Family for $kind {
            fn family($name: &str, $help: &str, $labels: &[&str]) -> prometheus::Result<Self> {
                $make
            }
        })+
    };
}

family! {
    Gauge => |name, help, _labels| Self::new(name, help);
    IntGauge => |name, help, _labels| Self::new(name, help);
    IntCounter => |name, help, _labels| Self::new(name, help);
    GaugeVec => |name, help, labels| Self::new(Opts::new(name, help), labels);
    IntGaugeVec => |name, help, labels| Self::new(Opts::new(name, help), labels);
    IntCounterVec => |name, help, labels| Self::new(Opts::new(name, help), labels);
    Histogram => |name, help, _labels| {
        Self::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))
    };
    HistogramVec => |name, help, labels| {
        Self::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_label_is_accepted() {
        let metrics = Metrics::new().unwrap();
        metrics.build_info.with_label_values(&["0"]).set(1);
        let families = metrics.registry.gather();
        assert!(
            families
                .iter()
                .any(|family| family.name() == "sapi_relay_build_info")
        );
        assert!(families.iter().all(|family| !family.help().is_empty()));
    }

    #[test]
    fn a_sink_that_is_gone_is_forgotten_and_no_other() {
        let metrics = Metrics::new().unwrap();
        for sink in ["gone", "here"] {
            metrics.sink_up.with_label_values(&[sink]).set(1);
            metrics
                .sink_state
                .with_label_values(&[sink, "running"])
                .set(1);
            metrics
                .sink_latency_seconds
                .with_label_values(&[sink])
                .observe(1.0);
            metrics.dead_letters.with_label_values(&[sink]).set(3);
        }
        metrics.forget_sink("gone");
        let families = metrics.registry.gather();
        let left = |sink: &str| {
            let series = families
                .iter()
                .flat_map(prometheus::proto::MetricFamily::get_metric);
            let labels = series.flat_map(prometheus::proto::Metric::get_label);
            labels.filter(|label| label.value() == sink).count()
        };
        assert_eq!(
            (left("gone"), left("here")),
            (1, 4),
            "its dead letters stay"
        );
    }
}

//! Owns `/v1/overview`: what the dashboard draws, in one small answer. Counts, not rates: whoever
//! asks twice knows the rates, and the relay keeps nothing for a page that may not be open.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use prometheus::core::Collector;
use prometheus::proto::Metric;
use relay_core::notice::Notice;
use serde::Serialize;

use super::answer::{Answer, at, parameters};
use super::status::Status;
use crate::relay::{Check, SharedState, now_ms};

/// Of the list behind `/v1/gaps`, the latest so many are shown.
const GAPS: usize = 100;

/// How much, by a name.
type Counts = BTreeMap<String, f64>;

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// The relay's clock: a browser's may differ.
    now: String,
    status: Status,
    checks: [Check; 3],
    /// Events committed since the start, and the commits: their number and the time they took.
    committed: u64,
    commits: u64,
    commit_seconds: f64,
    /// Documents received: subscription, type.
    received: BTreeMap<String, Counts>,
    /// Events not delivered again: subscription.
    duplicates: Counts,
    /// Numbers that holes span: subscription.
    missing: Counts,
    /// Events confirmed, or sent to clients: sink.
    delivered: Counts,
    /// Clients that left: sink, reason.
    left: BTreeMap<String, Counts>,
    /// Dead letters kept: sink, or `upstream`.
    dead_letters: Counts,
    /// Notices: kind.
    notices: Counts,
    /// The latest gaps, oldest first; absent while the latest is the one that the asker has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    gaps: Option<Vec<Notice>>,
}

/// `GET /v1/overview?seen=`: the id of the latest gap that the asker knows.
pub(super) async fn overview(
    State(state): State<Arc<SharedState>>,
    RawQuery(query): RawQuery,
) -> Answer<Overview> {
    let query = parameters(query.as_deref(), &["seen"])?;
    let metrics = &state.metrics;
    let mut delivered = by(&metrics.sink_delivered_total, "sink");
    delivered.extend(by(&metrics.client_events_total, "sink"));
    Ok(Json(Overview {
        now: at(now_ms()),
        status: Status::of(&state).await,
        checks: state.checks(),
        committed: metrics.journal_appended_events_total.get(),
        commits: metrics.journal_commit_duration_seconds.get_sample_count(),
        commit_seconds: metrics.journal_commit_duration_seconds.get_sample_sum(),
        received: by_two(&metrics.upstream_events_total, "subscription", "type"),
        duplicates: by(&metrics.duplicates_total, "subscription"),
        missing: by(&metrics.sequence_missing_total, "subscription"),
        delivered,
        left: by_two(&metrics.clients_disconnected_total, "sink", "reason"),
        dead_letters: by(&metrics.dead_letters, "sink"),
        notices: by(&metrics.notices_total, "kind"),
        gaps: newer(&state, query.get("seen").map(String::as_str)),
    }))
}

fn newer(state: &SharedState, seen: Option<&str>) -> Option<Vec<Notice>> {
    let latest = state.notices.latest_gaps(1);
    let latest = latest.last().map(|gap| gap.id.as_str());
    (seen.is_none() || latest != seen).then(|| state.notices.latest_gaps(GAPS))
}

/// The values of a family by one of its labels. Asking the family itself for a label would make the
/// series where it is not there.
fn by(family: &impl Collector, label: &str) -> Counts {
    let mut counts = Counts::new();
    for family in family.collect() {
        for metric in family.get_metric() {
            *counts.entry(value_of(metric, label)).or_default() += count(metric);
        }
    }
    counts
}

fn by_two(family: &impl Collector, outer: &str, inner: &str) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for family in family.collect() {
        for metric in family.get_metric() {
            let counts = counts.entry(value_of(metric, outer)).or_default();
            *counts.entry(value_of(metric, inner)).or_default() += count(metric);
        }
    }
    counts
}

fn value_of(metric: &Metric, label: &str) -> String {
    let labels = metric.get_label().iter();
    let found = labels.filter(|pair| pair.name() == label);
    found.map(|pair| pair.value().to_owned()).collect()
}

/// A counter's or a gauge's value; the other of the two is 0.
fn count(metric: &Metric) -> f64 {
    metric.get_counter().get_value() + metric.get_gauge().get_value()
}

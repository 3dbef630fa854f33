//! What one subscription counts: its children of the metrics, kept, and its type labels, bounded.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntGauge};
use relay_core::Metrics;
use relay_core::admit::DisconnectReason;
use sapi_protocol::{Document, Framed};

/// Types that always have a label of their own.
const KNOWN: [&str; 34] = [
    "AgentLoginUpdate",
    "AgentProvChange",
    "AgentSkillChanged",
    "AgentSkillCreated",
    "AgentStatusChange",
    "AgentUpdate",
    "ClientCheck",
    "GuestChatEnd",
    "Interaction",
    "InteractionAccepted",
    "InteractionAssigned",
    "InteractionChanged",
    "InteractionCreated",
    "InteractionCustomerAccepted",
    "InteractionDeAssigned",
    "InteractionDeassigned",
    "InteractionDeleted",
    "InteractionEndPostProcess",
    "InteractionJoinLinesRequest",
    "InteractionJoined",
    "InteractionParticipantChange",
    "InteractionParticipantRemovedByHost",
    "InteractionPostProcess",
    "InteractionQueueTimeout",
    "InteractionQueued",
    "InteractionReconnect",
    "InteractionRecordingReady",
    "InteractionRecordingStarted",
    "InteractionRejected",
    "InteractionTransferRequest",
    "InteractionUnqueued",
    "LineHoldStatus",
    "LineMuteStatus",
    "RecordingStatus",
];
/// So many other types get one, first come first served.
const OTHERS: usize = 100;
/// A longer name never does.
const MAX_LABEL: usize = 100;
const OTHER: &str = "other";

/// The other types that have a label, shared by all subscriptions.
#[derive(Debug, Default)]
pub(crate) struct TypeLabels(Mutex<HashSet<String>>);

impl TypeLabels {
    fn has(&self, name: &str) -> bool {
        if KNOWN.contains(&name) {
            return true;
        }
        let mut others = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if others.contains(name) {
            return true;
        }
        name.len() <= MAX_LABEL && others.len() < OTHERS && others.insert(name.to_owned())
    }
}

/// One subscription's counters.
#[derive(Debug)]
pub(crate) struct Meters {
    subscription: Arc<str>,
    metrics: Arc<Metrics>,
    labels: Arc<TypeLabels>,
    connected: IntGauge,
    connects: IntCounter,
    bytes: IntCounter,
    last_byte: Gauge,
    age: Gauge,
    types: HashMap<String, IntCounter>,
    others: IntCounter,
}

impl Meters {
    pub(crate) fn new(
        subscription: &Arc<str>,
        metrics: &Arc<Metrics>,
        labels: &Arc<TypeLabels>,
    ) -> Self {
        let label = &[&**subscription];
        let others = metrics
            .upstream_events_total
            .with_label_values(&[subscription, OTHER]);
        for reason in DisconnectReason::ALL {
            let labels = &[subscription, reason.as_str()];
            drop(metrics.upstream_disconnects_total.with_label_values(labels));
        }
        Self {
            subscription: Arc::clone(subscription),
            metrics: Arc::clone(metrics),
            labels: Arc::clone(labels),
            connected: metrics.upstream_connected.with_label_values(label),
            connects: metrics.upstream_connects_total.with_label_values(label),
            bytes: metrics.upstream_bytes_total.with_label_values(label),
            last_byte: metrics
                .upstream_last_byte_timestamp_seconds
                .with_label_values(label),
            age: metrics
                .upstream_session_age_seconds
                .with_label_values(label),
            types: HashMap::new(),
            others,
        }
    }

    pub(crate) fn connected(&self) {
        self.connected.set(1);
        self.connects.inc();
    }

    pub(crate) fn has_connected(&self) -> bool {
        self.connects.get() > 0
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.get() == 1
    }

    pub(crate) fn disconnected(&self, reason: DisconnectReason) {
        self.connected.set(0);
        self.age.set(0.0);
        self.count_end(reason);
    }

    /// A connection has ended, or could not be made.
    pub(crate) fn count_end(&self, reason: DisconnectReason) {
        let labels = &[&*self.subscription, reason.as_str()];
        self.metrics
            .upstream_disconnects_total
            .with_label_values(labels)
            .inc();
    }

    pub(crate) fn age(&self, age: Duration) {
        self.age.set(age.as_secs_f64());
    }

    pub(crate) fn bytes(&self, count: usize, at: Duration) {
        self.bytes.inc_by(count as u64);
        self.last_byte.set(at.as_secs_f64());
    }

    /// Counts by type; says how many documents there are, and how many of them are events.
    pub(crate) fn documents(&mut self, framed: &[Framed]) -> Counted {
        let mut counted = Counted::default();
        for framed in framed {
            let Framed::Document(document) = framed else {
                continue;
            };
            counted.documents += 1;
            counted.events += usize::from(!document.is_heartbeat());
            self.count(document);
        }
        counted
    }

    fn count(&mut self, document: &Document) {
        let name = document.event_type();
        if let Some(counter) = self.types.get(&*name) {
            counter.inc();
        } else if self.labels.has(&name) {
            let labels = &[&*self.subscription, &*name];
            let counter = self.metrics.upstream_events_total.with_label_values(labels);
            counter.inc();
            self.types.insert(name.into_owned(), counter);
        } else {
            self.others.inc();
        }
    }
}

/// What one hand-over holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) documents: usize,
    pub(crate) events: usize,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn labels_are_bounded_whatever_arrives() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let labels = Arc::new(TypeLabels::default());
        let mut meters = Meters::new(&"a".into(), &metrics, &labels);
        let framed = |name: &str| {
            let bytes = Bytes::from(format!("{{\"{name}\":{{}}}}"));
            Framed::Document(Document::parse(bytes).unwrap())
        };
        let many: Vec<_> = (0..500).map(|n| framed(&format!("T{n}"))).collect();
        let counted = meters.documents(&many);
        assert_eq!((counted.documents, counted.events), (500, 500));
        let heartbeat = meters.documents(&[framed("ClientCheck"), framed(&"x".repeat(200))]);
        assert_eq!((heartbeat.documents, heartbeat.events), (2, 1));
        let value = |name| {
            metrics
                .upstream_events_total
                .with_label_values(&["a", name])
                .get()
        };
        assert_eq!((value("T0"), value("T99"), value("ClientCheck")), (1, 1, 1));
        assert_eq!(value("other"), 401);
    }
}

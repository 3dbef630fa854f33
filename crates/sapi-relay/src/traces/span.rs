//! Owns what a span says of an event: no key and no bytes, which may be personal.

use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
};
use prometheus::IntCounter;
use relay_core::traces::{Collector, Step};
use relay_core::{Event, Kind};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Makes spans of steps, and hands them over.
#[derive(Debug)]
pub(super) struct Spans {
    sender: mpsc::Sender<SpanData>,
    dropped: IntCounter,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

impl Spans {
    pub(super) fn new(sender: mpsc::Sender<SpanData>, dropped: IntCounter) -> Self {
        let scope = InstrumentationScope::builder("sapi-relay");
        Self {
            sender,
            dropped,
            ids: RandomIdGenerator::default(),
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }

    fn span(
        &self,
        event: &Event,
        step: Step<'_>,
        since: SystemTime,
        until: SystemTime,
    ) -> SpanData {
        let head = event.head();
        let (trace, root) = ids(head.id);
        let (name, kind, own, parent) = match step {
            Step::Committed => ("commit", SpanKind::Consumer, root, SpanId::INVALID),
            Step::Delivered { .. } => ("deliver", SpanKind::Producer, self.ids.new_span_id(), root),
        };
        let mut attributes = vec![
            KeyValue::new("cloudevents.event_id", head.id.to_owned()),
            KeyValue::new("sapi.class", head.class.to_owned()),
            KeyValue::new("sapi.type", head.event_type.to_owned()),
            KeyValue::new("sapi.subscription", head.subscription.to_owned()),
            KeyValue::new("sapi_relay.notice", event.kind() == Kind::Notice),
        ];
        let mut status = Status::Unset;
        if let Step::Delivered { sink, rejected } = step {
            attributes.push(KeyValue::new("sapi_relay.sink", sink.to_owned()));
            if rejected {
                status = Status::error("the destination refuses it for good");
            }
        }
        SpanData {
            span_context: SpanContext::new(
                trace,
                own,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: since,
            end_time: until,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Collector for Spans {
    fn step(&self, event: &Event, step: Step<'_>, since: SystemTime, until: SystemTime) {
        let span = self.span(event, step, since, until);
        if self.sender.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}

/// The trace of an event, and its first span: the same wherever they are asked for.
fn ids(event_id: &str) -> (TraceId, SpanId) {
    let hash: [u8; 32] = Sha256::digest(event_id).into();
    let (trace, rest) = hash.split_first_chunk().unwrap_or((&[1; 16], &[1; 16]));
    let span = rest.first_chunk().unwrap_or(&[1; 8]);
    (TraceId::from_bytes(*trace), SpanId::from_bytes(*span))
}

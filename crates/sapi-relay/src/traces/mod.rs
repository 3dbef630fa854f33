//! Owns `[traces]`: spans of sampled events, sent to an OpenTelemetry collector by OTLP over HTTP.
//!
//! A trace is one event's way: a span `commit` from its arrival until it was durable and visible, and
//! below it a span `deliver` for each sink that has settled it. The trace's id is a hash of the event's
//! id, so that nothing has to be remembered between them. Spans wait in a bounded queue; what it has no
//! room for, and what the collector does not take, is counted and dropped: traces never hold events up.

mod span;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus::IntCounterVec;
use relay_core::Metrics;
use relay_core::storm::Storm;
use relay_core::supervise::{Handle, Supervisor};
use relay_core::traces::Traces;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config;
use span::Spans;

/// Spans that wait, about 1 KiB each.
const QUEUE: usize = 2048;
/// Spans that are sent together.
const TOGETHER: usize = 512;
/// How long spans wait for company.
const COMPANY: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is collected, and the task that sends it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) traces: Traces,
    pub(crate) task: Handle,
}

/// Starts to trace.
///
/// # Errors
/// The platform's certificates, or the headers' files, can't be read.
pub(crate) fn start(
    config: &config::Traces,
    tenant: &str,
    supervisor: &Supervisor,
    metrics: &Metrics,
) -> anyhow::Result<Running> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let counts = metrics.trace_spans_total.clone();
    // There from the start, so that the first of each shows as an increase.
    for result in ["sent", "failed", "dropped"] {
        drop(counts.with_label_values(&[result]));
    }
    let exporter = Arc::new(exporter(config, tenant)?);
    let receiver = Arc::new(Mutex::new(receiver));
    let dropped = counts.with_label_values(&["dropped"]);
    let task = supervisor.spawn("traces", move |stop| {
        let sending = Sending {
            exporter: Arc::clone(&exporter),
            receiver: Arc::clone(&receiver),
            counts: counts.clone(),
            storm: Storm::default(),
        };
        async move {
            sending.run(stop).await;
            Ok::<_, anyhow::Error>(())
        }
    });
    let traces = Traces::new(config.one_in, Spans::new(sender, dropped));
    Ok(Running { traces, task })
}

fn exporter(
    config: &config::Traces,
    tenant: &str,
) -> anyhow::Result<opentelemetry_otlp::SpanExporter> {
    let tls = relay_upstream::tls_config(&relay_upstream::TlsFiles::default());
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.context("TLS of [traces]")?)
        .redirect(reqwest::redirect::Policy::none())
        // Only what is configured decides where traces go.
        .no_proxy()
        .timeout(PATIENCE)
        .build();
    let mut headers = HashMap::new();
    for (name, secret) in &config.headers {
        let value = secret
            .read()
            .with_context(|| format!("traces.headers.{name}"))?;
        headers.insert(name.clone(), value);
    }
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client.context("the client of [traces]")?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.endpoint.as_str())
        .with_timeout(PATIENCE)
        .with_headers(headers)
        .build()
        .context("the exporter of [traces]")?;
    exporter.set_resource(&resource(tenant));
    Ok(exporter)
}

fn resource(tenant: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            opentelemetry::KeyValue::new("service.name", "sapi-relay"),
            opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            opentelemetry::KeyValue::new("sapi.tenant", tenant.to_owned()),
        ])
        .build()
}

/// Sends spans, some together.
struct Sending {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    receiver: Arc<Mutex<mpsc::Receiver<SpanData>>>,
    counts: IntCounterVec,
    storm: Storm,
}

impl Sending {
    /// Until it is stopped and nothing waits any more.
    async fn run(mut self, stop: CancellationToken) {
        let waiting = Arc::clone(&self.receiver);
        let mut waiting = waiting.lock().await;
        let mut spans = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = waiting.recv_many(&mut spans, TOGETHER) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            stop.run_until_cancelled(tokio::time::sleep(COMPANY)).await;
            while spans.len() < TOGETHER
                && let Ok(span) = waiting.try_recv()
            {
                spans.push(span);
            }
            self.send(std::mem::take(&mut spans)).await;
        }
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let result = match self.exporter.export(spans).await {
            Ok(()) => {
                self.storm.clear();
                "sent"
            }
            Err(error) => {
                if let Some(times) = self.storm.strike() {
                    tracing::warn!(%error, times, "traces could not be sent, and are dropped");
                }
                "failed"
            }
        };
        self.counts.with_label_values(&[result]).inc_by(count);
    }
}

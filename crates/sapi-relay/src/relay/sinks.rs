//! Owns the running sinks: starting, changing and stopping them, and their rows of the status.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use relay_core::Metrics;
use relay_core::filter::Filter;
use relay_core::intake::Core;
use relay_core::status::SinkState;
use relay_core::supervise::Supervisor;
use relay_core::traces::Traces;
use relay_core::worker::{self, SinkHandle, SinkStatus, WorkerConfig};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{file, kafka, listener, nats, rabbitmq, webhook};
use crate::config::{self, Config, SinkKind};
use crate::failure::Failure;

/// Every running sink.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(super) tenant: Arc<str>,
    pub(super) context: worker::Context,
    pub(super) supervisor: Arc<Supervisor>,
    drain_timeout: Duration,
    running: Mutex<BTreeMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    config: config::Sink,
    /// A hash of what the files of its secrets held when it started.
    secrets: u64,
    part: Part,
    /// It has been told to stop, and is shown until another takes its place.
    stopped: bool,
}

#[derive(Clone, Debug)]
enum Part {
    Worker(SinkHandle),
    Listener(listener::Running),
}

/// A sink's row of `/v1/status`.
#[derive(Clone, Debug)]
pub(crate) enum SinkRow {
    /// One that the relay delivers to.
    Worker(SinkStatus),
    /// One that clients read, where, and how many are connected.
    Listener {
        name: String,
        address: SocketAddr,
        connected: usize,
        /// Why it does not listen at the moment.
        failure: Option<String>,
    },
}

impl Sinks {
    pub(super) fn new(
        config: &Config,
        core: &Core,
        metrics: &Arc<Metrics>,
        supervisor: Arc<Supervisor>,
        traces: Traces,
    ) -> Self {
        Self {
            tenant: config.upstream.tenant_id.as_str().into(),
            context: worker::Context {
                bus: core.bus.clone(),
                store: core.store.clone(),
                dead_letters: core.dead_letters.clone(),
                notices: core.notices.clone(),
                metrics: Arc::clone(metrics),
                retention_bytes: config.journal.keep.retention_bytes,
                traces,
            },
            drain_timeout: config.shutdown_timeout,
            supervisor,
            running: Mutex::default(),
        }
    }

    /// Starts a sink. A listener is bound when it returns.
    pub(super) async fn start(&self, sink: &config::Sink) -> Result<(), Failure> {
        self.start_bound(sink, None).await
    }

    /// The same, with a listener that is bound already.
    pub(super) async fn start_bound(
        &self,
        sink: &config::Sink,
        bound: Option<listener::Bound>,
    ) -> Result<(), Failure> {
        let secrets = digest(&sink.files);
        let part = match &sink.kind {
            SinkKind::Websocket(websocket) => {
                let bound = match bound {
                    Some(bound) => bound,
                    None => listener::Bound::bind(self, &sink.name, websocket).await?,
                };
                Part::Listener(bound.serve(self, &sink.name))
            }
            SinkKind::File(delivery, file) => {
                Part::Worker(file::start(self, &sink.name, delivery, file)?)
            }
            SinkKind::Kafka(delivery, config) => {
                Part::Worker(kafka::start(self, &sink.name, delivery, config)?)
            }
            SinkKind::Nats(delivery, config) => {
                Part::Worker(nats::start(self, &sink.name, delivery, config)?)
            }
            SinkKind::Rabbitmq(delivery, config) => {
                Part::Worker(rabbitmq::start(self, &sink.name, delivery, config)?)
            }
            SinkKind::Webhook(delivery, config) => {
                Part::Worker(webhook::start(self, &sink.name, delivery, config)?)
            }
        };
        let running = Running {
            config: sink.clone(),
            secrets,
            part,
            stopped: false,
        };
        self.running.lock().await.insert(sink.name.clone(), running);
        Ok(())
    }

    /// What a sink's worker is told; `fingerprint` holds what it connects to.
    pub(super) fn worker_config(
        &self,
        name: &str,
        kind: &'static str,
        delivery: &config::Delivery,
        fingerprint: &str,
    ) -> anyhow::Result<WorkerConfig> {
        Ok(WorkerConfig {
            filter: Filter::parse(&delivery.types)?,
            notices: delivery.notices,
            start_from: delivery.start_from,
            batch_events: delivery.batch_events,
            batch_bytes: delivery.batch_bytes,
            in_flight_bytes: delivery.in_flight_bytes,
            retry_min: delivery.retry_min,
            retry_max: delivery.retry_max,
            on_reject: delivery.on_reject,
            max_consecutive_rejections: delivery.max_consecutive_rejections,
            fingerprint: fingerprint.to_owned(),
            drain_timeout: self.drain_timeout,
            ..WorkerConfig::new(name, kind)
        })
    }

    /// Every sink's row, by name.
    pub(crate) async fn rows(&self) -> Vec<SinkRow> {
        let running = self.running.lock().await;
        let rows = running.iter().map(|(name, sink)| match &sink.part {
            Part::Worker(handle) => SinkRow::Worker(handle.status()),
            Part::Listener(listener) => {
                let (address, connected) = (listener.address(), listener.connected());
                SinkRow::Listener {
                    name: name.clone(),
                    address,
                    connected,
                    failure: listener.failure(),
                }
            }
        });
        rows.collect()
    }

    /// Sets the gauges that are computed when somebody looks.
    pub(crate) async fn scrape(&self) {
        for sink in self.running.lock().await.values() {
            match &sink.part {
                Part::Worker(handle) => handle.scrape(),
                Part::Listener(_) => {}
            }
        }
    }

    /// The handle of a sink that the relay delivers to; `None`: there is no such sink. `Some(None)`:
    /// it is one that clients read.
    pub(crate) async fn worker(&self, name: &str) -> Option<Option<SinkHandle>> {
        let running = self.running.lock().await;
        running.get(name).map(|sink| match &sink.part {
            Part::Worker(handle) => Some(handle.clone()),
            Part::Listener(_) => None,
        })
    }

    /// The configurations that run.
    pub(super) async fn configs(&self) -> Vec<config::Sink> {
        let running = self.running.lock().await;
        let running = running.values().filter(|sink| !sink.stopped);
        running.map(|sink| sink.config.clone()).collect()
    }

    /// Whether the files that a sink's secrets are in hold something else than when it started.
    pub(super) async fn has_other_secrets(&self, sink: &config::Sink) -> bool {
        let running = self.running.lock().await;
        let running = running.get(&sink.name);
        running.is_some_and(|running| running.secrets != digest(&sink.files))
    }

    /// Where listeners listen, by sink.
    pub(super) async fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let running = self.running.lock().await;
        let running = running.iter().filter(|(_, sink)| !sink.stopped);
        let addresses = running.filter_map(|(name, sink)| match &sink.part {
            Part::Listener(listener) => Some((name.clone(), listener.address())),
            Part::Worker(_) => None,
        });
        addresses.collect()
    }

    /// Stops a sink. One that another takes the place of is shown until then. If nothing is to be delivered
    /// under its name any more, it holds retention back no more.
    pub(super) async fn stop(&self, name: &str, for_good: bool, replaced: bool) {
        // It stays where a stop of the whole relay finds it.
        let part = match self.running.lock().await.get_mut(name) {
            None => return,
            Some(sink) => {
                sink.stopped = true;
                sink.part.clone()
            }
        };
        match part {
            Part::Worker(handle) => handle.stop().await,
            Part::Listener(listener) => listener.stop().await,
        }
        if !replaced {
            self.running.lock().await.remove(name);
        }
        if for_good {
            self.context.store.unregister_sink(name);
            self.context.metrics.forget_sink(name);
        }
    }

    /// Replaces who may connect to a listener, without touching the others' connections.
    pub(super) async fn replace_clients(
        &self,
        sink: &config::Sink,
        clients: &[config::Client],
    ) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        let Some(running) = running.get_mut(&sink.name) else {
            return Ok(());
        };
        match &running.part {
            Part::Listener(listener) => listener
                .renew(clients)
                .with_context(|| format!("sinks.{}.clients", sink.name))?,
            Part::Worker(_) => {}
        }
        running.config = sink.clone();
        Ok(())
    }

    /// Returns once every sink that delivers has delivered all there is. One that can't is not
    /// waited for.
    pub(super) async fn caught_up(&self) {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            let running = self.running.lock().await;
            let behind = running.values().any(|sink| match &sink.part {
                Part::Worker(handle) if !sink.stopped => {
                    let status = handle.status();
                    status.state == SinkState::Running && status.lag_events > 0
                }
                Part::Worker(_) | Part::Listener(_) => false,
            });
            drop(running);
            if !behind {
                return;
            }
        }
    }

    /// Stops all of them, each in its own time. From `deadline` on what is under way is not waited for:
    /// they are closed.
    pub(super) async fn stop_all(&self, deadline: Instant) {
        let running = std::mem::take(&mut *self.running.lock().await);
        let stops = running.values().map(|sink| async move {
            match &sink.part {
                Part::Worker(handle) => handle.stop_by(deadline).await,
                Part::Listener(listener) => listener.stop().await,
            }
        });
        join_all(stops).await;
    }
}

/// A hash of files' contents: it tells only whether they have changed, and is shown to nobody.
fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

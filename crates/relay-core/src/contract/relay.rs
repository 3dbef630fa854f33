//! A relay for checks: a real core in a temporary directory, events to commit, sinks to start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use sapi_protocol::{Document, Framed};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::Peer;
use crate::Metrics;
use crate::admit::{Admit as _, Received};
use crate::cloudevents::Source;
use crate::dead_letters::DeadLetterConfig;
use crate::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use crate::status::SubscriptionBoard;
use crate::supervise::Supervisor;
use crate::traces::Traces;
use crate::worker::{self, Context, SinkHandle, StartFrom, WorkerConfig};

/// The name of the sink under test.
pub(crate) const SINK: &str = "lake";

/// A relay without an upstream.
#[derive(Debug)]
pub struct Relay {
    dir: Arc<TempDir>,
    /// The core.
    pub core: Core,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    supervisor: Supervisor,
    numbers: AtomicU64,
    retention_bytes: u64,
}

impl Relay {
    /// A relay with an empty journal, whose segments are as small as they can be.
    pub fn new() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), 0, 8 << 20)
    }

    /// The same, for more than a few megabytes.
    pub fn roomy() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), 0, 1 << 30)
    }

    fn open(dir: Arc<TempDir>, numbers: u64, retention_bytes: u64) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let subscription: Arc<str> = "relay_a".into();
        let config = CoreConfig {
            tenant: "acme".to_owned(),
            dir: dir.path().to_owned(),
            boards: vec![SubscriptionBoard::new(Arc::clone(&subscription))],
            subs_ids: vec![subscription],
            cache_horizon: Duration::from_hours(2),
            dedup: DedupConfig {
                horizon: Duration::from_mins(150),
                memory: 16 << 20,
                across: Across::MsgInfo,
            },
            journal: JournalConfig {
                retention_age: Duration::from_hours(72),
                retention_bytes,
                commit_window: Duration::from_millis(1),
                reserve: 0,
            },
            bus_memory: 64 << 10,
            dead_letters: DeadLetterConfig {
                retention_age: Duration::from_hours(720),
                retention_bytes: 16 << 20,
            },
            metrics: Arc::clone(&metrics),
            traces: Traces::default(),
        };
        let core = Core::open(config).unwrap();
        let supervisor = Supervisor::new(Arc::clone(&metrics), CancellationToken::new());
        Self {
            dir,
            core,
            metrics,
            supervisor,
            numbers: AtomicU64::new(numbers),
            retention_bytes,
        }
    }

    /// Commits events, one for each key, numbered on; returns their numbers.
    pub async fn commit(&self, keys: &[&str]) -> Vec<u64> {
        let mut numbers = Vec::new();
        let documents = keys.iter().map(|key| {
            let number = self.numbers.fetch_add(1, Relaxed) + 1;
            numbers.push(number);
            let json = format!(
                r#"{{"AgentStatusChange":{{"agentId":"{key}","msgInfo":{{"instanceId":"i","sequenceId":{number},"timestamp":{}}}}}}}"#,
                1_000_000 + number
            );
            Framed::Document(Document::parse(Bytes::from(json)).unwrap())
        });
        let documents = documents.collect();
        let at_ms = worker::now_ms();
        let received = Received {
            subscription: "relay_a".into(),
            at_ms,
            documents,
        };
        self.core.intake.documents(received).await.unwrap();
        self.core.intake.flush().await;
        numbers
    }

    /// Commits events of keys in turn, in several groups.
    pub async fn commit_many(&self, count: usize) -> Vec<u64> {
        const KEYS: [&str; 7] = ["ada", "ben", "cleo", "dan", "eve", "fay", "gus"];
        let keys: Vec<_> = KEYS.into_iter().cycle().take(count).collect();
        let mut numbers = Vec::new();
        for keys in keys.chunks(5) {
            numbers.extend(self.commit(keys).await);
        }
        numbers
    }

    /// What workers work with.
    pub fn context(&self) -> Context {
        Context {
            bus: self.core.bus.clone(),
            store: self.core.store.clone(),
            dead_letters: self.core.dead_letters.clone(),
            notices: self.core.notices.clone(),
            metrics: Arc::clone(&self.metrics),
            retention_bytes: self.retention_bytes,
            traces: Traces::default(),
        }
    }

    /// The source of its events.
    pub fn source(&self) -> Source {
        Source::new("acme", self.core.bus.epoch())
    }

    /// Starts the sink of a peer, from the earliest event, with small batches and short waits.
    pub fn start<P: Peer>(&self, peer: &P) -> SinkHandle {
        self.start_with(peer, |_| {})
    }

    /// The same, with a configuration that is changed.
    pub fn start_with<P: Peer>(
        &self,
        peer: &P,
        change: impl FnOnce(&mut WorkerConfig),
    ) -> SinkHandle {
        let mut config = WorkerConfig {
            start_from: StartFrom::Earliest,
            batch_events: 8,
            batch_bytes: 16 << 10,
            in_flight_bytes: 64 << 10,
            ahead_events: 64,
            retry_min: Duration::from_millis(1),
            retry_max: Duration::from_millis(20),
            ..WorkerConfig::new(SINK, "test")
        };
        change(&mut config);
        worker::spawn(&self.supervisor, config, &self.context(), peer.sink())
    }

    /// Returns once the sink has settled everything that is committed.
    pub async fn settled(&self, sink: &SinkHandle) {
        self.core.intake.flush().await;
        let last = self.core.bus.last();
        sink.wait_for(|status| status.cursor.offset >= last).await;
    }

    /// Stops in order, and opens the same journal again.
    pub async fn restart(self) -> Self {
        let late = self.supervisor.drain(Duration::from_secs(20)).await;
        assert!(late.is_empty(), "{late:?} did not stop");
        self.core.close().await.unwrap();
        Self::open(self.dir, self.numbers.into_inner(), self.retention_bytes)
    }

    /// Lets the workers fall where they stand, and opens the same journal again.
    pub async fn crash(self) -> Self {
        drop(self.supervisor);
        self.core.close().await.unwrap();
        Self::open(self.dir, self.numbers.into_inner(), self.retention_bytes)
    }

    /// The same, and the state beside the journal is damaged meanwhile.
    pub async fn crash_and_lose_state(self) -> Self {
        drop(self.supervisor);
        self.core.close().await.unwrap();
        std::fs::write(self.dir.path().join("state.redb"), vec![7; 100_000]).unwrap();
        Self::open(self.dir, self.numbers.into_inner(), self.retention_bytes)
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

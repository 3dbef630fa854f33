//! An intake over a temporary directory, documents to admit, and what became of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sapi_protocol::{Document, Framed, Malformed, MalformedReason};
use tempfile::TempDir;

use crate::admit::{Admit, Connected, DisconnectReason, Disconnected, Received};
use crate::dead_letters::DeadLetterConfig;
use crate::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig, OpenError};
use crate::notice::{Notice, NoticeKind};
use crate::status::SubscriptionBoard;
use crate::{Kind, Limit, Metrics, Offset};

/// Arrival of what the tests admit: the real time, so that retention and clocks are at peace.
pub(super) fn now_ms() -> u64 {
    crate::intake::retention::wall_ms()
}

/// A document to admit.
#[derive(Clone, Debug)]
pub(super) struct Doc {
    pub(super) instance: Option<&'static str>,
    pub(super) sequence: u64,
    pub(super) timestamp: u64,
    pub(super) body: String,
    pub(super) heartbeat: bool,
}

impl Doc {
    /// The event `sequence` of instance `i`, with content of its own.
    pub(super) fn event(sequence: u64) -> Self {
        let (instance, timestamp) = (Some("i"), 1_000_000 + sequence);
        Self {
            instance,
            sequence,
            timestamp,
            body: format!("event {sequence}"),
            heartbeat: false,
        }
    }

    pub(super) fn heartbeat(sequence: u64) -> Self {
        Self {
            heartbeat: true,
            ..Self::event(sequence)
        }
    }

    pub(super) fn body(self, body: &str) -> Self {
        Self {
            body: body.to_owned(),
            ..self
        }
    }

    pub(super) fn timestamp(self, timestamp: u64) -> Self {
        Self { timestamp, ..self }
    }

    pub(super) fn instance(self, instance: Option<&'static str>) -> Self {
        Self { instance, ..self }
    }

    pub(super) fn json(&self) -> String {
        let info = self.instance.map_or("{}".to_owned(), |instance| {
            let (sequence, timestamp) = (self.sequence, self.timestamp);
            format!(
                r#"{{"instanceId":"{instance}","sequenceId":{sequence},"timestamp":{timestamp}}}"#
            )
        });
        let class = if self.heartbeat {
            "ClientCheck"
        } else {
            "AgentStatusChange"
        };
        format!(
            r#"{{"{class}":{{"agentId":"{}","msgInfo":{info}}}}}"#,
            self.body
        )
    }

    pub(super) fn framed(&self) -> Framed {
        Framed::Document(Document::parse(Bytes::from(self.json())).unwrap())
    }
}

/// An intake and where it lives.
pub(super) struct Rig {
    pub(super) dir: Arc<TempDir>,
    pub(super) config: CoreConfig,
    pub(super) core: Core,
}

pub(super) fn config(dir: &Path, subs_ids: &[&str]) -> CoreConfig {
    let subs_ids: Vec<Arc<str>> = subs_ids.iter().map(|id| Arc::from(*id)).collect();
    CoreConfig {
        tenant: "acme".to_owned(),
        dir: dir.to_owned(),
        boards: subs_ids
            .iter()
            .map(|id| SubscriptionBoard::new(Arc::clone(id)))
            .collect(),
        subs_ids,
        cache_horizon: Duration::from_hours(2),
        dedup: DedupConfig {
            horizon: Duration::from_mins(150),
            memory: 64 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: Duration::from_hours(72),
            retention_bytes: 256 << 20,
            commit_window: Duration::from_millis(2),
            reserve: 1 << 20,
        },
        bus_memory: 8 << 20,
        dead_letters: DeadLetterConfig {
            retention_age: Duration::from_hours(720),
            retention_bytes: 16 << 20,
        },
        metrics: Arc::new(Metrics::new().unwrap()),
        traces: crate::traces::Traces::default(),
    }
}

impl Rig {
    pub(super) fn new(subs_ids: &[&str]) -> Self {
        Self::with(subs_ids, |_| {})
    }

    pub(super) fn with(subs_ids: &[&str], change: impl FnOnce(&mut CoreConfig)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(dir.path(), subs_ids);
        change(&mut config);
        let core = Core::open(config.clone()).unwrap();
        Self { dir, config, core }
    }

    pub(super) async fn admit(&self, subscription: &str, docs: &[Doc]) {
        self.admit_at(subscription, now_ms(), docs).await;
    }

    pub(super) async fn admit_at(&self, subscription: &str, at_ms: u64, docs: &[Doc]) {
        let documents = docs.iter().map(Doc::framed).collect();
        self.receive(subscription, at_ms, documents).await;
    }

    pub(super) async fn receive(&self, subscription: &str, at_ms: u64, documents: Vec<Framed>) {
        let received = Received {
            subscription: subscription.into(),
            at_ms,
            documents,
        };
        self.core.intake.documents(received).await.unwrap();
    }

    pub(super) async fn malformed(&self, subscription: &str, bytes: &'static [u8]) {
        let malformed = Malformed {
            reason: MalformedReason::InvalidJson,
            bytes: Bytes::from_static(bytes),
            size: bytes.len() as u64,
            truncated: false,
        };
        self.receive(subscription, now_ms(), vec![Framed::Malformed(malformed)])
            .await;
    }

    pub(super) async fn connect(&self, subscription: &str, at_ms: u64) {
        let event = Connected {
            subscription: subscription.into(),
            at_ms,
        };
        self.core.intake.connected(event).await.unwrap();
    }

    pub(super) async fn disconnect(
        &self,
        subscription: &str,
        at_ms: u64,
        reason: DisconnectReason,
    ) {
        let detail = String::new();
        let event = Disconnected {
            subscription: subscription.into(),
            at_ms,
            reason,
            detail,
        };
        self.core.intake.disconnected(event).await.unwrap();
    }

    /// Every record that readers are given: kind, id, bytes.
    pub(super) async fn read(&self) -> Vec<(Kind, String, String)> {
        self.core.intake.flush().await;
        let mut reader = self.core.bus.reader_after(Offset(0));
        let limit = Limit {
            events: 10_000,
            bytes: 64 << 20,
        };
        let mut read = Vec::new();
        while let Some(batch) = reader.ready_batch(limit).await.unwrap() {
            read.extend(batch.events().map(|event| {
                let bytes = String::from_utf8(event.bytes().to_vec()).unwrap();
                (event.kind(), event.head().id.to_owned(), bytes)
            }));
        }
        read
    }

    /// The ids of the events, in order.
    pub(super) async fn ids(&self) -> Vec<String> {
        let read = self.read().await;
        read.into_iter()
            .filter(|(kind, ..)| *kind == Kind::Event)
            .map(|(_, id, _)| id)
            .collect()
    }

    /// The journaled notices of the kinds that concern a test.
    pub(super) async fn notices(&self, kinds: &[NoticeKind]) -> Vec<Notice> {
        let read = self.read().await.into_iter();
        let notices = read.filter(|(kind, ..)| *kind == Kind::Notice);
        let notices = notices.map(|(.., body)| serde_json::from_str::<Notice>(&body).unwrap());
        notices
            .filter(|notice| kinds.contains(&notice.kind))
            .collect()
    }

    /// Waits until a notice of a kind is journaled.
    pub(super) async fn notice(&self, kind: NoticeKind) -> Notice {
        self.notice_after(Offset(0), kind).await
    }

    /// Waits until a notice of a kind is journaled after an offset.
    pub(super) async fn notice_after(&self, after: Offset, kind: NoticeKind) -> Notice {
        let mut reader = self.core.bus.reader_after(after);
        let limit = Limit {
            events: 1000,
            bytes: 1 << 20,
        };
        let found = async {
            loop {
                let batch = reader.next_batch(limit).await.unwrap();
                let notices = batch.events().filter(|event| event.kind() == Kind::Notice);
                let mut notices =
                    notices.map(|event| serde_json::from_slice(event.bytes()).unwrap());
                if let Some(found) = notices.find(|notice: &Notice| notice.kind == kind) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_mins(1), found).await;
        found.unwrap_or_else(|_| panic!("no notice {kind:?}"))
    }

    /// What a `kill -9` now would leave behind, opened.
    pub(super) async fn killed(&self) -> Self {
        self.core.intake.flush().await;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        copy(self.dir.path(), dir.path());
        let config = CoreConfig {
            dir: dir.path().to_owned(),
            metrics: Arc::new(Metrics::new().unwrap()),
            ..self.config.clone()
        };
        let core = Core::open(config.clone()).unwrap();
        Self { dir, config, core }
    }

    /// Closes and opens again, perhaps otherwise configured.
    pub(super) async fn reopen(
        self,
        change: impl FnOnce(&mut CoreConfig),
    ) -> Result<Self, OpenError> {
        let Self {
            dir,
            mut config,
            core,
        } = self;
        core.close().await.unwrap();
        change(&mut config);
        config.metrics = Arc::new(Metrics::new().unwrap());
        let core = Core::open(config.clone())?;
        Ok(Self { dir, config, core })
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

//! What intake is told: plain values; it reads no configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Metrics;
use crate::dead_letters::DeadLetterConfig;
use crate::status::SubscriptionBoard;
use crate::traces::Traces;

/// What [`super::Core::open`] needs.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The tenant: the journal is its alone.
    pub tenant: String,
    /// Where journal, dead letters and state are kept.
    pub dir: PathBuf,
    /// The configured subscriptions, one to three.
    pub subs_ids: Vec<Arc<str>>,
    /// How long the upstream keeps events for a subscription that is away.
    pub cache_horizon: Duration,
    /// What is remembered of committed events.
    pub dedup: DedupConfig,
    /// The journal.
    pub journal: JournalConfig,
    /// How many bytes of the journal's tail the bus holds in memory.
    pub bus_memory: usize,
    /// The dead letters.
    pub dead_letters: DeadLetterConfig,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// Who is told of sampled events.
    pub traces: Traces,
    /// The subscriptions' rows, in any order; holes are counted there.
    pub boards: Vec<Arc<SubscriptionBoard>>,
}

/// What is remembered of committed events.
#[derive(Clone, Copy, Debug)]
pub struct DedupConfig {
    /// How far back, from the newest record.
    pub horizon: Duration,
    /// What it may take in memory, in bytes. At least a small window is always remembered.
    pub memory: usize,
    /// How one event is recognised that several subscriptions show.
    pub across: Across,
}

/// How one event is recognised that several subscriptions show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Across {
    /// By its msgInfo: the server numbers events for all subscriptions alike.
    #[default]
    MsgInfo,
    /// By its content, counted: the server numbers each subscription apart.
    Content,
}

/// The journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalConfig {
    /// How long records are kept that every sink has passed.
    pub retention_age: Duration,
    /// How much of the disk the journal may take.
    pub retention_bytes: u64,
    /// Under load, how long a document waits for company at most.
    pub commit_window: Duration,
    /// Disk space set aside for when the disk is full; at most a tenth of the volume is taken.
    pub reserve: u64,
}

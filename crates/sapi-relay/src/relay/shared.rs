//! Owns what the admin server sees of a running relay.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use relay_core::dead_letters::DeadLetters;
use relay_core::intake::{Core, Intake};
use relay_core::notice::Notices;
use relay_core::status::SubscriptionBoard;
use relay_core::store::Store;
use relay_core::storm::Storm;
use relay_core::supervise::{Handle, TaskState};
use relay_core::{Bus, Metrics};
use relay_journal::Table;
use relay_upstream::{PathMemory, UpstreamConfig};
use sapi_protocol::PathStyle;
use serde::Serialize;

use super::sinks::Sinks;
use crate::config::Config;

/// How long one commit may take, or a subscription be late, before the relay counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// The parts of a running relay that operators ask about.
#[derive(Debug)]
pub(crate) struct SharedState {
    config: RwLock<Arc<Config>>,
    /// Where the configuration is read from again.
    pub(super) files: Vec<PathBuf>,
    pub(crate) started_at: Timestamp,
    pub(crate) bus: Bus,
    pub(crate) intake: Intake,
    pub(crate) notices: Notices,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) sinks: Sinks,
    pub(crate) boards: Vec<Arc<SubscriptionBoard>>,
    pub(crate) metrics: Arc<Metrics>,
    is_stopping: AtomicBool,
    upstream: OnceLock<Handle>,
    unread: Mutex<Storm>,
}

impl SharedState {
    pub(super) fn new(
        config: Arc<Config>,
        files: Vec<PathBuf>,
        core: &Core,
        sinks: Sinks,
        boards: Vec<Arc<SubscriptionBoard>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: RwLock::new(config),
            files,
            started_at: Timestamp::now(),
            bus: core.bus.clone(),
            intake: core.intake.clone(),
            notices: core.notices.clone(),
            dead_letters: core.dead_letters.clone(),
            sinks,
            boards,
            metrics,
            is_stopping: AtomicBool::new(false),
            upstream: OnceLock::new(),
            unread: Mutex::default(),
        })
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a new one.
    pub(super) fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The relay begins to drain.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    /// The subscriptions run from now on, as this task.
    pub(super) fn subscribed(&self, upstream: Handle) {
        // There is one, at the start.
        self.upstream.set(upstream).ok();
    }

    /// The admin token could not be read: how often now, if that is worth a line.
    pub(crate) fn token_unread(&self) -> Option<u64> {
        let mut storm = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        storm.strike()
    }

    /// What makes no progress, so that only a restart helps; `None`: everything does. It is asked by
    /// `/livez`, and by systemd's watchdog.
    pub(crate) fn stuck(&self) -> Option<String> {
        if !self.intake.is_alive() {
            return Some("the commit thread has ended".to_owned());
        }
        let busy = self.intake.progress().busy_for;
        if busy >= STUCK {
            return Some(format!("a commit has taken {} s so far", busy.as_secs()));
        }
        if self.is_stopping.load(Relaxed) {
            return None;
        }
        let ended = |upstream: &Handle| upstream.status().state == TaskState::Ended;
        if self.upstream.get().is_some_and(ended) {
            return Some("the task of the subscriptions has ended".to_owned());
        }
        let now = Instant::now();
        let mut rows = self.boards.iter().map(|board| board.snapshot());
        let late = rows.find(|row| row.overdue(now) >= STUCK)?;
        let (id, seconds) = (&late.id, late.overdue(now).as_secs());
        Some(format!(
            "subscription {id} has been due to look at its connection for {seconds} s"
        ))
    }

    /// What `/readyz` checks, in its order.
    pub(crate) fn checks(&self) -> [Check; 3] {
        let writable = self.intake.writable();
        let stopping = self.is_stopping.load(Relaxed);
        let silence = self.config().upstream.silence_timeout;
        let now = now_ms();
        let boards = self.boards.iter();
        let heard = boards.filter_map(|board| board.snapshot().heard_at_ms());
        let heard = heard
            .max()
            .map(|at| Duration::from_millis(now.saturating_sub(at)));
        let text = heard.map_or_else(
            || "no subscription has been heard from yet".to_owned(),
            |ago| {
                format!(
                    "heard from {} s ago, upstream.silence_timeout is {} s",
                    ago.as_secs(),
                    silence.as_secs()
                )
            },
        );
        [
            check_of(
                "journal",
                writable,
                if writable {
                    "recovered and writable"
                } else {
                    "the disk is full, or fails"
                },
            ),
            check_of("upstream", heard.is_some_and(|ago| ago <= silence), &text),
            check_of(
                "running",
                !stopping,
                if stopping {
                    "stopping: the subscriptions are closed, the sinks drain"
                } else {
                    "not stopping"
                },
            ),
        ]
    }
}

/// One check of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    pub(crate) text: String,
}

pub(crate) fn check_of(name: &'static str, ok: bool, text: &str) -> Check {
    Check {
        name,
        ok,
        text: text.to_owned(),
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Remembers the accepted path style in the store, for the upstream it was found at.
pub(super) fn path_memory(store: &Store, upstream: &UpstreamConfig) -> PathMemory {
    let key = format!("path_style/{}", upstream.origin);
    let (load, load_key) = (store.clone(), key.clone());
    let save = store.clone();
    PathMemory::new(
        move || match load.get(Table::Facts, &load_key)?.as_slice() {
            b"bare" => Some(PathStyle::Bare),
            b"suffixed" => Some(PathStyle::Suffixed),
            _ => None,
        },
        move |style| {
            let word: &[u8] = match style {
                PathStyle::Bare => b"bare",
                PathStyle::Suffixed => b"suffixed",
            };
            save.set(Table::Facts, &key, word.to_vec());
        },
    )
}

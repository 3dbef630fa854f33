//! Owns what the admin server sees of a running relay.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use relay_core::dead_letters::DeadLetters;
use relay_core::intake::{Core, Intake};
use relay_core::notice::Notices;
use relay_core::status::SubscriptionBoard;
use relay_core::store::Store;
use relay_core::{Bus, Metrics};
use relay_journal::Table;
use relay_upstream::{PathMemory, UpstreamConfig};
use sapi_protocol::PathStyle;
use serde::Serialize;

use super::sinks::Sinks;
use crate::config::Config;

/// How long one commit may take before the relay counts as stuck.
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

    /// Whether runtime and intake make progress.
    pub(crate) fn is_live(&self) -> bool {
        is_live(&self.intake)
    }

    /// What `/readyz` checks, in its order.
    pub(crate) fn checks(&self) -> [Check; 2] {
        let writable = self.intake.writable();
        let silence = self.config().upstream.silence_timeout;
        let now = now_ms();
        let heard = self.boards.iter().filter_map(|board| {
            let board = board.snapshot();
            // A fresh connection counts until the silence is longer than it may be.
            board.last_byte_at_ms.max(board.connected_at_ms)
        });
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

/// Whether the intake runs and is not stuck.
pub(super) fn is_live(intake: &Intake) -> bool {
    intake.is_alive() && intake.progress().busy_for < STUCK
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

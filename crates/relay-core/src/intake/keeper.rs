//! The journal's writer, and what is done when the disk does not take a commit: nothing is dropped,
//! the same group is committed until it is durable. It knows no documents.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use relay_journal::{CommitError, Committed, Group, Log, Writer, free_bytes};
use tokio::sync::watch;

use super::{Board, Queue};
use crate::admit::Gate;
use crate::notice::{NoticeDraft, NoticeKind, Notices};
use crate::storm::Storm;
use crate::{Metrics, Store};

/// While the disk is full, or fails, it is tried again this often.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Failures in a row from which on the journal counts as not writable.
const FAILING: u32 = 2;
/// Once intake is being stopped, a commit is tried so often.
const LAST_TRIES: u32 = 3;
/// Beyond the reserve, so much must be free before the upstream is connected again.
const ROOM: u64 = 4 << 20;
/// While the disk is full, so much is left to cursors and dead letters, out of the reserve.
const ROOM_BESIDE: u64 = 1 << 20;

/// Why the upstream is being kept away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Full,
    Failing,
}

/// The keeper. The commit thread owns it.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) writer: Writer,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) notices: Notices,
    pub(super) metrics: Arc<Metrics>,
    pub(super) queue: Arc<Queue>,
    pub(super) board: Arc<Board>,
    pub(super) gate: watch::Sender<Gate>,
    pub(super) dir: PathBuf,
    pub(super) reserve: u64,
    /// What is beside the journal is to be aged: the time that retention goes by.
    pub(super) ages: Option<u64>,
    trouble: Option<Trouble>,
    failures: u32,
    trimmed_early: Storm,
    unreleased: Storm,
    untrimmed: Storm,
}

/// What a keeper is made of.
pub(super) struct Parts {
    pub(super) writer: Writer,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) notices: Notices,
    pub(super) metrics: Arc<Metrics>,
    pub(super) queue: Arc<Queue>,
    pub(super) board: Arc<Board>,
    pub(super) gate: watch::Sender<Gate>,
    pub(super) dir: PathBuf,
    pub(super) reserve: u64,
}

impl Keeper {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            writer,
            log,
            store,
            notices,
            metrics,
            queue,
            board,
            gate,
            dir,
            reserve,
        } = parts;
        let (trouble, failures) = (None, 0);
        let keeper = Self {
            writer,
            log,
            store,
            notices,
            metrics,
            queue,
            board,
            gate,
            dir,
            reserve,
            ages: None,
            trouble,
            failures,
            trimmed_early: Storm::default(),
            unreleased: Storm::default(),
            untrimmed: Storm::default(),
        };
        keeper.show_writable(true);
        keeper
    }

    /// Commits a group, however long it takes. Gives up only once intake is being stopped.
    pub(super) fn commit(&mut self, group: Group) -> io::Result<Committed> {
        let mut group = group;
        let mut last_tries = 0;
        loop {
            let (returned, error, wait) = match self.writer.commit(group) {
                Ok(committed) => {
                    self.committed(&committed);
                    return Ok(committed);
                }
                Err(CommitError::Full(returned, error)) => {
                    if self.free_some(returned.bytes() as u64) {
                        group = returned;
                        continue;
                    }
                    (returned, error, RETRY)
                }
                Err(CommitError::Io(returned, error)) => {
                    self.failed(&error);
                    // What failed once may do on another segment, at once.
                    let first = self.failures == 1;
                    let wait = if first { Duration::ZERO } else { RETRY };
                    (returned, error, wait)
                }
            };
            group = returned;
            if self.queue.pause(wait) {
                last_tries += 1;
                if last_tries >= LAST_TRIES {
                    return Err(error);
                }
            }
        }
    }

    /// Whether the upstream is being kept away.
    pub(super) fn in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Looks whether the disk fills up: before it is full for the journal, it is for the rest.
    pub(super) fn watch_space(&mut self) {
        let Ok(space) = free_bytes(&self.dir) else {
            return;
        };
        let low = self.low();
        if space.available < low && !self.trim_passed(low) {
            self.full();
        }
        if self.trouble == Some(Trouble::Full) && space.available < ROOM_BESIDE {
            self.use_reserve();
        }
    }

    /// While the disk is full: whether there is room again, the reserve first.
    pub(super) fn look_for_room(&mut self) {
        if self.trouble != Some(Trouble::Full) {
            return;
        }
        // Twice the low water at least, or it would be full again at once; and as much as the
        // reserve leaves free when it is taken again, or it never would be.
        let room = (2 * self.low()).max(2 * ROOM).max(self.reserve / 2);
        let wanted = self.reserve.saturating_sub(self.writer.reserve_left()) + room;
        let available = |dir: &PathBuf| free_bytes(dir).map_or(0, |space| space.available);
        if available(&self.dir) < wanted {
            self.trim_passed(wanted);
        }
        if available(&self.dir) < wanted {
            return;
        }
        match self.writer.refill_reserve() {
            Ok(true) if available(&self.dir) >= ROOM => self.recovered(),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the reserve could not be taken again"),
        }
    }

    /// With less than this left, the disk counts as full.
    fn low(&self) -> u64 {
        (self.reserve / 8).clamp(1 << 20, 16 << 20)
    }

    fn committed(&mut self, committed: &Committed) {
        self.failures = 0;
        self.board.commits.fetch_add(1, Relaxed);
        let micros = u64::try_from(committed.elapsed.as_micros()).unwrap_or(u64::MAX);
        self.board.last_commit_us.store(micros, Relaxed);
        self.metrics
            .journal_commit_duration_seconds
            .observe(committed.elapsed.as_secs_f64());
        if self.trouble == Some(Trouble::Failing) {
            self.recovered();
        }
    }

    /// Makes room for a group on a full disk. Says whether it is worth trying at once.
    fn free_some(&mut self, bytes: u64) -> bool {
        if self.trouble != Some(Trouble::Full) && self.trim_passed(bytes.max(ROOM)) {
            return true;
        }
        self.full();
        // Without a reserve, what the sinks have passed meanwhile is all there is to give.
        self.use_reserve() || self.trim_passed(bytes.max(ROOM))
    }

    /// Gives some of the reserve back to the volume; says whether there was any.
    fn use_reserve(&mut self) -> bool {
        match self.writer.use_reserve() {
            Ok(freed) => freed > 0,
            Err(error) => {
                if let Some(times) = self.unreleased.strike() {
                    tracing::error!(%error, times, "the reserve could not be given back");
                }
                false
            }
        }
    }

    /// Trims what every sink has passed; says whether anything went.
    fn trim_passed(&mut self, bytes: u64) -> bool {
        match self
            .log
            .trim_passed(self.store.passed(self.log.epoch()), bytes)
        {
            Ok(trimmed) => {
                if trimmed.segments > 0
                    && let Some(times) = self.trimmed_early.strike()
                {
                    tracing::warn!(
                        bytes = trimmed.bytes,
                        times,
                        "the disk is full: the oldest of what every sink has passed went early"
                    );
                }
                trimmed.segments > 0
            }
            Err(error) => {
                if let Some(times) = self.untrimmed.strike() {
                    tracing::warn!(%error, times, "the journal could not be trimmed");
                }
                false
            }
        }
    }

    /// The disk is full: the upstream keeps the events from now on.
    pub(super) fn full(&mut self) {
        if self.trouble.replace(Trouble::Full) == Some(Trouble::Full) {
            return;
        }
        tracing::error!(
            "the disk is full: the upstream is asked to keep the events until there is room"
        );
        // Shown first: whoever the gate wakes looks at it.
        self.show_writable(false);
        self.gate.send_replace(Gate::Full);
        let text = "the disk is full: the subscriptions are closed, and the upstream keeps the events until there is room";
        self.notices
            .raise(NoticeDraft::new(NoticeKind::DiskFull, text));
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            tracing::error!(%error, failures = self.failures, "a commit failed; the same events are committed again");
        }
        if self.failures == FAILING && self.trouble.is_none() {
            self.trouble = Some(Trouble::Failing);
            self.show_writable(false);
            self.gate.send_replace(Gate::Full);
            let text = format!(
                "the journal could not be written ({error}): the subscriptions are closed until it can"
            );
            self.notices
                .raise(NoticeDraft::new(NoticeKind::JournalFailed, text));
        }
    }

    fn recovered(&mut self) {
        let Some(trouble) = self.trouble.take() else {
            return;
        };
        let text = match trouble {
            Trouble::Full => "there is room on the disk again: the subscriptions are opened",
            Trouble::Failing => "the journal can be written again: the subscriptions are opened",
        };
        tracing::info!("{text}");
        self.notices
            .raise(NoticeDraft::new(NoticeKind::DiskRecovered, text));
        self.show_writable(true);
        self.gate.send_replace(Gate::Open);
    }

    fn show_writable(&self, writable: bool) {
        self.board.writable.store(writable, Relaxed);
        self.metrics.journal_writable.set(i64::from(writable));
    }
}

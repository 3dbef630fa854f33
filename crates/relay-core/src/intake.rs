//! Intake: what sessions admit becomes durable, once, in order, and visible after that. It owns the
//! journal's only writer; it knows neither sockets nor sinks.
//!
//! ```text
//! session ──Admit──▶ Queue (bounded in bytes) ──▶ commit thread: Stage (dedup, sequences, heads)
//!                     └─▶ Lane ─▶ Publisher: Keeper (journal, disk full) ─▶ Bus ─▶ acknowledged
//! ```
//! One group is committed at a time. A commit starts at once when none runs; what arrives meanwhile
//! forms the next group. While little arrives the commit thread commits it itself; under load it
//! stages the next group while the lane's thread commits the one before. Nothing that was admitted is dropped: a group that could not be written is written
//! again, and the queue, being bounded, makes the sessions wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use relay_journal::Recovery;
use sapi_protocol::Framed;
use tokio::sync::watch;

use crate::admit::{Admit, Connected, Disconnected, Gate, Received, Stopped};
use crate::bus::Bus;
use crate::dead_letters::DeadLetters;
use crate::notice::Notices;
use crate::store::{FlushError, Store, StoreThread};

mod clock;
mod config;
mod keeper;
mod lane;
mod open;
mod publish;
mod queue;
mod retention;
mod stage;
#[cfg(test)]
mod tests;
mod thread;

use clock::millis;
pub use config::{Across, CoreConfig, DedupConfig, JournalConfig};
pub use open::OpenError;
use queue::Item;
pub(crate) use queue::Queue;

/// What one document takes in the queue beside its bytes.
const OVERHEAD: usize = 128;

/// The relay's heart, opened and running.
#[derive(Debug)]
pub struct Core {
    /// What consumers read.
    pub bus: Bus,
    /// What sessions admit to.
    pub intake: Intake,
    /// Where notices are raised and listed.
    pub notices: Notices,
    /// What was refused or could not be parsed.
    pub dead_letters: DeadLetters,
    /// Cursors, states and facts.
    pub store: Store,
    /// What opening the journal found.
    pub recovery: Recovery,
    thread: std::thread::JoinHandle<Result<(), CloseError>>,
    store_thread: StoreThread,
    _dropped: StopOnDrop,
}

/// A core that is dropped rather than closed stops all the same, without anybody waiting for it.
#[derive(Debug)]
struct StopOnDrop(Arc<Queue>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What was admitted could not be made durable before the end.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The disk did not take it.
    #[error("{documents} documents could not be committed before the end")]
    Uncommitted {
        /// How many.
        documents: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The commit thread panicked.
    #[error("the commit thread has panicked")]
    Panicked,
}

impl Core {
    /// Opens the journal and the state under `dir`, remembers what was committed, and starts the
    /// commit thread. Blocks: for a second or so where there is much to remember.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a configuration is given once"
    )]
    pub fn open(config: CoreConfig) -> Result<Self, OpenError> {
        open::open(&config)
    }

    /// Commits what was admitted, writes the state, and ends the threads. What is admitted from now
    /// on is refused.
    ///
    /// # Errors
    /// What was admitted could not be made durable.
    pub async fn close(self) -> Result<(), CloseError> {
        let close = tokio::task::spawn_blocking(|| self.close_blocking());
        close.await.unwrap_or(Err(CloseError::Panicked))
    }

    fn close_blocking(self) -> Result<(), CloseError> {
        let Self {
            intake,
            dead_letters,
            thread,
            store_thread,
            ..
        } = self;
        intake.queue.stop();
        let result = thread.join().unwrap_or(Err(CloseError::Panicked));
        dead_letters.close();
        store_thread.close();
        result
    }
}

/// What the commit thread shows of itself.
#[derive(Debug)]
struct Board {
    started: Instant,
    /// The thread runs.
    alive: watch::Sender<bool>,
    /// The journal takes commits.
    writable: AtomicBool,
    /// Commits made.
    commits: AtomicU64,
    /// How long the last one took, in microseconds.
    last_commit_us: AtomicU64,
    /// Since when the thread works on what it took, in milliseconds after the start; 0: it waits.
    staging_since: AtomicU64,
    /// Since when a group is being committed, likewise.
    committing_since: AtomicU64,
}

impl Board {
    fn running() -> Self {
        Self {
            started: Instant::now(),
            alive: watch::Sender::new(true),
            writable: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            last_commit_us: AtomicU64::new(0),
            staging_since: AtomicU64::new(0),
            committing_since: AtomicU64::new(0),
        }
    }

    /// From now on the thread works on something.
    fn stages(&self) {
        self.staging_since.store(self.now(), Relaxed);
    }

    fn waits(&self) {
        self.staging_since.store(0, Relaxed);
    }

    /// From now on a group is being committed.
    fn commits(&self) {
        self.committing_since.store(self.now(), Relaxed);
    }

    fn committed(&self) {
        self.committing_since.store(0, Relaxed);
    }

    /// The thread has ended.
    fn end(&self) {
        self.writable.store(false, Relaxed);
        self.alive.send_replace(false);
    }

    /// Milliseconds after the start; never 0.
    fn now(&self) -> u64 {
        millis(self.started.elapsed()).max(1)
    }

    /// For how long it has been working on one thing.
    fn busy_for(&self) -> Duration {
        let now = self.now();
        let since = |since: &AtomicU64| match since.load(Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        Duration::from_millis(since(&self.staging_since).max(since(&self.committing_since)))
    }
}

/// How the commit thread gets on, for `/livez`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Commits made since the start.
    pub commits: u64,
    /// For how long it has been working on what it took last; zero while it waits for work. A full
    /// disk does not count: then the intake waits by design.
    pub busy_for: Duration,
}

/// What sessions admit to. Cloning gives another handle to the same intake.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: Arc<Queue>,
    gate: watch::Receiver<Gate>,
    board: Arc<Board>,
}

impl Intake {
    fn new(queue: &Arc<Queue>, gate: watch::Receiver<Gate>, board: &Arc<Board>) -> Self {
        Self {
            queue: Arc::clone(queue),
            gate,
            board: Arc::clone(board),
        }
    }

    /// Whether upstream sockets may be open.
    pub fn gate(&self) -> watch::Receiver<Gate> {
        self.gate.clone()
    }

    /// Returns once everything admitted so far is durable, or intake has stopped.
    pub async fn flush(&self) {
        let (mut committed, admitted) = self.queue.progress();
        // An error means that the thread has ended: nothing more will become durable.
        committed
            .wait_for(|committed| *committed >= admitted)
            .await
            .ok();
    }

    /// Whether the commit thread runs.
    pub fn is_alive(&self) -> bool {
        *self.board.alive.borrow()
    }

    /// Returns once the commit thread has ended, by [`Core::close`] or by a panic: nothing is
    /// admitted any more.
    pub async fn ended(&self) {
        let mut alive = self.board.alive.subscribe();
        // An error would mean that the board is gone: so would be the thread.
        alive.wait_for(|alive| !alive).await.ok();
    }

    /// How the commit thread gets on.
    pub fn progress(&self) -> Progress {
        let waits_by_design = !self.writable() && self.is_alive();
        Progress {
            commits: self.board.commits.load(Relaxed),
            busy_for: if waits_by_design {
                Duration::ZERO
            } else {
                self.board.busy_for()
            },
        }
    }

    /// Whether the journal takes commits: false while the disk is full or fails.
    pub fn writable(&self) -> bool {
        self.board.writable.load(Relaxed)
    }

    /// How long the last commit took, in milliseconds.
    pub fn last_commit_ms(&self) -> f64 {
        Duration::from_micros(self.board.last_commit_us.load(Relaxed)).as_secs_f64() * 1000.0
    }

    /// Makes the commit thread panic, as a defect would.
    #[cfg(any(test, feature = "testing"))]
    pub async fn break_down(&self) -> Result<(), Stopped> {
        self.admit(Item::Panic, OVERHEAD, 0).await
    }

    async fn admit(&self, item: Item, bytes: usize, documents: usize) -> Result<(), Stopped> {
        let permit = self.queue.room(bytes).await?;
        self.queue.push(item, permit, bytes, documents)
    }
}

impl Admit for Intake {
    async fn connected(&self, event: Connected) -> Result<(), Stopped> {
        self.admit(Item::Connected(event), OVERHEAD, 0).await
    }

    async fn documents(&self, received: Received) -> Result<(), Stopped> {
        let size = |framed: &Framed| match framed {
            Framed::Document(document) => document.bytes().len(),
            Framed::Malformed(malformed) => malformed.bytes.len(),
        };
        let documents = received.documents.len();
        let bytes = received
            .documents
            .iter()
            .map(|framed| OVERHEAD + size(framed))
            .sum();
        self.admit(Item::Received(received), bytes, documents).await
    }

    async fn disconnected(&self, ended: Disconnected) -> Result<(), Stopped> {
        self.admit(Item::Disconnected(ended), OVERHEAD, 0).await
    }
}

impl core::convert::From<FlushError> for OpenError {
    fn from(error: FlushError) -> Self {
        Self::Io {
            what: "writing the state",
            source: error.into(),
        }
    }
}

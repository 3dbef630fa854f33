//! The worker: the one loop that drives a sink. It owns order, retries, back-off, the cursor, dead
//! letters, metrics and the drain; it knows no protocol.
//!
//! ```text
//! Reader ─▶ Filter ─▶ Delivery ─▶ Sink::deliver ─▶ confirmations, several under way
//!    ▲                                              │
//!    └── back to the cursor after a failure ◀── Window: the cursor over the longest settled prefix
//! ```
//! # Order and repetition
//! * Batches are handed over in journal order. What a batch left unsettled is handed over again after
//!   the back-off, by reading again from the cursor: nothing is held in memory while waiting.
//! * What was confirmed is not sent again because a neighbour was not. There is one exception, for
//!   the sake of order: what was confirmed *behind* an unsettled event of the same key is sent
//!   again after it, so that the last thing a consumer sees of a key is the last that happened.
//! * After a failure one batch at a time is under way until one is confirmed.
//! * Dead letters are delivered again between the batches of the journal, out of order, without the
//!   cursor taking part: see [`SinkHandle::retry_dead_letters`].
//! * What is settled ahead of the cursor is remembered only while the worker runs: after a restart,
//!   a panic or a seek everything behind the cursor is sent again.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, mpsc};

use crate::dead_letters::DeadLetters;
use crate::filter::Filter;
use crate::notice::Notices;
use crate::reader::ReadError;
use crate::sink::Sink;
use crate::store::Store;
use crate::supervise::{Supervisor, panic_text};
use crate::traces::Traces;
use crate::{Bus, Metrics};

mod again;
mod commands;
mod handle;
mod held;
mod meters;
mod outcome;
mod position;
mod run;
mod supply;
#[cfg(test)]
mod tests;
mod window;

pub use again::{Letters, Retried};
pub use handle::{CommandError, SinkHandle, SinkStatus};
#[cfg(any(test, feature = "testing"))]
pub(crate) use meters::now_ms;

/// How long a sink may take to close.
pub const CLOSING: Duration = Duration::from_secs(5);

/// What to do with an event that the destination refuses for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReject {
    /// Keep a copy, durably, then go on.
    #[default]
    DeadLetter,
    /// Count it and go on.
    Drop,
    /// Stop until an operator says how to go on.
    Halt,
}

/// Where a sink starts that has no cursor yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// With what is committed from now on.
    #[default]
    Latest,
    /// With the oldest event that is kept.
    Earliest,
}

/// What the worker is told of one sink. [`WorkerConfig::new`] gives the defaults of PRODUCT section 3.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The sink's name: cursor and state belong to it.
    pub name: Arc<str>,
    /// Its type, as the configuration calls it.
    pub kind: &'static str,
    /// Which events are delivered.
    pub filter: Filter,
    /// Whether notices are delivered too.
    pub notices: bool,
    /// Where it starts without a cursor.
    pub start_from: StartFrom,
    /// Events in a batch.
    pub batch_events: usize,
    /// Bytes in a batch.
    pub batch_bytes: usize,
    /// Bytes of batches under way at once.
    pub in_flight_bytes: usize,
    /// Events that may run ahead of the oldest unsettled one.
    pub ahead_events: usize,
    /// The shortest wait after a failure.
    pub retry_min: Duration,
    /// The longest.
    pub retry_max: Duration,
    /// What becomes of refused events.
    pub on_reject: OnReject,
    /// So many refusals without a confirmation between them block the sink.
    pub max_consecutive_rejections: u32,
    /// A hash of url and credentials: when it changes, blocked and disabled are cleared.
    pub fingerprint: String,
    /// How long a pause, a seek or a stop waits for what is under way. What is not confirmed by then
    /// is delivered again.
    pub drain_timeout: Duration,
}

impl WorkerConfig {
    /// The defaults, for a sink of a name and a type.
    pub fn new(name: &str, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            filter: Filter::default(),
            notices: false,
            start_from: StartFrom::Latest,
            batch_events: 512,
            batch_bytes: 1 << 20,
            in_flight_bytes: 8 << 20,
            ahead_events: 16 * 512,
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_mins(1),
            on_reject: OnReject::DeadLetter,
            max_consecutive_rejections: 100,
            fingerprint: String::new(),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What every worker of a relay works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// What it reads.
    pub bus: Bus,
    /// Where cursors and states are kept.
    pub store: Store,
    /// Where refused events go.
    pub dead_letters: DeadLetters,
    /// Where it says what was skipped.
    pub notices: Notices,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The journal's bound in bytes, for `sink_retention_headroom_seconds`.
    pub retention_bytes: u64,
    /// Who is told of sampled events.
    pub traces: Traces,
}

impl Context {
    /// Whether a sink without a cursor may have had one: it then starts with the oldest event,
    /// whatever it is told.
    fn may_have_lost_a_cursor(&self) -> bool {
        self.store.may_have_lost(self.bus.cursor(self.bus.first()))
    }
}

/// Starts the worker of a sink under supervision. `make` gives the sink for each start: the first,
/// and those after a panic, which go on from the last cursor.
///
/// From here on retention waits for the sink. One that is removed from the configuration is stopped
/// ([`SinkHandle::stop`]) and taken out of [`Store::unregister_sink`].
pub fn spawn<S: Sink>(
    supervisor: &Supervisor,
    config: WorkerConfig,
    context: &Context,
    mut make: impl FnMut() -> S + Send + 'static,
) -> SinkHandle {
    context.store.register_sink(&config.name);
    let (sender, receiver) = mpsc::channel(8);
    let (again, agains) = mpsc::channel(1);
    let inbox = run::Inbox {
        commands: Arc::new(Mutex::new(receiver)),
        again: Arc::new(Mutex::new(agains)),
    };
    let config = Arc::new(config);
    let shared = Arc::new(handle::Shared::new(Arc::clone(&config), context.clone()));
    let task_shared = Arc::clone(&shared);
    let task = supervisor.spawn(&format!("sink {}", config.name), move |stop| {
        let (sink, shared, inbox) = (make(), Arc::clone(&task_shared), inbox.clone());
        told(Arc::clone(&shared), run::drive(sink, shared, inbox, stop))
    });
    SinkHandle::new(shared, (sender, again), task)
}

/// Runs a worker; how it fails is seen in its status before its supervisor starts it again.
async fn told(
    shared: Arc<handle::Shared>,
    run: impl Future<Output = Result<(), ReadError>>,
) -> Result<(), ReadError> {
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(ended) => {
            if let Err(error) = &ended {
                shared.failed(error.to_string());
            }
            ended
        }
        Err(panic) => {
            shared.failed(format!("the worker has panicked: {}", panic_text(&*panic)));
            resume_unwind(panic)
        }
    }
}

//! A sink from outside: its status, and what an operator can ask of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use relay_journal::Offset;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::again::Again;
use super::commands::{Command, Reply};
use super::meters::{Headroom, Meters, now_ms};
use super::{Context, StartFrom, WorkerConfig};
use crate::reader::Limit;
use crate::sink::Warning;
use crate::status::{SinkError, SinkState};
use crate::supervise::Handle;
use crate::{Cursor, From};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The sink has been stopped, or its worker failed meanwhile.
    #[error("the sink is not running: ask again, or look at its last error")]
    Gone,
    /// The cursor is of another journal.
    #[error("the cursor belongs to another journal, not to {0}")]
    ForeignEpoch(relay_journal::Epoch),
    /// The cursor lies in the future.
    #[error("the cursor lies in the future: the journal ends at {0}")]
    Future(Cursor),
    /// The destination keeps the cursor itself and did not take the new one.
    #[error("the destination did not take the cursor: {0}")]
    Refused(String),
    /// The cursor or the state could not be made durable.
    #[error("{0}")]
    NotDurable(String),
    /// The journal, or the dead letters, could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// Dead letters can be retried by a sink that delivers.
    #[error("{0}")]
    NotDelivering(String),
    /// Dead letters are being retried.
    #[error("the dead letters of this sink are being retried already: wait for that to end")]
    Retrying,
}

/// A sink's row of `/v1/status`.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub kind: &'static str,
    /// Its state.
    pub state: SinkState,
    /// Everything up to here is settled.
    pub cursor: Cursor,
    /// Events between the cursor and the end of the journal.
    pub lag_events: u64,
    /// Age of the oldest event that is not settled; 0 when all are.
    pub lag_seconds: f64,
    /// Failures since the last progress.
    pub retries: u64,
    /// What went wrong last.
    pub last_error: Option<SinkError>,
    /// What an operator should change though the sink delivers.
    pub warnings: Vec<Warning>,
}

/// What the worker tells of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) state: SinkState,
    pub(super) cursor: Offset,
    pub(super) retries: u64,
    pub(super) last_error: Option<SinkError>,
    pub(super) warnings: Vec<Warning>,
}

/// What a worker and its handles share; it outlives the worker's restarts.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<WorkerConfig>,
    pub(super) context: Context,
    pub(super) meters: Meters,
    row: watch::Sender<Row>,
    /// The offset whose arrival was looked up last, and that arrival.
    oldest: Mutex<Option<(Offset, u64)>>,
    headroom: Mutex<Headroom>,
    /// Held by whoever has dead letters delivered again.
    pub(super) retrying: tokio::sync::Mutex<()>,
    /// Cancelled when what is under way is not waited for any more: the sink is to be closed now.
    hurry: CancellationToken,
}

impl Shared {
    pub(super) fn new(config: Arc<WorkerConfig>, context: Context) -> Self {
        let known = context.store.cursor(&config.name);
        let here = known.filter(|cursor| cursor.epoch == context.bus.epoch());
        let cursor = match (here, known, config.start_from) {
            (Some(cursor), _, _) => cursor.offset,
            (None, None, StartFrom::Latest) if !context.may_have_lost_a_cursor() => {
                context.bus.last()
            }
            (None, _, _) => Offset(context.bus.first().0.saturating_sub(1)),
        };
        let row = Row {
            cursor,
            ..Row::default()
        };
        Self {
            meters: Meters::new(&context.metrics, &config.name),
            row: watch::Sender::new(row),
            oldest: Mutex::default(),
            headroom: Mutex::default(),
            retrying: tokio::sync::Mutex::default(),
            hurry: CancellationToken::new(),
            config,
            context,
        }
    }

    /// The row as it is. Don't keep it while changing it.
    pub(super) fn row(&self) -> watch::Ref<'_, Row> {
        self.row.borrow()
    }

    /// Changes the row, and wakes who waits for that.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Row) -> T) -> Option<T> {
        let mut result = None;
        self.row.send_modify(|row| result = Some(change(row)));
        result
    }

    /// Tells of changes of the row.
    pub(super) fn watch(&self) -> watch::Receiver<Row> {
        self.row.subscribe()
    }

    /// Returns when a pause, a seek or a stop does not wait any longer for what is under way.
    pub(super) async fn patience(&self) {
        // Its end is no error: time is up in both cases.
        let waited = tokio::time::timeout(self.config.drain_timeout, self.hurry.cancelled());
        waited.await.unwrap_or_default();
    }

    /// The worker itself has failed: it starts again from its cursor, soon.
    pub(super) fn failed(&self, text: String) {
        let error = SinkError {
            at_ms: now_ms(),
            text,
            remedy: String::new(),
        };
        self.meters.retries.inc();
        self.update(|row| {
            row.state = SinkState::Retrying;
            row.retries += 1;
            row.last_error = Some(error);
        });
    }

    fn status(&self) -> SinkStatus {
        let Row {
            state,
            cursor,
            retries,
            last_error,
            warnings,
        } = self.row.borrow().clone();
        let lag_events = self.context.bus.last().0.saturating_sub(cursor.0);
        let oldest = if lag_events == 0 {
            None
        } else {
            self.arrival(cursor.next())
        };
        let age_ms = oldest.map_or(0, |arrival| now_ms().saturating_sub(arrival));
        SinkStatus {
            name: Arc::clone(&self.config.name),
            kind: self.config.kind,
            state,
            cursor: self.context.bus.cursor(cursor),
            lag_events,
            lag_seconds: std::time::Duration::from_millis(age_ms).as_secs_f64(),
            retries,
            last_error,
            warnings,
        }
    }

    /// When the first record at or after `offset` arrived. From memory if it is there; else one
    /// record is read from the journal, once for each place where the cursor stands still.
    fn arrival(&self, offset: Offset) -> Option<u64> {
        let mut known = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, arrival)) = known.filter(|(known, _)| *known == offset) {
            return Some(arrival);
        }
        let bus = &self.context.bus;
        let before = Offset(offset.0.saturating_sub(1));
        let groups = bus.tail_after(
            before,
            Limit {
                events: 1,
                bytes: 1,
            },
        );
        let held = groups.as_ref().and_then(|groups| groups.first());
        let held =
            held.and_then(|group| group.events.iter().find(|event| event.offset() >= offset));
        let arrival = match held {
            Some(event) => event.received_at_ms(),
            None => bus
                .log()
                .read(offset.max(bus.first()), 1)
                .ok()?
                .first()?
                .time_ms(),
        };
        *known = Some((offset, arrival));
        Some(arrival)
    }
}

/// A sink from outside. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct SinkHandle {
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    pub(super) again: mpsc::Sender<Again>,
    pub(super) task: Handle,
}

impl SinkHandle {
    pub(super) fn new(
        shared: Arc<Shared>,
        (commands, again): (mpsc::Sender<Command>, mpsc::Sender<Again>),
        task: Handle,
    ) -> Self {
        Self {
            shared,
            commands,
            again,
            task,
        }
    }

    /// The sink's name.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.config.name
    }

    /// What the worker was told.
    pub fn config(&self) -> &WorkerConfig {
        &self.shared.config
    }

    /// How it gets on. May read one record of the journal.
    pub fn status(&self) -> SinkStatus {
        self.shared.status()
    }

    /// Returns once state, cursor, retries or last error meet a condition, with the row that does.
    /// The lag may change without waking it.
    pub async fn wait_for(&self, mut condition: impl FnMut(&SinkStatus) -> bool) -> SinkStatus {
        let mut row = self.shared.row.subscribe();
        loop {
            row.mark_unchanged();
            let status = self.status();
            if condition(&status) {
                return status;
            }
            // The sender lives as long as this handle.
            row.changed().await.unwrap_or_default();
        }
    }

    /// Sets the gauges that are only worth computing when somebody looks: `sink_up`, `sink_state`,
    /// lag and headroom. For each scrape.
    pub fn scrape(&self) {
        let status = self.status();
        let shared = &self.shared;
        shared.meters.show(&status);
        let mut headroom = shared
            .headroom
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let seconds = headroom.measure(
            shared.context.bus.log(),
            &status,
            shared.context.retention_bytes,
            Instant::now(),
        );
        shared.meters.headroom.set(seconds);
    }

    /// Stops delivering, durably, after what is under way.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn pause(&self) -> Result<(), CommandError> {
        self.ask(Command::Pause).await
    }

    /// Delivers again, whatever had stopped it: a pause, a rejection, a destination that was gone.
    /// A sink that waits for its next try tries now.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn resume(&self) -> Result<(), CommandError> {
        self.ask(Command::Resume).await
    }

    /// Goes on from elsewhere: stops delivering, waits for what is under way, makes the new cursor
    /// durable, then answers with it. A paused sink stays paused.
    ///
    /// # Errors
    /// See [`CommandError`]. A cursor that retention has passed is no error: the answer is the oldest.
    pub async fn seek(&self, to: From) -> Result<Cursor, CommandError> {
        self.ask(|reply| Command::Seek(to, reply)).await
    }

    /// Stops the worker: waits for what is under way, `drain_timeout` at most, makes the cursor
    /// durable, closes the sink. Returns when that is done.
    pub async fn stop(&self) {
        self.stop_by(tokio::time::Instant::now() + self.shared.config.drain_timeout)
            .await;
    }

    /// The same, and waits until then at most before it closes the sink, which may take up to
    /// [`CLOSING`](super::CLOSING).
    pub async fn stop_by(&self, deadline: tokio::time::Instant) {
        self.task.stop();
        let ended = tokio::time::timeout_at(deadline, self.task.ended());
        if ended.await.is_err() {
            self.shared.hurry.cancel();
            self.task.ended().await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.ok().ok_or(CommandError::Gone)?;
        tokio::select! {
            answer = answer => answer.unwrap_or(Err(CommandError::Gone)),
            () = self.task.ended() => Err(CommandError::Gone),
        }
    }
}

//! Supervision: a task is a factory, restarted after an error or a panic, with back-off, counted, until
//! it ends by itself or its token is cancelled. It knows nothing of what its tasks do.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::Metrics;
use crate::backoff::Backoff;
use crate::storm::Storm;

#[cfg(test)]
mod tests;

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A task that ran for so long had recovered.
const RECOVERED: Duration = Duration::from_mins(1);

/// What a task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    #[default]
    Running,
    /// It failed and waits for its next start.
    BackingOff,
    /// It has ended: by itself, because it was stopped, or with the supervisor.
    Ended,
}

/// How a task gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus {
    /// What it is doing.
    pub state: TaskState,
    /// How often it was started again after an error or a panic.
    pub restarts: u64,
    /// Why it failed last.
    pub last_failure: Option<String>,
}

/// A supervised task. Dropping the handle leaves the task alone.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    status: watch::Receiver<TaskStatus>,
    stop: CancellationToken,
}

impl Handle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it gets on.
    pub fn status(&self) -> TaskStatus {
        self.status.borrow().clone()
    }

    /// Asks it to stop; it is not started again.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Returns once it has ended.
    pub async fn ended(&self) {
        let mut status = self.status.clone();
        // An error means that the task is gone, aborted.
        status
            .wait_for(|status| status.state == TaskState::Ended)
            .await
            .ok();
    }
}

/// Runs tasks, and restarts those that fail.
#[derive(Debug)]
pub struct Supervisor {
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    running: JoinSet<()>,
    handles: Vec<Handle>,
}

impl Supervisor {
    /// A supervisor whose tasks stop when `stop` is cancelled.
    pub fn new(metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self {
            metrics,
            stop,
            tasks: Mutex::default(),
        }
    }

    /// Starts a task. The factory is called for each start with the token to watch; its future is run
    /// until it returns `Ok` (it has ended), or `Err` or a panic (it is started again, unless it was
    /// told to stop).
    pub fn spawn<F, Fut, E>(&self, name: &str, factory: F) -> Handle
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        for cause in ["error", "panic"] {
            let labels = &[name, cause];
            drop(self.metrics.task_restarts_total.with_label_values(labels));
        }
        let (status, watched) = watch::channel(TaskStatus::default());
        let handle = Handle {
            name: name.into(),
            status: watched,
            stop: self.stop.child_token(),
        };
        let task = Task {
            name: Arc::clone(&handle.name),
            status,
            stop: handle.stop.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let mut tasks = self.lock();
        while tasks.running.try_join_next().is_some() {}
        tasks
            .handles
            .retain(|handle| handle.status.borrow().state != TaskState::Ended);
        tasks.running.spawn(task.run(factory));
        tasks.handles.push(handle.clone());
        handle
    }

    /// The tasks that have not ended.
    pub fn tasks(&self) -> Vec<Handle> {
        let tasks = self.lock();
        let live = tasks
            .handles
            .iter()
            .filter(|handle| handle.status.borrow().state != TaskState::Ended);
        live.cloned().collect()
    }

    /// Stops all tasks, waits for them, and aborts those that take longer than `limit`. Returns the
    /// names of the aborted.
    pub async fn drain(self, limit: Duration) -> Vec<Arc<str>> {
        self.stop.cancel();
        let Tasks {
            mut running,
            handles,
        } = self
            .tasks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let all = async { while running.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_ok() {
            return Vec::new();
        }
        let late = handles
            .iter()
            .filter(|handle| handle.status.borrow().state != TaskState::Ended);
        let late: Vec<_> = late.map(|handle| Arc::clone(&handle.name)).collect();
        tracing::warn!(tasks = ?late, "aborting what did not end in time");
        running.shutdown().await;
        late
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a run ended, when not well.
enum Failure {
    Error(String),
    Panic(String),
}

struct Task {
    name: Arc<str>,
    status: watch::Sender<TaskStatus>,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Task {
    async fn run<F, Fut, E>(self, mut factory: F)
    where
        F: FnMut(CancellationToken) -> Fut + Send,
        Fut: Future<Output = Result<(), E>> + Send,
        E: Display,
    {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let mut storm = Storm::default();
        loop {
            let started = Instant::now();
            let token = self.stop.clone();
            let run = AssertUnwindSafe(async { factory(token).await })
                .catch_unwind()
                .await;
            let failure = match run {
                Ok(Ok(())) => break,
                Ok(Err(error)) => Failure::Error(error.to_string()),
                Err(panic) => Failure::Panic(panic_text(&*panic)),
            };
            if started.elapsed() >= RECOVERED {
                backoff.reset();
            }
            self.failed(failure, storm.strike());
            if self.stop.is_cancelled() {
                break;
            }
            let waited = self
                .stop
                .run_until_cancelled(tokio::time::sleep(backoff.next()))
                .await;
            if waited.is_none() {
                break;
            }
            self.status.send_modify(|status| {
                status.state = TaskState::Running;
                status.restarts += 1;
            });
        }
        self.status
            .send_modify(|status| status.state = TaskState::Ended);
    }

    fn failed(&self, failure: Failure, times: Option<u64>) {
        let (cause, text) = match failure {
            Failure::Error(text) => ("error", text),
            Failure::Panic(text) => ("panic", text),
        };
        self.metrics
            .task_restarts_total
            .with_label_values(&[&*self.name, cause])
            .inc();
        if let Some(times) = times {
            tracing::error!(task = %self.name, cause, times, "a task has failed: {text}");
        }
        self.status.send_modify(|status| {
            status.state = TaskState::BackingOff;
            status.last_failure = Some(text);
        });
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_owned())
}

//! Notices: what may have been lost, and what an operator should know, said as records of the
//! journal. This module owns their kinds, their schema, their bounds and the list of `/v1/gaps`; it
//! knows neither sessions nor sinks.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Metrics;
use crate::intake::Queue;

mod gaps;
mod kind;
mod limiter;
#[cfg(test)]
mod tests;

use gaps::GapList;
pub(crate) use gaps::GapLog;
pub use kind::{NoticeKind, Verdict};
use limiter::Limiter;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The page's items, oldest first.
    pub items: Vec<T>,
    /// What to give as `after` for the next page; `None`: there is none now.
    pub next: Option<u64>,
}

/// A notice as it stands in the journal and in `/v1/gaps` (PRODUCT section 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `notice:{cursor}`.
    pub id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// When it was journaled: journal time.
    pub at: Timestamp,
    /// The subscription it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subscription: Option<String>,
    /// The sink it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sink: Option<String>,
    /// The beginning of what it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Timestamp>,
    /// The end of what it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
    /// How many events are missing, or numbers of a sequence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<u64>,
    /// What is held of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
    /// In words, for an operator.
    pub text: String,
}

/// A notice to be journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeDraft {
    /// What it is about.
    pub kind: NoticeKind,
    /// The subscription it is about.
    pub subscription: Option<Arc<str>>,
    /// The sink it is about.
    pub sink: Option<Arc<str>>,
    /// The beginning of what it is about, in Unix milliseconds.
    pub from: Option<u64>,
    /// The end of what it is about, in Unix milliseconds.
    pub until: Option<u64>,
    /// How many events are missing, or numbers of a sequence.
    pub missing: Option<u64>,
    /// What is held of it.
    pub verdict: Option<Verdict>,
    /// In words, for an operator.
    pub text: String,
}

impl NoticeDraft {
    /// A notice that is about nothing in particular yet.
    pub fn new(kind: NoticeKind, text: impl Into<String>) -> Self {
        let (subscription, sink, from, until, missing, verdict) = Default::default();
        Self {
            kind,
            subscription,
            sink,
            from,
            until,
            missing,
            verdict,
            text: text.into(),
        }
    }

    /// The same, about a subscription.
    #[must_use]
    pub fn subscription(self, subscription: &Arc<str>) -> Self {
        Self {
            subscription: Some(Arc::clone(subscription)),
            ..self
        }
    }

    /// The same, about a sink.
    #[must_use]
    pub fn sink(self, sink: &str) -> Self {
        Self {
            sink: Some(sink.into()),
            ..self
        }
    }

    /// The same, about a time, in Unix milliseconds.
    #[must_use]
    pub fn between(self, from: Option<u64>, until: Option<u64>) -> Self {
        Self {
            from,
            until,
            ..self
        }
    }

    /// The same, with how much is missing.
    #[must_use]
    pub fn missing(self, missing: u64) -> Self {
        Self {
            missing: Some(missing),
            ..self
        }
    }

    /// The same, with what is held of it.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        Self {
            verdict: Some(verdict),
            ..self
        }
    }

    /// The notice at its place in the journal.
    pub(crate) fn place(self, id: String, at_ms: u64) -> Notice {
        let Self {
            kind,
            subscription,
            sink,
            from,
            until,
            missing,
            verdict,
            text,
        } = self;
        let (at, from, until) = (timestamp(at_ms), from.map(timestamp), until.map(timestamp));
        let (subscription, sink) = (
            subscription.map(|id| id.to_string()),
            sink.map(|name| name.to_string()),
        );
        Notice {
            id,
            kind,
            at,
            subscription,
            sink,
            from,
            until,
            missing,
            verdict,
            text,
        }
    }
}

/// Unix milliseconds as a timestamp; the last one that can be written, for a time beyond it.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// Where notices are raised and listed. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Notices {
    limiter: Arc<Mutex<Limiter>>,
    gaps: Arc<RwLock<GapList>>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

impl Notices {
    pub(crate) fn new(
        queue: Arc<Queue>,
        gaps: Arc<RwLock<GapList>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        // A counter that is born with its first notice shows no increase to whoever scrapes it.
        for kind in NoticeKind::ALL {
            drop(metrics.notices_total.with_label_values(&[kind.as_str()]));
        }
        Self {
            limiter: Arc::default(),
            gaps,
            queue,
            metrics,
        }
    }

    /// Raises a notice: it is counted now and journaled by the next commit. Never waits. When one
    /// kind comes too often about one thing, what is beyond the limit is merged into one notice
    /// that says how many it stands for.
    pub fn raise(&self, draft: NoticeDraft) {
        self.metrics
            .notices_total
            .with_label_values(&[draft.kind.as_str()])
            .inc();
        self.limiter().offer(draft, Instant::now());
        self.queue.nudge();
    }

    /// What may have been lost, oldest first: notices after a place in the list, at most `limit`.
    pub fn gaps(&self, after: Option<u64>, limit: usize) -> Page<Notice> {
        self.gaps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .page(after, limit)
    }

    /// The latest of the same list, at most `limit`, oldest first.
    pub fn latest_gaps(&self, limit: usize) -> Vec<Notice> {
        self.gaps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .latest(limit)
    }

    /// What is to be journaled now.
    pub(crate) fn take(&self, now: Instant) -> Vec<NoticeDraft> {
        self.limiter().take(now)
    }

    /// When merged notices are to be journaled.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.limiter().due()
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

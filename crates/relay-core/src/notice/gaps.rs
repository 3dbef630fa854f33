//! The list behind `/v1/gaps`: 30 days and 10,000 notices, in a small log of its own, because the
//! journal may keep less.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use relay_journal::{Group, Log, LogOptions, Offset, OpenError, ReadError, TrimPolicy, Writer};

use super::{Notice, Page};
use crate::event::Kind;
use crate::storm::Storm;

const KEPT: usize = 10_000;
const KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
const BYTES: u64 = 32 << 20;
const CHUNK: usize = 1 << 20;
/// What could not be written is held up to so many bytes.
const PENDING: usize = 4 << 20;

/// The notices that are listed, each with its place in the list.
#[derive(Debug, Default)]
pub(crate) struct GapList {
    items: VecDeque<(u64, u64, Notice)>,
}

impl GapList {
    fn push(&mut self, place: u64, at_ms: u64, notice: Notice) {
        self.items.push_back((place, at_ms, notice));
        while self.items.len() > KEPT {
            self.items.pop_front();
        }
    }

    fn age(&mut self, oldest_ms: u64) {
        let expired = |(_, at, _): &(u64, u64, Notice)| *at < oldest_ms;
        while self.items.front().is_some_and(expired) {
            self.items.pop_front();
        }
    }

    pub(super) fn page(&self, after: Option<u64>, limit: usize) -> Page<Notice> {
        let start = after.map_or(0, |after| {
            self.items.partition_point(|(place, ..)| *place <= after)
        });
        let end = start.saturating_add(limit).min(self.items.len());
        let items = self
            .items
            .range(start..end)
            .map(|(.., notice)| notice.clone())
            .collect();
        let last = end.checked_sub(1).and_then(|last| self.items.get(last));
        let next = last
            .filter(|_| end < self.items.len() && limit > 0)
            .map(|(place, ..)| *place);
        Page { items, next }
    }

    pub(super) fn latest(&self, limit: usize) -> Vec<Notice> {
        let start = self.items.len().saturating_sub(limit);
        self.items
            .range(start..)
            .map(|(.., notice)| notice.clone())
            .collect()
    }
}

/// The list's log: the commit thread writes it, after the journal.
#[derive(Debug)]
pub(crate) struct GapLog {
    writer: Writer,
    log: Log,
    list: Arc<RwLock<GapList>>,
    /// What could not be written yet: it is written before anything else.
    pending: Option<Group>,
    unwritten: Storm,
    unlisted: Storm,
}

impl GapLog {
    /// Opens the log and reads the list back.
    pub(crate) fn open(dir: &Path, tenant: &str) -> Result<Self, OpenError> {
        let options = LogOptions {
            segment_bytes: 4 << 20,
            segment_age: Duration::from_hours(7 * 24),
            identity: tenant.to_owned(),
            reserve_bytes: 0,
        };
        let (writer, log, _) = Log::open(dir, options)?;
        let mut list = GapList::default();
        let mut from = log.first();
        loop {
            match log.read(from, CHUNK) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => {
                    for record in records {
                        from = record.offset().next();
                        if let Ok(notice) = serde_json::from_slice(record.payload()) {
                            list.push(record.offset().0, record.time_ms(), notice);
                        }
                    }
                }
                Err(ReadError::Damaged { next }) => from = next,
                Err(ReadError::Trimmed { first }) => from = first,
                Err(ReadError::Io(source)) => {
                    return Err(OpenError::Io {
                        path: dir.to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(Self {
            writer,
            log,
            list: Arc::new(RwLock::new(list)),
            pending: None,
            unwritten: Storm::default(),
            unlisted: Storm::default(),
        })
    }

    /// The list, for readers.
    pub(crate) fn list(&self) -> Arc<RwLock<GapList>> {
        Arc::clone(&self.list)
    }

    /// The id of the last notice of the list.
    pub(crate) fn last_id(&self) -> Option<String> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.items.back().map(|(.., notice)| notice.id.clone())
    }

    /// Lists what has been journaled. What can't be written is listed all the same, and written with
    /// what comes next, be it nothing.
    pub(crate) fn append(&mut self, notices: Vec<Notice>) {
        let gaps: Vec<_> = notices
            .into_iter()
            .filter(|notice| notice.kind.is_gap())
            .collect();
        if gaps.is_empty() {
            self.retry();
            return;
        }
        let group = self.pending.take();
        let mut group = group.unwrap_or_else(|| self.writer.begin());
        let mut unlisted = 0_usize;
        {
            let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
            for notice in gaps {
                if group.bytes() > PENDING {
                    unlisted += 1;
                    continue;
                }
                let at_ms = u64::try_from(notice.at.as_millisecond()).unwrap_or(0);
                let body = serde_json::to_vec(&notice).unwrap_or_default();
                let place = group.push(Kind::Notice as u8, at_ms, &[], &body);
                list.push(place.0, at_ms, notice);
            }
        }
        if unlisted > 0
            && let Some(times) = self.unlisted.strike()
        {
            tracing::warn!(
                unlisted,
                times,
                "notices are in the journal, and not in the list of gaps"
            );
        }
        self.write(group);
    }

    /// Whether something could not be written yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Writes what could not be written before.
    fn retry(&mut self) {
        if let Some(group) = self.pending.take() {
            self.write(group);
        }
    }

    fn write(&mut self, group: Group) {
        match self.writer.commit(group) {
            Ok(_) => {
                self.unwritten.clear();
                self.trim(None);
            }
            Err(error) => {
                let (group, error) = error.into_parts();
                if let Some(times) = self.unwritten.strike() {
                    tracing::warn!(%error, times, "the list of gaps could not be written; it is tried again");
                }
                self.pending = Some(group);
            }
        }
    }

    /// Forgets what is older than the list reaches; also when nothing new is listed. `now_ms`: the
    /// clock that retention goes by.
    pub(crate) fn age(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(KEPT_MS);
        self.list
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .age(oldest_ms);
        if self.pending.is_some() {
            return;
        }
        if let Err(error) = self.writer.roll_if_old() {
            tracing::warn!(%error, "the segment of the list of gaps could not be closed");
        }
        self.trim(Some(oldest_ms));
    }

    fn trim(&self, older_than_ms: Option<u64>) {
        let policy = TrimPolicy {
            passed: Offset(u64::MAX),
            older_than_ms,
            max_bytes: Some(BYTES),
        };
        if let Err(error) = self.log.trim(&policy) {
            tracing::warn!(%error, "the list of gaps could not be trimmed");
        }
    }

    /// Closes the log.
    pub(crate) fn close(mut self) {
        self.retry();
        if let Err(error) = self.writer.close() {
            tracing::warn!(%error, "closing the list of gaps");
        }
    }
}

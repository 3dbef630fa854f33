//! The small state that changes: cursors, sinks' states, sequences, facts. It is kept in memory and
//! written in groups about once a second; it knows no meaning of the bytes it keeps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay_journal::{Change, Offset, StateError, Table};
use tokio::sync::watch;

use crate::Cursor;

mod disk;
#[cfg(test)]
mod tests;

use disk::Disk;

/// How long a change may wait for company before it is written.
const WINDOW: Duration = Duration::from_secs(1);

/// The fact that the state was lost: how far the journal went by then.
const LOST: &str = "state_lost";

const TABLES: [Table; 5] = [
    Table::Cursors,
    Table::Sequences,
    Table::SinkStates,
    Table::SubsIds,
    Table::Facts,
];

/// The state could not be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the relay's state could not be written: {0}")]
pub struct FlushError(Arc<str>);

/// How far the writer has come: the last change it wrote, and the last it could not write.
#[derive(Clone, Debug, Default)]
struct Flushed {
    written: u64,
    failed: Option<(u64, FlushError)>,
}

#[derive(Debug, Default)]
struct Tables {
    values: HashMap<Table, BTreeMap<String, Vec<u8>>>,
    dirty: HashSet<(Table, String)>,
    dirty_since: Option<Instant>,
    /// Counts changes.
    changes: u64,
    /// Up to which change somebody waits.
    wanted: u64,
    stop: bool,
    sinks: BTreeSet<String>,
    /// Sinks of an earlier run that may still be registered.
    expected: BTreeSet<String>,
    /// The state was lost: any sink may still be registered.
    expects_any: bool,
}

#[derive(Debug)]
struct Inner {
    tables: Mutex<Tables>,
    changed: Condvar,
    flushed: watch::Sender<Flushed>,
}

/// The store. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

/// The thread that writes the store; it sleeps while nothing has changed.
#[derive(Debug)]
pub(crate) struct StoreThread {
    store: Store,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Writes what is left and ends.
    pub(crate) fn close(mut self) {
        self.stop();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the state's writer has panicked");
        }
    }

    fn stop(&self) {
        self.store.lock().stop = true;
        self.store.0.changed.notify_all();
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    /// Reads the state and starts its writer. Also says where a damaged file was put aside.
    pub(crate) fn open(path: &Path) -> Result<(Self, StoreThread), StateError> {
        let disk = Disk::open(path)?;
        let mut tables = Tables::default();
        for table in TABLES {
            let all = disk
                .state()
                .map_or(Ok(Vec::new()), |state| state.all(table))?;
            tables.values.insert(table, all.into_iter().collect());
        }
        let cursors = tables.values.get(&Table::Cursors).into_iter().flatten();
        tables.expected = cursors.map(|(sink, _)| sink.clone()).collect();
        let (flushed, _) = watch::channel(Flushed::default());
        let store = Self(Arc::new(Inner {
            tables: Mutex::new(tables),
            changed: Condvar::new(),
            flushed,
        }));
        let writer = store.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.write(disk));
        let thread = thread.map_err(StateError::Io)?;
        Ok((
            store.clone(),
            StoreThread {
                store,
                thread: Some(thread),
            },
        ))
    }

    /// A value.
    pub fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.lock().values.get(&table)?.get(key).cloned()
    }

    /// All of a table, by key.
    pub fn all(&self, table: Table) -> Vec<(String, Vec<u8>)> {
        let tables = self.lock();
        let values = tables.values.get(&table).into_iter().flatten();
        values
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Sets a value: seen at once, durable within about a second, or after [`Store::flush`].
    pub fn set(&self, table: Table, key: &str, value: Vec<u8>) {
        self.change(table, key, Some(value));
    }

    /// Removes a value, as durably as [`Store::set`] sets one.
    pub fn remove(&self, table: Table, key: &str) {
        self.change(table, key, None);
    }

    /// The cursor of a sink.
    pub fn cursor(&self, sink: &str) -> Option<Cursor> {
        read_cursor(self.lock().values.get(&Table::Cursors)?.get(sink)?)
    }

    /// Moves the cursor of a sink. A lost move means redelivery, never loss.
    pub fn set_cursor(&self, sink: &str, cursor: Cursor) {
        self.set(Table::Cursors, sink, cursor.to_string().into_bytes());
    }

    /// Forgets the cursor of a sink.
    pub fn remove_cursor(&self, sink: &str) {
        self.remove(Table::Cursors, sink);
    }

    /// From now on retention by age waits for this sink. Idempotent.
    pub fn register_sink(&self, sink: &str) {
        self.lock().sinks.insert(sink.to_owned());
    }

    /// Retention no longer waits for this sink; its cursor stays until retention passes it.
    pub fn unregister_sink(&self, sink: &str) {
        self.lock().sinks.remove(sink);
    }

    /// Whether nothing was ever kept: there was no file, or it was put aside.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().values.values().all(BTreeMap::is_empty)
    }

    /// The journal, which goes up to `last`, is older than this state: what an earlier run kept is
    /// lost. Durable with the first value that is, so that no crash makes it forgotten.
    pub(crate) fn was_lost(&self, last: Cursor) {
        self.set(Table::Facts, LOST, last.to_string().into_bytes());
    }

    /// Whether a sink without a cursor may have had one that is lost: `first`, the oldest record,
    /// was there before the state was lost.
    pub(crate) fn may_have_lost(&self, first: Cursor) -> bool {
        let lost = self.get(Table::Facts, LOST);
        lost.and_then(|bytes| read_cursor(&bytes))
            .is_some_and(|lost| lost.epoch == first.epoch && lost.offset >= first.offset)
    }

    /// Until the sinks are registered any may be one that has passed nothing.
    pub(crate) fn expect_any(&self) {
        self.lock().expects_any = true;
    }

    /// The sinks are registered: what else has a cursor is a sink no more. Until then whoever had one
    /// at the start counts, or the start would be a moment at which nobody holds retention back.
    pub(crate) fn expect_no_more(&self) {
        let mut tables = self.lock();
        tables.expected.clear();
        tables.expects_any = false;
    }

    /// What every registered sink has passed: the least of their cursors in this journal. A sink
    /// without one has passed nothing.
    pub fn passed(&self, epoch: relay_journal::Epoch) -> Offset {
        let tables = self.lock();
        if tables.expects_any {
            return Offset(0);
        }
        let cursors = tables.values.get(&Table::Cursors);
        let passed = tables.sinks.union(&tables.expected).map(|sink| {
            let cursor = cursors
                .and_then(|cursors| cursors.get(sink))
                .and_then(|bytes| read_cursor(bytes));
            cursor
                .filter(|cursor| cursor.epoch == epoch)
                .map_or(Offset(0), |cursor| cursor.offset)
        });
        passed.min().unwrap_or(Offset(u64::MAX))
    }

    /// Forgets cursors of sinks that are no more, once retention has passed them.
    pub(crate) fn forget_passed(&self, epoch: relay_journal::Epoch, first: Offset) {
        let tables = self.lock();
        let cursors = tables.values.get(&Table::Cursors).into_iter().flatten();
        let gone = cursors.filter(|(sink, bytes)| {
            let passed = |cursor: Cursor| cursor.epoch != epoch || cursor.offset.next() < first;
            let is_sink = tables.sinks.contains(*sink) || tables.expected.contains(*sink);
            !is_sink && read_cursor(bytes).is_none_or(passed)
        });
        let gone: Vec<_> = gone.map(|(sink, _)| sink.clone()).collect();
        drop(tables);
        for sink in gone {
            self.remove_cursor(&sink);
        }
    }

    /// Returns once every change made so far is durable.
    ///
    /// # Errors
    /// It could not be written; it is tried again about once a second all the same.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let mut flushed = self.0.flushed.subscribe();
        let wanted = {
            let mut tables = self.lock();
            tables.wanted = tables.changes;
            tables.changes
        };
        flushed.borrow_and_update();
        self.0.changed.notify_all();
        loop {
            {
                let now = flushed.borrow_and_update();
                if now.written >= wanted {
                    return Ok(());
                }
                if let Some((_, error)) =
                    now.failed.as_ref().filter(|(failed, _)| *failed >= wanted)
                {
                    return Err(error.clone());
                }
            }
            if flushed.changed().await.is_err() {
                return Err(FlushError("the relay has stopped".into()));
            }
        }
    }

    fn change(&self, table: Table, key: &str, value: Option<Vec<u8>>) {
        let mut tables = self.lock();
        let values = tables.values.entry(table).or_default();
        if values.get(key) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => drop(values.insert(key.to_owned(), value)),
            None => drop(values.remove(key)),
        }
        tables.changes += 1;
        tables.dirty.insert((table, key.to_owned()));
        let sleeping = tables.dirty_since.is_none();
        tables.dirty_since.get_or_insert_with(Instant::now);
        drop(tables);
        if sleeping {
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer: sleeps while clean, then a window, then writes one transaction.
    fn write(&self, mut disk: Disk) {
        loop {
            let mut tables = self.lock();
            while tables.dirty.is_empty()
                && !tables.stop
                && tables.wanted <= self.0.flushed.borrow().written
            {
                tables = self
                    .0
                    .changed
                    .wait(tables)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let window = |tables: &mut Tables| {
                let waited = tables.dirty_since.map_or(WINDOW, |since| since.elapsed());
                !tables.stop
                    && tables.wanted <= self.0.flushed.borrow().attempted()
                    && waited < WINDOW
            };
            let left = tables.dirty_since.map_or(Duration::ZERO, |since| {
                WINDOW.saturating_sub(since.elapsed())
            });
            let waited = self.0.changed.wait_timeout_while(tables, left, window);
            let (mut tables, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (upto, stop) = (tables.changes, tables.stop);
            let dirty = std::mem::take(&mut tables.dirty);
            tables.dirty_since = None;
            let value = |(table, key): (Table, String)| {
                let value = tables
                    .values
                    .get(&table)
                    .and_then(|values| values.get(&key))
                    .cloned();
                (table, key, value)
            };
            let changes: Vec<_> = dirty.iter().cloned().map(value).collect();
            drop(tables);
            let written = if changes.is_empty() {
                Ok(())
            } else {
                disk.put(changes, || self.everything())
            };
            self.written(written, upto, dirty);
            if stop {
                return;
            }
        }
    }

    /// All values, for a file that was made anew.
    fn everything(&self) -> Vec<Change> {
        let tables = self.lock();
        let values = |(table, values): (&Table, &BTreeMap<String, Vec<u8>>)| {
            let change =
                |(key, value): (&String, &Vec<u8>)| (*table, key.clone(), Some(value.clone()));
            values.iter().map(change).collect::<Vec<_>>()
        };
        tables.values.iter().flat_map(values).collect()
    }

    fn written(&self, result: Result<(), StateError>, upto: u64, dirty: HashSet<(Table, String)>) {
        let Err(error) = result else {
            let before = self.0.flushed.send_replace(Flushed {
                written: upto,
                failed: None,
            });
            if before.failed.is_some() {
                tracing::info!("the state is written again");
            }
            return;
        };
        let error = FlushError(chain(&error).into());
        if self.0.flushed.borrow().failed.is_none() {
            tracing::warn!(%error, "the state could not be written; it is tried again every second");
        }
        let mut tables = self.lock();
        tables.dirty.extend(dirty);
        tables.dirty_since = Some(Instant::now());
        drop(tables);
        self.0
            .flushed
            .send_modify(|flushed| flushed.failed = Some((upto, error)));
    }
}

impl Flushed {
    fn attempted(&self) -> u64 {
        self.failed
            .as_ref()
            .map_or(self.written, |(failed, _)| self.written.max(*failed))
    }
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn read_cursor(bytes: &[u8]) -> Option<Cursor> {
    str::from_utf8(bytes).ok()?.parse().ok()
}

impl core::convert::From<FlushError> for io::Error {
    fn from(error: FlushError) -> Self {
        Self::other(error)
    }
}

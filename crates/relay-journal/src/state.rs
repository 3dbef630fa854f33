//! The small mutable state beside the log, behind a few methods; it knows no meaning of keys and values.

use std::path::Path;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Cursors of sinks and clients.
    Cursors,
    /// The last sequence and last-heard time of each subscription and instance.
    Sequences,
    /// States of sinks that survive a restart.
    SinkStates,
    /// Subscription ids that were used.
    SubsIds,
    /// Single facts.
    Facts,
}

/// The state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it open.
    #[error("the state file is in use by another process")]
    Locked,
    /// The file could not be read or written.
    #[error("the state file")]
    Io(#[source] std::io::Error),
    /// The database refused.
    #[error("the state database")]
    Database(#[source] redb::Error),
}

/// The state's file.
#[derive(Debug)]
pub struct State;

impl State {
    /// Opens or makes it.
    pub fn open(_path: &Path) -> Result<Self, StateError> {
        todo!()
    }
    /// Where a damaged file was put aside by `open`.
    pub fn set_aside(&self) -> Option<&Path> {
        todo!()
    }
    /// One value.
    pub fn get(&self, _table: Table, _key: &str) -> Result<Option<Vec<u8>>, StateError> {
        todo!()
    }
    /// All of a table, by key.
    pub fn all(&self, _table: Table) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        todo!()
    }
    /// One durable transaction; `None` deletes.
    pub fn put(&self, _changes: &[(Table, String, Option<Vec<u8>>)]) -> Result<(), StateError> {
        todo!()
    }
}

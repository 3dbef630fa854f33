//! The small mutable state beside the log, in redb, behind a few methods. It knows no meaning of keys
//! and values. Losing it means that events are delivered again, so a damaged file is set aside.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError,
};

/// redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Cursors of sinks and clients.
    Cursors,
    /// The last sequence and last-heard time of each subscription and instance.
    Sequences,
    /// States of sinks that survive a restart.
    SinkStates,
    /// Subscription ids that were used, upstream and downstream.
    SubsIds,
    /// Single facts.
    Facts,
}

impl Table {
    const ALL: [Self; 5] = [
        Self::Cursors,
        Self::Sequences,
        Self::SinkStates,
        Self::SubsIds,
        Self::Facts,
    ];

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Cursors => "cursors",
            Self::Sequences => "sequences",
            Self::SinkStates => "sink_states",
            Self::SubsIds => "subs_ids",
            Self::Facts => "facts",
        })
    }
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it open.
    #[error("the state file is in use by another process")]
    Locked,
    /// The file could not be read, written or set aside.
    #[error("the state file")]
    Io(#[from] io::Error),
    /// The database refused. After a failed write it stays refused until it is opened again.
    #[error("the state database")]
    Database(#[source] Box<redb::Error>),
}

impl StateError {
    fn of(error: impl Into<redb::Error>) -> Self {
        let error = error.into();
        if let redb::Error::DatabaseAlreadyOpen = error {
            return Self::Locked;
        }
        if let redb::Error::Io(error) = error {
            return Self::Io(error);
        }
        Self::Database(Box::new(error))
    }
}

/// A key and its new value in a table; `None` deletes it.
pub type Change = (Table, String, Option<Vec<u8>>);

/// The open state.
#[derive(Debug)]
pub struct State {
    database: Database,
    set_aside: Option<PathBuf>,
}

impl State {
    /// Opens the file, or makes it. A damaged one is renamed to `{path}.damaged-N`
    /// ([`State::set_aside`] says so) and a new one made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        match open_whole(path) {
            Ok(database) => Ok(Self {
                database,
                set_aside: None,
            }),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Damaged) => {
                let aside = free_name(path);
                fs::rename(path, &aside)?;
                match open_whole(path) {
                    Ok(database) => Ok(Self {
                        database,
                        set_aside: Some(aside),
                    }),
                    Err(Fault::Refused(error)) => Err(error),
                    Err(Fault::Damaged) => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                }
            }
        }
    }

    /// Where [`State::open`] put a damaged file.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// One value.
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let read = self.database.begin_read().map_err(StateError::of)?;
        let table = match read.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => opened.map_err(StateError::of)?,
        };
        let value = table.get(key).map_err(StateError::of)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// All of a table, in the order of its keys.
    pub fn all(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        all(&self.database, table)
    }

    /// Makes changes in one durable transaction: all of them or none.
    pub fn put(&self, changes: &[Change]) -> Result<(), StateError> {
        let write = self.database.begin_write().map_err(StateError::of)?;
        for of in Table::ALL {
            let mut changes = changes.iter().filter(|(table, ..)| *table == of).peekable();
            if changes.peek().is_none() {
                continue;
            }
            let mut table = write.open_table(of.definition()).map_err(StateError::of)?;
            for (_, key, value) in changes {
                match value {
                    Some(value) => table.insert(key.as_str(), value.as_slice()),
                    None => table.remove(key.as_str()),
                }
                .map_err(StateError::of)?;
            }
        }
        write.commit().map_err(StateError::of)
    }
}

fn all(database: &Database, table: Table) -> Result<Vec<(String, Vec<u8>)>, StateError> {
    let read = database.begin_read().map_err(StateError::of)?;
    let table = match read.open_table(table.definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened.map_err(StateError::of)?,
    };
    let mut found = Vec::new();
    for entry in table.iter().map_err(StateError::of)? {
        let (key, value) = entry.map_err(StateError::of)?;
        found.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(found)
}

enum Fault {
    Damaged,
    Refused(StateError),
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        let damaged = match &error {
            StateError::Locked => false,
            // What redb says of a file that is not, or no longer, its own.
            StateError::Io(error) => {
                matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                )
            }
            StateError::Database(error) => matches!(
                **error,
                redb::Error::Corrupted(_)
                    | redb::Error::UpgradeRequired(_)
                    | redb::Error::TableTypeMismatch { .. }
            ),
        };
        if damaged {
            Self::Damaged
        } else {
            Self::Refused(error)
        }
    }
}

/// Opens the file and checks all of it: it is small. redb panics over some damage.
fn open_whole(path: &Path) -> Result<Database, Fault> {
    let open = || -> Result<Database, Fault> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let mut database = match builder.create(path) {
            Err(DatabaseError::Storage(StorageError::Corrupted(_))) => return Err(Fault::Damaged),
            opened => opened.map_err(StateError::of)?,
        };
        database.check_integrity().map_err(StateError::of)?;
        for table in Table::ALL {
            all(&database, table)?;
        }
        Ok(database)
    };
    catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(Fault::Damaged))
}

/// The first name beside `path` that is free for a damaged file.
fn free_name(path: &Path) -> PathBuf {
    let named = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        PathBuf::from(name)
    };
    (1..u32::MAX)
        .map(named)
        .find(|name| !name.exists())
        .unwrap_or_else(|| named(0))
}

#[cfg(test)]
mod tests;

//! skeleton

use crate::{Epoch, Offset, Record};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a log is laid out.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The size of a segment.
    pub segment_bytes: u64,
    /// The active segment is closed when it is this old.
    pub segment_age: Duration,
    /// Whose log it is.
    pub identity: String,
    /// Disk space set aside; 0 for none.
    pub reserve_bytes: u64,
}
impl Default for LogOptions {
    fn default() -> Self {
        todo!()
    }
}
/// Why not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process.
    #[error("the log is in use by another process")]
    Locked {
        /// its id, if it could be read
        pid: Option<u32>,
    },
    /// Another owner's.
    #[error("the log belongs to {found}, not to {expected}")]
    Identity {
        /// on disk
        found: String,
        /// asked for
        expected: String,
    },
    /// Newer.
    #[error("the log has format {found}; this program knows up to {known}")]
    NewerFormat {
        /// on disk
        found: u32,
        /// known
        known: u32,
    },
    /// I/O.
    #[error("opening the log: {path}")]
    Io {
        /// the file
        path: PathBuf,
        /// why
        #[source]
        source: io::Error,
    },
}
/// Damage kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// placeholder
    Record,
}
/// One place of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// file
    pub segment: PathBuf,
    /// where
    pub byte: u64,
    /// which
    pub offset: Offset,
    /// what
    pub what: Damage,
}
/// A tail cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// file
    pub segment: PathBuf,
    /// where
    pub byte: u64,
    /// how many
    pub bytes: u64,
}
/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// made anew
    pub created: bool,
    /// cut
    pub torn: Option<Torn>,
    /// damage
    pub damage: Vec<Finding>,
}
/// What verify read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// files
    pub segments: u64,
    /// good records
    pub records: u64,
    /// bytes read
    pub bytes: u64,
}
/// Read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Trimmed.
    #[error("the records before {first} have been trimmed")]
    Trimmed {
        /// oldest kept
        first: Offset,
    },
    /// Damaged.
    #[error("the records before {next} are damaged")]
    Damaged {
        /// go on here
        next: Offset,
    },
    /// I/O.
    #[error("reading the log")]
    Io(#[from] io::Error),
}
/// Commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room.
    #[error("no room for the commit")]
    Full(Group, #[source] io::Error),
    /// I/O.
    #[error("the commit failed")]
    Io(Group, #[source] io::Error),
}
impl CommitError {
    /// The group, to be committed again, and why it was not.
    pub fn into_parts(self) -> (Group, io::Error) {
        todo!()
    }
}
/// Committed.
#[derive(Debug)]
pub struct Committed {
    /// the records
    pub records: Vec<Record>,
    /// first
    pub first: Offset,
    /// last
    pub last: Offset,
    /// write and sync
    pub elapsed: Duration,
}
/// Policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrimPolicy {
    /// every sink has passed
    pub passed: Offset,
    /// age
    pub older_than_ms: Option<u64>,
    /// bytes
    pub max_bytes: Option<u64>,
}
/// Trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// how many
    pub segments: u64,
    /// bytes
    pub bytes: u64,
    /// oldest kept
    pub first: Offset,
}
/// Free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// available
    pub available: u64,
    /// total
    pub total: u64,
}
/// Free space of the volume that holds `path`.
pub fn free_bytes(_path: &Path) -> io::Result<FreeSpace> {
    todo!()
}
/// Group.
#[derive(Debug)]
pub struct Group;
impl Group {
    /// push
    pub fn push(&mut self, _kind: u8, _time_ms: u64, _head: &[u8], _payload: &[u8]) -> Offset {
        todo!()
    }
    /// len
    pub fn len(&self) -> usize {
        todo!()
    }
    /// bytes
    pub fn bytes(&self) -> usize {
        todo!()
    }
    /// empty
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
/// Writer.
#[derive(Debug)]
pub struct Writer;
impl Writer {
    /// begin
    pub fn begin(&mut self) -> Group {
        todo!()
    }
    /// commit
    pub fn commit(&mut self, _group: Group) -> Result<Committed, CommitError> {
        todo!()
    }
    /// Closes the active segment if it is older than `segment_age`, so that it can be trimmed.
    pub fn roll_if_old(&mut self) -> io::Result<bool> {
        todo!()
    }
    /// reserve
    pub fn use_reserve(&mut self) -> io::Result<u64> {
        todo!()
    }
    /// reserve
    pub fn refill_reserve(&mut self) -> io::Result<bool> {
        todo!()
    }
    /// reserve
    pub fn reserve_left(&self) -> u64 {
        todo!()
    }
    /// close
    pub fn close(self) -> io::Result<()> {
        todo!()
    }
}
/// Log.
#[derive(Clone, Debug)]
pub struct Log(Arc<()>);
impl Log {
    /// open
    pub fn open(_dir: &Path, _options: LogOptions) -> Result<(Writer, Log, Recovery), OpenError> {
        todo!()
    }
    /// ro
    pub fn open_read_only(_dir: &Path) -> Result<Log, OpenError> {
        todo!()
    }
    /// refresh
    pub fn refresh(&self) -> Result<(), OpenError> {
        todo!()
    }
    /// epoch
    pub fn epoch(&self) -> Epoch {
        todo!()
    }
    /// first
    pub fn first(&self) -> Offset {
        todo!()
    }
    /// next
    pub fn next(&self) -> Offset {
        todo!()
    }
    /// last
    pub fn last(&self) -> Offset {
        todo!()
    }
    /// bytes
    pub fn bytes(&self) -> u64 {
        todo!()
    }
    /// oldest
    pub fn oldest_time_ms(&self) -> Option<u64> {
        todo!()
    }
    /// read
    pub fn read(&self, _from: Offset, _max_bytes: usize) -> Result<Vec<Record>, ReadError> {
        todo!()
    }
    /// `offset_at`
    pub fn offset_at(&self, _time_ms: u64) -> Offset {
        todo!()
    }
    /// trim
    pub fn trim(&self, _policy: &TrimPolicy) -> io::Result<Trimmed> {
        todo!()
    }
    /// trim
    pub fn trim_passed(&self, _passed: Offset, _want_bytes: u64) -> io::Result<Trimmed> {
        todo!()
    }
    /// verify
    pub fn verify(_dir: &Path, _finding: impl FnMut(Finding)) -> Result<Verified, OpenError> {
        todo!()
    }
}

//! What can go wrong with a log, and how to go on.

use std::io;
use std::path::{Path, PathBuf};

use super::group::Group;
use crate::ids::{Epoch, Offset};

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it. Stop that one first.
    #[error("the log is in use by another process{}", .pid.map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Locked {
        /// That process, if it could be told.
        pid: Option<u32>,
    },
    /// It belongs to another. Use another directory.
    #[error("the log belongs to {found:?}, not to {expected:?}")]
    Identity {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A later version of the relay wrote it. Use that version.
    #[error("the log has format {found}, this program knows formats up to {known}")]
    NewerFormat {
        /// The format on disk.
        found: u32,
        /// The newest format that is known here.
        known: u32,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed it: go on at `first`.
    #[error("the records before {first} have been trimmed")]
    Trimmed {
        /// The oldest offset that is kept, and greater than the one that was asked for.
        first: Offset,
    },
    /// It is damaged on disk: go on at `next`.
    #[error("the records before {next} are damaged")]
    Damaged {
        /// The next offset that may be read, and greater than the one that was asked for.
        next: Offset,
    },
    /// The disk refused to read. That is no damage yet: a later attempt may succeed.
    #[error("reading the log")]
    Io(#[from] io::Error),
}

/// Why a group was not committed. In every case nothing of it is visible to readers, it comes back,
/// and it can be committed again.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// There is no room on the volume.
    #[error("there is no room for the commit")]
    Full(Group, #[source] io::Error),
    /// The disk failed, and what is on it was read again: the next commit goes to a new segment.
    /// Of kind `InvalidInput`: the group is not the one that is due, or a record is too long.
    #[error("the commit failed")]
    Io(Group, #[source] io::Error),
}

impl CommitError {
    pub(super) fn of(group: Group, error: io::Error) -> Self {
        if is_full(&error) {
            Self::Full(group, error)
        } else {
            Self::Io(group, error)
        }
    }

    /// The group, to be committed again, and why it was not.
    pub fn into_parts(self) -> (Group, io::Error) {
        match self {
            Self::Full(group, error) | Self::Io(group, error) => (group, error),
        }
    }
}

/// Whether an error says that the volume, or the quota on it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// One place of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub segment: PathBuf,
    /// Where in it.
    pub byte: u64,
    /// The first offset that is affected.
    pub offset: Offset,
    /// What is wrong.
    pub what: Damage,
}

/// What is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The segment's header can't be read; its records can.
    #[error("the segment's header is damaged")]
    Header,
    /// The segment's footer can't be read; its records can.
    #[error("the segment's footer is damaged")]
    Footer,
    /// Records can't be read.
    #[error("{bytes} bytes of records are damaged, reading goes on at {next}")]
    Records {
        /// How many bytes are damaged.
        bytes: u64,
        /// The first offset behind the damage.
        next: Offset,
    },
    /// Records that were there are not.
    #[error("the records before {next} are missing")]
    Missing {
        /// The first offset behind what is missing.
        next: Offset,
    },
    /// The segment is another log's. It is not read.
    #[error("the segment is of epoch {epoch}")]
    Foreign {
        /// The epoch it names.
        epoch: Epoch,
    },
    /// The anchor can't be read. It is written anew from the segments.
    #[error("the anchor is damaged")]
    Anchor,
}

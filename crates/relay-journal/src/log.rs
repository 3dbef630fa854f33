//! The log: one directory of segments, one writer, any number of readers. It knows records, not
//! what they mean.

mod active;
mod anchor;
mod buffers;
mod error;
mod files;
mod format;
mod group;
mod index;
mod inner;
mod options;
mod read;
mod recovery;
mod reserve;
mod scan;
mod seal;
mod survey;
mod trim;
mod verify;
mod view;
mod volume;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{CommitError, Damage, Finding, OpenError, ReadError};
pub use group::Group;
pub use inner::Log;
pub use options::LogOptions;
pub use read::Read;
pub use recovery::{Recovery, Torn};
pub use trim::{TrimPolicy, Trimmed};
pub use verify::Verified;
pub use volume::{FreeSpace, free_bytes};
pub use writer::{Committed, Writer};

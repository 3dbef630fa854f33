//! The relay's memory on disk: a segmented log of opaque records, and the small mutable state
//! beside it. It is synchronous, has one writer, and knows neither SAPI nor tokio.
//!
//! * [`Log`] and [`Writer`]: the log. Its format, and the rules that it keeps, stand in the
//!   documentation of the module `log::format`.
//! * [`State`]: cursors, sequences and the like, in redb.

mod ids;
mod log;
mod record;
mod state;

pub use ids::{Epoch, EpochError, Offset};
pub use log::{
    CommitError, Committed, Damage, Finding, FreeSpace, Group, Log, LogOptions, OpenError, Read,
    ReadError, Recovery, Torn, TrimPolicy, Trimmed, Verified, Writer, free_bytes,
};
pub use record::Record;
pub use state::{Change, State, StateError, Table};

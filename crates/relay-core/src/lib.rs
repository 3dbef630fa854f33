//! What makes the relay a relay: intake, bus, readers and delivery.
//!
//! ```text
//! sessions ──Admit──▶ Intake (dedup, sequences, continuity) ──▶ journal ──▶ Bus ──Reader──▶ worker ──▶ Sink
//!                                                                            └───Reader──▶ Listener (one a client)
//! ```
//! The journal is the bus: an event is durable first and visible second, and every consumer is a
//! position in it. This crate knows no socket, no broker, no configuration file and no signal.

pub mod admit;
pub mod backoff;
pub mod bus;
pub mod cloudevents;
mod continuity;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod cursor;
pub mod dead_letters;
mod dedup;
pub mod event;
pub mod filter;
pub mod intake;
pub mod metrics;
pub mod notice;
pub mod reader;
mod sequence;
pub mod sink;
pub mod status;
pub mod store;
pub mod storm;
pub mod supervise;
pub mod traces;
pub mod worker;

pub use admit::Admit;
pub use bus::Bus;
pub use cursor::{Cursor, From};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use event::{Event, Kind};
pub use intake::{Core, CoreConfig, Intake};
pub use metrics::Metrics;
pub use notice::{Notice, NoticeDraft, NoticeKind, Notices, Page};
pub use reader::{Batch, Limit, ReadError, Reader, Skipped};
pub use relay_journal::{Epoch, Offset, Table};
pub use store::Store;

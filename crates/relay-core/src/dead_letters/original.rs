//! What a dead letter keeps of a refused event beside its bytes, so that it can be delivered again
//! when the journal has long trimmed it. It lies in the letter's head and is not shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use relay_journal::{Offset, Record};
use serde::{Deserialize, Serialize};

use super::DeadLetter;
use crate::Event;

/// The parts of an event's record, its payload excepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Original {
    kind: u8,
    offset: u64,
    time_ms: u64,
    head: String,
}

impl Original {
    pub(crate) fn of(event: &Event) -> Self {
        let record = event.record();
        Self {
            kind: record.kind(),
            offset: record.offset().0,
            time_ms: record.time_ms(),
            head: STANDARD.encode(record.head()),
        }
    }

    /// The event's record with its bytes.
    pub(super) fn record(self, payload: Bytes) -> Option<Record> {
        let head = STANDARD.decode(self.head).ok()?.into();
        let (offset, time_ms) = (Offset(self.offset), self.time_ms);
        Some(Record::from_parts(
            offset, time_ms, self.kind, head, payload,
        ))
    }
}

/// The head of a letter as it stands in the log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) letter: DeadLetter,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) original: Option<Original>,
}

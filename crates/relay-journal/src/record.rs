//! One record: how it is encoded, and the view that readers get of it.

use bytes::Bytes;

use crate::ids::Offset;

/// A view of one record. Its bytes are slices of a shared buffer: cloning is cheap, and keeps the
/// whole buffer (a commit group, or what one read returned) in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) offset: Offset,
    pub(crate) time_ms: u64,
    pub(crate) kind: u8,
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
}

impl Record {
    /// Its place in the log.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Journal time in Unix milliseconds: the wall clock at commit, but never running backwards.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// What the writer said that it is.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The small opaque head.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The opaque payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes it takes on disk, and in the buffer that it is a slice of.
    pub fn encoded_len(&self) -> usize {
        todo!()
    }
}

//! What a worker hands over next: read a stretch at a time, given out in batches. It knows neither the
//! filter nor what became of a batch.
//!
//! Batches of few events are parts of one stretch: they share its memory, and the disk is read once.

use relay_journal::Offset;

use crate::Bus;
use crate::reader::{Batch, Limit, ReadError, Reader};

#[derive(Debug)]
pub(super) struct Supply {
    reader: Reader,
    /// What was read and not given out yet.
    rest: Option<Batch>,
    position: Offset,
}

impl Supply {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            position: reader.position(),
            rest: None,
            reader,
        }
    }

    /// The last offset that was given out.
    pub(super) fn position(&self) -> Offset {
        self.position
    }

    pub(super) fn bus(&self) -> &Bus {
        self.reader.bus()
    }

    /// Goes on after an offset; holds nothing until then.
    pub(super) fn seek(&mut self, position: Offset) {
        self.rest = None;
        self.reader.seek(position);
        self.position = position;
    }

    /// Whether everything that is durable was given out.
    pub(super) fn at_tail(&self) -> bool {
        self.rest.is_none() && self.reader.at_tail()
    }

    /// The next batch, waiting for one: it ends at `end` at the latest. Cancel safe.
    pub(super) async fn next(&mut self, limit: Limit, end: Offset) -> Result<Batch, ReadError> {
        let stretch = match self.rest.take() {
            Some(rest) => rest,
            None => self.read(limit.bytes).await?,
        };
        let (batch, rest) = stretch.split(limit, end);
        self.rest = rest;
        self.position = batch.upto();
        Ok(batch)
    }

    async fn read(&mut self, bytes: usize) -> Result<Batch, ReadError> {
        let limit = Limit {
            events: usize::MAX,
            bytes,
        };
        let read = self.reader.next_batch(limit).await;
        match &read {
            // The worker bounds in bytes what it holds.
            Ok(stretch) => stretch.release(),
            Err(_) => self.position = self.reader.position(),
        }
        read
    }
}

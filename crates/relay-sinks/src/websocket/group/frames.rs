//! What clients of one taste are given of a batch: their frames, and the same bytes in one piece.

use bytes::Bytes;
use relay_core::{Batch, Offset};

use super::super::hub::Hub;
use super::super::wanted::Wanted;

/// Room for joined bytes that is kept from batch to batch.
const KEPT: usize = 128 * 1024;

/// A frame, and what lies behind the client once it is written.
pub(crate) type Frame = (Bytes, Offset);

/// The frames of a batch.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    each: Vec<Frame>,
    /// All of them, where they are several: one piece costs the kernel less than many.
    joined: Vec<u8>,
}

impl Frames {
    /// Makes the frames of a batch for everybody who wants the same.
    pub(super) fn make(&mut self, batch: &Batch, wanted: &Wanted, hub: &Hub) {
        self.clear();
        for event in batch.events() {
            if let Some(frame) = wanted.frame(event, hub) {
                self.each.push((frame, event.offset()));
            }
        }
        if self.each.len() > 1 {
            for (frame, _) in &self.each {
                self.joined.extend_from_slice(frame);
            }
        }
    }

    /// Lets go of the events.
    pub(super) fn clear(&mut self) {
        self.each.clear();
        self.joined.clear();
        self.joined.shrink_to(KEPT);
    }

    /// What a client is still to be given that has everything up to a position: the bytes, and the
    /// frames that they consist of.
    pub(crate) fn after(&self, position: Offset) -> (&[u8], &[Frame]) {
        let start = self.each.partition_point(|(_, offset)| *offset <= position);
        let (before, rest) = self.each.split_at_checked(start).unwrap_or_default();
        let bytes = if let [(only, _)] = rest {
            only
        } else {
            let before: usize = before.iter().map(|(frame, _)| frame.len()).sum();
            self.joined.get(before..).unwrap_or_default()
        };
        (bytes, rest)
    }
}

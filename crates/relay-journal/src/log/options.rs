//! How a log is laid out on its volume.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// How a log is laid out, and whose it is.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The size of a segment: what is preallocated, and what is trimmed at once. A thirty-second of
    /// the volume at most. A group that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// The active segment is closed when it is this old, so that trimming by age can reach it.
    pub segment_age: Duration,
    /// Whose log it is, 255 bytes at most. Opening a log of another identity is refused.
    pub identity: String,
    /// Disk space held back for when the volume is full; 0 for none. A tenth of the volume at most.
    pub reserve_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB,
            segment_age: Duration::from_hours(1),
            identity: String::new(),
            reserve_bytes: 0,
        }
    }
}

impl LogOptions {
    /// Takes smaller segments where retention is small, so that it is kept to about a sixteenth.
    #[must_use]
    pub fn for_retention(mut self, retention_bytes: u64) -> Self {
        self.segment_bytes = self.segment_bytes.min((retention_bytes / 16).max(MIB));
        self
    }

    /// Keeps segments and reserve within what a volume of that size can bear.
    pub(super) fn for_volume(mut self, total_bytes: u64) -> Self {
        self.segment_bytes = self.segment_bytes.min(total_bytes / 32);
        self.reserve_bytes = self.reserve_bytes.min(total_bytes / 10);
        self
    }
}

//! Saying a thing that repeats: the first time, then at every power of two.

/// Counts what repeats.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Storm(u64);

impl Storm {
    /// It happened again: how often now, if that is worth saying.
    pub(super) fn strike(&mut self) -> Option<u64> {
        self.0 = self.0.saturating_add(1);
        self.0.is_power_of_two().then_some(self.0)
    }

    /// It is over.
    pub(super) fn clear(&mut self) {
        self.0 = 0;
    }
}

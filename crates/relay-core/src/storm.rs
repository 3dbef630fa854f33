//! Saying a thing that repeats: the first time, then at every power of two. Every log line that hostile
//! input or a retry could repeat goes through one.

use std::time::Duration;

use tokio::time::Instant;

/// After so long a quiet the next time is the first again.
const QUIET: Duration = Duration::from_mins(5);

/// Counts what repeats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    count: u64,
    last: Option<Instant>,
}

impl Storm {
    /// It happened again: how often now, if that is worth saying.
    pub fn strike(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) >= QUIET)
        {
            self.count = 0;
        }
        self.last = Some(now);
        self.count = self.count.saturating_add(1);
        self.count.is_power_of_two().then_some(self.count)
    }

    /// Whether what happened last was said here, or elsewhere: then its end is worth a word too.
    pub(crate) fn was_said(&self) -> bool {
        self.count == 0 || self.count.is_power_of_two()
    }

    /// Something else happens now.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_then_powers_of_two_then_anew_after_a_quiet() {
        let mut storm = Storm::default();
        assert!(storm.was_said());
        let mut ends = Vec::new();
        let said: Vec<_> = (0..20)
            .filter_map(|_| {
                let said = storm.strike();
                ends.push(storm.was_said());
                said
            })
            .collect();
        assert_eq!(said, [1, 2, 4, 8, 16]);
        assert_eq!(ends.iter().filter(|said| **said).count(), said.len());
        tokio::time::advance(QUIET).await;
        assert_eq!(storm.strike(), Some(1));
    }
}

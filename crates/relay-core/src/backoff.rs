//! Waiting longer after each failure, never for nothing, and never all at once.

use std::time::Duration;

use rand::Rng as _;

/// Exponential back-off with jitter: the ceiling starts at twice the minimum and doubles up to the
/// maximum; a wait is drawn between half of the ceiling and the whole, and is never shorter than the minimum.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// A back-off that has seen no failure yet. A maximum below the minimum counts as the minimum.
    pub fn new(min: Duration, max: Duration) -> Self {
        let max = max.max(min);
        Self {
            min,
            max,
            ceiling: min.saturating_mul(2).min(max),
        }
    }

    /// How long to wait after a failure.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and nobody iterates over it"
    )]
    pub fn next(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        rand::rng()
            .random_range(ceiling / 2..=ceiling)
            .max(self.min)
    }

    /// The longest wait there is: for what time alone does not cure.
    pub fn longest(&self) -> Duration {
        rand::rng()
            .random_range(self.max / 2..=self.max)
            .max(self.min)
    }

    /// There was real progress: the next failure is the first.
    pub fn reset(&mut self) {
        self.ceiling = self.min.saturating_mul(2).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_lies_within_its_bounds(min in 0u64..5_000, max in 0u64..100_000, failures in 1usize..40) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let mut backoff = Backoff::new(min, max);
            let mut ceiling = min * 2;
            for _ in 0..failures {
                ceiling = ceiling.min(max.max(min));
                let wait = backoff.next();
                prop_assert!(wait >= min && wait >= ceiling / 2 && wait <= ceiling.max(min), "{wait:?}");
                ceiling = ceiling.saturating_mul(2);
            }
            prop_assert!(backoff.longest() >= min);
            backoff.reset();
            prop_assert!(backoff.next() <= (min * 2).max(min));
        }
    }

    #[test]
    fn waits_differ() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_mins(1));
        let waits: std::collections::HashSet<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}

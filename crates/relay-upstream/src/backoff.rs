//! How long to wait after one more failure of a kind; knows no clock.

use std::time::Duration;

use rand::Rng;

use crate::Bounds;

/// Exponential with full jitter above a minimum that always passes.
#[derive(Debug)]
pub(crate) struct Backoff {
    bounds: Bounds,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            failures: 0,
        }
    }

    /// The next wait: from the minimum to twice it, then four times, up to the maximum.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let Bounds { min, max } = self.bounds;
        let doubled = 2_u32.saturating_pow(self.failures);
        let ceiling = min.saturating_mul(doubled).min(max).max(min);
        rng.random_range(min..=ceiling)
    }

    /// Real progress was made.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn it_grows_within_its_bounds_and_begins_anew() {
        let (min, max) = (Duration::from_millis(500), Duration::from_mins(1));
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Bounds { min, max });
        let waits: Vec<_> = (0..200).map(|_| backoff.next(&mut rng)).collect();
        assert!(waits.iter().all(|wait| (min..=max).contains(wait)));
        assert!(waits[0] <= min * 2 && waits[1] <= min * 4);
        let late = &waits[50..];
        assert!(late.iter().any(|wait| *wait > max / 4 * 3));
        assert!(late.iter().any(|wait| *wait < max / 4));
        backoff.reset();
        assert!(backoff.next(&mut rng) <= min * 2);
    }

    #[test]
    fn a_maximum_below_the_minimum_does_no_harm() {
        let bounds = Bounds {
            min: Duration::from_secs(5),
            max: Duration::from_secs(1),
        };
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(Backoff::new(bounds).next(&mut rng), bounds.min);
    }
}

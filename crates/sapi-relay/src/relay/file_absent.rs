//! Stands in for the sink of type `file` in a build without it. The configuration refuses one earlier.

use relay_core::worker::SinkHandle;

use super::sinks::Sinks;
use crate::config;

/// Says that there is none.
pub(super) fn start(
    _sinks: &Sinks,
    name: &str,
    _delivery: &config::Delivery,
    _file: &config::File,
) -> anyhow::Result<SinkHandle> {
    anyhow::bail!("sinks.{name}: file sinks are not built into this binary")
}

//! Stands in for a sink that this build leaves out. The configuration refuses one earlier.

use relay_core::sink::{Failure, Next};
use relay_core::worker::SinkHandle;

use super::sinks::Sinks;
use crate::config;

/// Says that there is none.
pub(super) fn start<C>(
    _sinks: &Sinks,
    name: &str,
    _delivery: &config::Delivery,
    _config: &C,
) -> anyhow::Result<SinkHandle> {
    anyhow::bail!("sinks.{name}: sinks of its type are not built into this binary")
}

/// Says the same.
#[expect(clippy::unused_async, reason = "the others ask")]
pub(crate) async fn probe<C>(_config: C, _tenant: &str) -> Result<(), Failure> {
    Err(Failure {
        next: Next::Blocked,
        text: "sinks of this type are not built into this binary".to_owned(),
        remedy: String::new(),
    })
}

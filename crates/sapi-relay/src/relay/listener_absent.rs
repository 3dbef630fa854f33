//! Stands in for the sink of type `websocket` in a build without it. The configuration refuses one
//! earlier.

use std::net::SocketAddr;

use super::sinks::Sinks;
use crate::config;
use crate::failure::Failure;

/// There is none.
#[derive(Debug)]
pub(super) enum Bound {}

/// There is none.
#[derive(Debug)]
pub(super) enum Running {}

impl Bound {
    /// Says that there is none.
    #[expect(clippy::unused_async, reason = "the other one binds")]
    pub(super) async fn bind(
        _sinks: &Sinks,
        name: &str,
        _websocket: &config::Websocket,
    ) -> Result<Self, Failure> {
        Err(anyhow::anyhow!("sinks.{name}: websocket sinks are not built into this binary").into())
    }

    pub(super) async fn rehearse(
        sinks: &Sinks,
        name: &str,
        websocket: &config::Websocket,
    ) -> Result<(), Failure> {
        Self::bind(sinks, name, websocket).await.map(drop)
    }

    pub(super) fn serve(self, _sinks: &Sinks, _name: &str) -> Running {
        match self {}
    }
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(super) fn connected(&self) -> usize {
        match *self {}
    }

    pub(super) fn renew(&self, _clients: &[config::Client]) -> anyhow::Result<()> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn stop(&self) {
        match *self {}
    }
}

//! The loop.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::commands::Command;
use super::handle::Shared;
use crate::sink::Sink;

/// Drives a sink until it is told to stop.
pub(super) async fn drive<S: Sink>(
    _sink: S,
    _shared: Arc<Shared>,
    _commands: Arc<Mutex<mpsc::Receiver<Command>>>,
    stop: CancellationToken,
) -> Result<(), std::io::Error> {
    stop.cancelled().await;
    Ok(())
}

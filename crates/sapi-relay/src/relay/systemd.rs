//! Owns what systemd is told: ready, stopping, alive. Without systemd all of it is nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use relay_core::supervise::Supervisor;
use sd_notify::NotifyState;

use super::SharedState;

/// The journal is recovered and the listeners are bound; nothing is said of 8x8.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Starts telling the watchdog that the relay makes progress, if it asked to be told.
pub(super) fn watch(supervisor: &Supervisor, state: &Arc<SharedState>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    let period = Duration::from_micros(micros) / 2;
    let state = Arc::clone(state);
    supervisor.spawn("watchdog", move |stop| {
        let state = Arc::clone(&state);
        async move {
            let mut ticks = tokio::time::interval(period);
            let mut is_told = false;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok::<(), Infallible>(()),
                    _ = ticks.tick() => {}
                }
                match state.stuck() {
                    None => tell(&[NotifyState::Watchdog]),
                    Some(what) if !is_told => {
                        tracing::error!("{what}: systemd is told nothing any more, so that it restarts the relay");
                        is_told = true;
                    }
                    Some(_) => {}
                }
            }
        }
    });
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// A reload has begun; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

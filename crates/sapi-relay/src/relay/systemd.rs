//! Owns what systemd is told: ready, stopping, alive. Without systemd all of it is nothing.

use std::convert::Infallible;
use std::time::Duration;

use relay_core::intake::Intake;
use relay_core::supervise::Supervisor;
use sd_notify::NotifyState;

use super::shared::is_live;

/// The journal is recovered and the listeners are bound; nothing is said of 8x8.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Starts telling the watchdog that runtime and intake make progress, if it asked to be told.
pub(super) fn watch(supervisor: &Supervisor, intake: Intake) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    let period = Duration::from_micros(micros) / 2;
    supervisor.spawn("watchdog", move |stop| {
        let intake = intake.clone();
        async move {
            let mut ticks = tokio::time::interval(period);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok::<(), Infallible>(()),
                    _ = ticks.tick() => {}
                }
                if is_live(&intake) {
                    tell(&[NotifyState::Watchdog]);
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

//! Owns SIGHUP: the configuration is read again, sinks and secrets change, everything else stays.

use std::sync::Arc;

use crate::config::{Client, Config, Sink, SinkKind};
use crate::environment;
use crate::failure::Failure;

use super::shared::SharedState;
use super::systemd;

/// Reads the configuration again. If anything is wrong with it, nothing changes.
pub(super) async fn reload(state: &SharedState) {
    systemd::reloading();
    let ok = match try_reload(state).await {
        Ok(()) => {
            tracing::info!("configuration reloaded");
            true
        }
        Err(failure) => {
            tracing::error!("the configuration was not reloaded, the one before stays: {failure}");
            false
        }
    };
    state
        .metrics
        .config_last_reload_successful
        .set(i64::from(ok));
    systemd::ready();
}

async fn try_reload(state: &SharedState) -> Result<(), Failure> {
    let fresh = Config::load(&state.files, &environment())?;
    for warning in &fresh.warnings {
        tracing::warn!("{warning}");
    }
    let old = state.config();
    for section in fresh.fixed_changes(&old) {
        tracing::warn!("[{section}] has changed: that takes effect at the next start");
    }
    let running = state.sinks.configs().await;
    let undo = Undo {
        state,
        running: running.clone(),
    };
    for sink in &fresh.sinks {
        let before = running.iter().find(|other| other.name == sink.name);
        if let Err(failure) = change(state, before, sink).await {
            undo.back().await;
            return Err(failure);
        }
    }
    let gone = running
        .iter()
        .filter(|old| fresh.sinks.iter().all(|sink| sink.name != old.name));
    for sink in gone {
        tracing::info!(
            sink = sink.name,
            "removed; its cursor is kept until retention passes it"
        );
        state.sinks.stop(&sink.name, true).await;
    }
    if old.upstream.token != fresh.upstream.token {
        tracing::info!("the upstream token has changed: it counts from the next connect on");
        old.upstream.token.replace(&fresh.upstream.token);
    }
    state.set_config(running_with(fresh, &old));
    Ok(())
}

/// What runs after a reload: what takes effect at a start only is still what it was.
fn running_with(fresh: Config, old: &Config) -> Config {
    // A token belongs to its address: what is to listen on loopback may have none.
    let admin = if fresh.admin.listen == old.admin.listen {
        fresh.admin
    } else {
        old.admin.clone()
    };
    Config {
        upstream: Arc::clone(&old.upstream),
        admin,
        shutdown_timeout: fresh.shutdown_timeout,
        sinks: fresh.sinks,
        warnings: fresh.warnings,
        ..old.clone()
    }
}

/// Brings one sink to its new configuration.
async fn change(state: &SharedState, before: Option<&Sink>, sink: &Sink) -> Result<(), Failure> {
    let Some(before) = before else {
        tracing::info!(sink = sink.name, "added");
        return state.sinks.start(sink).await;
    };
    // Also where the clients look the same: their token files may hold something else.
    if let Some(clients) = clients_alone(before, sink) {
        return Ok(state.sinks.replace_clients(sink, clients).await?);
    }
    if before == sink {
        return Ok(());
    }
    tracing::info!(sink = sink.name, "changed");
    state.sinks.stop(&sink.name, false).await;
    state.sinks.start(sink).await
}

/// The clients of a listener, if nothing but them has changed.
fn clients_alone<'a>(before: &Sink, sink: &'a Sink) -> Option<&'a [Client]> {
    let (SinkKind::Websocket(old), SinkKind::Websocket(new)) = (&before.kind, &sink.kind) else {
        return None;
    };
    let mut same = new.clone();
    same.clients.clone_from(&old.clients);
    (same == *old).then_some(&new.clients)
}

/// The way back, when a change can't be made whole.
struct Undo<'a> {
    state: &'a SharedState,
    running: Vec<Sink>,
}

impl Undo<'_> {
    async fn back(&self) {
        for sink in &self.state.sinks.configs().await {
            let before = self.running.iter().find(|other| other.name == sink.name);
            if before != Some(sink) {
                self.leave(sink, before).await;
            }
        }
        let left = self.state.sinks.configs().await;
        let is_gone = |before: &&Sink| left.iter().all(|sink| sink.name != before.name);
        for sink in self.running.iter().filter(is_gone) {
            if let Err(failure) = self.state.sinks.start(sink).await {
                tracing::error!(sink = sink.name, "can't be started as it was: {failure}");
            }
        }
    }

    /// Stops what is not as it was; a listener whose clients alone have changed keeps its connections.
    async fn leave(&self, sink: &Sink, before: Option<&Sink>) {
        let sinks = &self.state.sinks;
        let clients = before.and_then(|before| Some((before, clients_alone(sink, before)?)));
        let Some((before, clients)) = clients else {
            return sinks.stop(&sink.name, before.is_none()).await;
        };
        if let Err(error) = sinks.replace_clients(before, clients).await {
            tracing::error!(
                sink = sink.name,
                "its clients can't be as before: {error:#}"
            );
        }
    }
}

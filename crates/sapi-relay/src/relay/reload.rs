//! Owns SIGHUP: the configuration is read again, sinks and secrets change, everything else stays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::{Client, Config, Sink, SinkKind, clash};
use crate::environment;
use crate::failure::Failure;

use super::listener::Bound;
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
    let plan = Plan::make(state, &fresh.sinks).await;
    let bound = plan.rehearse(state).await?;
    if let Err(failure) = plan.carry_out(state, bound).await {
        plan.undo(state).await;
        return Err(failure);
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

/// The clients of a listener, if nothing but them has changed.
fn clients_alone<'a>(before: &Sink, sink: &'a Sink) -> Option<&'a [Client]> {
    let (SinkKind::Websocket(old), SinkKind::Websocket(new)) = (&before.kind, &sink.kind) else {
        return None;
    };
    let mut same = new.clone();
    same.clients.clone_from(&old.clients);
    (same == *old).then_some(&new.clients)
}

/// Whether a sink has a cursor under its name, which holds retention back.
fn delivers(sink: &Sink) -> bool {
    !matches!(sink.kind, SinkKind::Websocket(_))
}

/// What a reload does to the sinks.
struct Plan<'a> {
    /// As they ran before.
    running: Vec<Sink>,
    /// As they are to run, each with what that asks for.
    steps: Vec<(&'a Sink, Step)>,
}

/// What is to be done for one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Stay,
    /// Who may connect is read again; also where that looks the same, for the sake of token files.
    Renew,
    /// It is new.
    Add,
    /// It stops, and starts as it is now.
    Change,
}

impl<'a> Plan<'a> {
    async fn make(state: &SharedState, fresh: &'a [Sink]) -> Self {
        let running = state.sinks.configs().await;
        let mut steps = Vec::with_capacity(fresh.len());
        for sink in fresh {
            let step = match running.iter().find(|other| other.name == sink.name) {
                None => Step::Add,
                Some(before) if clients_alone(before, sink).is_some() => Step::Renew,
                Some(before) if before == sink && !state.sinks.has_other_secrets(sink).await => {
                    Step::Stay
                }
                Some(_) => Step::Change,
            };
            steps.push((sink, step));
        }
        Self { running, steps }
    }

    /// Binds what can be bound beside what runs, and tries the rest of what can fail: nothing has
    /// changed when it returns.
    async fn rehearse(&self, state: &SharedState) -> Result<BTreeMap<&'a str, Bound>, Failure> {
        let addresses = state.sinks.addresses().await;
        let mut bound = BTreeMap::new();
        for (sink, step) in &self.steps {
            let (SinkKind::Websocket(websocket), Step::Add | Step::Change) = (&sink.kind, step)
            else {
                continue;
            };
            let in_the_way = |(name, address): &(String, SocketAddr)| {
                clash(*address, websocket.listen) && self.leaves(name)
            };
            if addresses.iter().any(in_the_way) {
                Bound::rehearse(&state.sinks, &sink.name, websocket).await?;
            } else {
                let listener = Bound::bind(&state.sinks, &sink.name, websocket).await?;
                bound.insert(sink.name.as_str(), listener);
            }
        }
        Ok(bound)
    }

    /// Whether a running sink is stopped.
    fn leaves(&self, name: &str) -> bool {
        let step = self.steps.iter().find(|(sink, _)| sink.name == name);
        step.is_none_or(|(_, step)| *step == Step::Change)
    }

    /// First what can still fail, then what stops, then what starts.
    async fn carry_out(
        &self,
        state: &SharedState,
        mut bound: BTreeMap<&'a str, Bound>,
    ) -> Result<(), Failure> {
        for (sink, step) in &self.steps {
            if let (SinkKind::Websocket(websocket), Step::Renew) = (&sink.kind, step) {
                let clients = &websocket.clients;
                state.sinks.replace_clients(sink, clients).await?;
            }
        }
        let leaving = self.running.iter().filter(|sink| self.leaves(&sink.name));
        // Together: one whose destination does not answer takes its time, and delays no other.
        join_all(leaving.map(|sink| self.stop(state, sink))).await;
        for (sink, step) in &self.steps {
            match step {
                Step::Stay | Step::Renew => continue,
                Step::Add => tracing::info!(sink = sink.name, "added"),
                Step::Change => tracing::info!(sink = sink.name, "changed"),
            }
            let bound = bound.remove(sink.name.as_str());
            state.sinks.start_bound(sink, bound).await?;
        }
        Ok(())
    }

    /// Stops a sink that changes or is no more.
    async fn stop(&self, state: &SharedState, sink: &Sink) {
        let stays = self.steps.iter().any(|(other, _)| other.name == sink.name);
        if !stays {
            tracing::info!(
                sink = sink.name,
                "removed; its cursor is kept until retention passes it"
            );
        }
        let mut steps = self.steps.iter();
        let delivers = steps.any(|(other, _)| other.name == sink.name && delivers(other));
        state.sinks.stop(&sink.name, !delivers, stays).await;
    }

    /// The way back, when a change could not be made whole.
    async fn undo(&self, state: &SharedState) {
        for sink in &state.sinks.configs().await {
            let before = self.running.iter().find(|other| other.name == sink.name);
            if before != Some(sink) {
                leave(state, sink, before).await;
            }
        }
        let left = state.sinks.configs().await;
        let is_gone = |before: &&Sink| left.iter().all(|sink| sink.name != before.name);
        for sink in self.running.iter().filter(is_gone) {
            if let Err(failure) = state.sinks.start(sink).await {
                tracing::error!(sink = sink.name, "can't be started as it was: {failure}");
                state.sinks.stop(&sink.name, false, false).await;
            }
        }
    }
}

/// Stops what is not as it was; a listener whose clients alone have changed keeps its connections.
async fn leave(state: &SharedState, sink: &Sink, before: Option<&Sink>) {
    let clients = before.and_then(|before| Some((before, clients_alone(sink, before)?)));
    let Some((before, clients)) = clients else {
        return state
            .sinks
            .stop(&sink.name, !before.is_some_and(delivers), before.is_some())
            .await;
    };
    if let Err(error) = state.sinks.replace_clients(before, clients).await {
        tracing::error!(
            sink = sink.name,
            "its clients can't be as before: {error:#}"
        );
    }
}

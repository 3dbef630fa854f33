//! All subscriptions of a relay: started one after the other, kept alive, stopped together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use relay_core::Admit;
use relay_core::Metrics;
use relay_core::admit::{DisconnectReason, Disconnected, Gate, Stopped};
use relay_core::status::SubscriptionBoard;
use relay_core::storm::Storm;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::meters::{Meters, TypeLabels};
use crate::path::PathSearch;
use crate::rota::Rota;
use crate::session::{Session, Timing};
use crate::signals::Signals;
use crate::subscription::{Subscription, unix_ms};
use crate::{PathMemory, UpstreamConfig};

/// Between the first attempts of two subscriptions.
const STAGGER: Duration = Duration::from_secs(2);
/// Before a subscription that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(2);

/// What the subscriptions share with the rest of the relay.
#[derive(Clone, Debug)]
pub struct Context {
    /// Closed while the disk is full.
    pub gate: watch::Receiver<Gate>,
    /// One row for each of `subs_ids`; a row that is missing is made and shown nowhere.
    pub boards: Vec<Arc<SubscriptionBoard>>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where the accepted path style is remembered.
    pub path_memory: PathMemory,
    /// Cancelled when the relay stops.
    pub stop: CancellationToken,
}

/// Holds every subscription of `subs_ids` until the relay stops.
///
/// Returns after each socket has been closed cleanly: Close sent, read and admitted until the
/// peer's Close, 5 s at most; and before that, 5 s at most for the answer to a request that was
/// written. `Err` if intake stopped first.
pub async fn run<A: Admit>(
    config: Arc<UpstreamConfig>,
    admit: A,
    context: Context,
) -> Result<(), Stopped> {
    let crew = Crew::new(config, admit, context);
    let mut tasks = JoinSet::new();
    let mut indices: HashMap<Id, usize> = HashMap::new();
    for index in 0..crew.config.subs_ids.len() {
        let turn = STAGGER * u32::try_from(index).unwrap_or(0);
        if let Some(subscription) = crew.subscription(index, turn) {
            indices.insert(tasks.spawn(subscription.run()).id(), index);
        }
    }
    let mut outcome = Ok(());
    let mut panics = Storm::default();
    while let Some(joined) = tasks.join_next_with_id().await {
        match joined {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(stopped))) => {
                outcome = Err(stopped);
                crew.stop.cancel();
            }
            Err(failed) => {
                let Some(index) = indices.remove(&failed.id()) else {
                    continue;
                };
                if let Some(subscription) = crew.revive(index, panics.strike()).await? {
                    indices.insert(tasks.spawn(subscription.run()).id(), index);
                }
            }
        }
    }
    outcome
}

/// Holds one subscription, of any id, for `tail --direct`: no gate, no board, metrics of its own.
///
/// Returns as [`run`] does.
pub async fn direct<A: Admit>(
    config: Arc<UpstreamConfig>,
    subs_id: Arc<str>,
    admit: A,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    // It fails for names that clash, and these are constant.
    let Ok(metrics) = Metrics::new() else {
        return Err(Stopped);
    };
    let mut config = (*config).clone();
    config.subs_ids = vec![subs_id];
    let (_keeps_open, gate) = watch::channel(Gate::Open);
    let context = Context {
        gate,
        boards: vec![],
        metrics: Arc::new(metrics),
        path_memory: PathMemory::none(),
        stop,
    };
    run(Arc::new(config), admit, context).await
}

/// What every subscription is made from.
struct Crew<A> {
    config: Arc<UpstreamConfig>,
    admit: A,
    context: Context,
    boards: Vec<Arc<SubscriptionBoard>>,
    labels: Arc<TypeLabels>,
    rota: Arc<Mutex<Rota>>,
    start: Instant,
    stop: CancellationToken,
}

impl<A: Admit> Crew<A> {
    fn new(config: Arc<UpstreamConfig>, admit: A, context: Context) -> Self {
        let boards = config.subs_ids.iter().map(|id| {
            let mut given = context.boards.iter();
            let board = given.find(|board| board.snapshot().id == *id);
            board.map_or_else(|| SubscriptionBoard::new(Arc::clone(id)), Arc::clone)
        });
        Self {
            boards: boards.collect(),
            labels: Arc::default(),
            rota: Arc::new(Mutex::new(Rota::new(
                config.session_length,
                config.subs_ids.len(),
            ))),
            start: Instant::now(),
            stop: context.stop.child_token(),
            config,
            admit,
            context,
        }
    }

    fn subscription(&self, index: usize, turn: Duration) -> Option<Subscription<A>> {
        let id = self.config.subs_ids.get(index)?;
        let timing = Timing {
            silence: self.config.silence_timeout,
            session_length: self.config.session_length,
            backoffs: self.config.backoff,
        };
        let mut gate = self.context.gate.clone();
        let is_open = *gate.borrow_and_update();
        let memory = self.context.path_memory.clone();
        Some(Subscription {
            id: Arc::clone(id),
            index,
            config: Arc::clone(&self.config),
            admit: self.admit.clone(),
            session: Session::new(timing, turn, is_open, rand::random()),
            path: PathSearch::new(self.config.path_style, memory),
            meters: Meters::new(id, &self.context.metrics, &self.labels),
            board: Arc::clone(self.boards.get(index)?),
            rota: Arc::clone(&self.rota),
            signals: Signals {
                start: self.start,
                gate,
                stop: self.stop.clone(),
                token_seen: None,
                is_stopping: false,
                is_gate_gone: false,
            },
            link: None,
            opened_at: Duration::ZERO,
            connects: Storm::default(),
            is_told: false,
        })
    }

    /// A subscription has panicked: its connection is gone, which is said, and another takes its place.
    /// `times`: how often now, if that is worth a line.
    async fn revive(
        &self,
        index: usize,
        times: Option<u64>,
    ) -> Result<Option<Subscription<A>>, Stopped> {
        let turn = self.start.elapsed() + AFTER_PANIC;
        let Some(subscription) = self.subscription(index, turn) else {
            return Ok(None);
        };
        let id = &subscription.id;
        if let Some(times) = times {
            error!(subscription = %id, times, "a subscription panicked and is started again");
        }
        let labels = &["upstream", "panic"];
        self.context
            .metrics
            .task_restarts_total
            .with_label_values(labels)
            .inc();
        if subscription.meters.is_connected() {
            subscription.meters.disconnected(DisconnectReason::Network);
            let ended = Disconnected {
                subscription: Arc::clone(id),
                at_ms: unix_ms(),
                reason: DisconnectReason::Network,
                detail: "the relay's task panicked".to_owned(),
            };
            self.admit.disconnected(ended).await?;
        }
        Ok((!self.stop.is_cancelled()).then_some(subscription))
    }
}

#[cfg(test)]
mod tests;

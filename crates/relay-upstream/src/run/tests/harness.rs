//! A run of subscriptions, and all that surrounds it.

use std::sync::Arc;
use std::time::Duration;

use relay_core::Metrics;
use relay_core::admit::{Gate, Stopped};
use relay_core::status::{SubscriptionBoard, SubscriptionState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::peer::{Peer, Recorder, Told, soon};
use crate::{Bounds, Context, PathMemory, Secret, UpstreamConfig, run};

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Everything at once, so that a test waits for nothing.
pub(super) fn config(url: &str) -> UpstreamConfig {
    let token = Secret::literal(TOKEN);
    let mut config = UpstreamConfig::new(url.parse().unwrap(), "acmecorp01", token, &["relay_a"]);
    let at_once = Bounds {
        min: Duration::from_millis(1),
        max: Duration::from_millis(2),
    };
    config.backoff.network = at_once;
    config.backoff.auth = at_once;
    config.backoff.quota = at_once;
    config
}

/// A run, and all that surrounds it.
pub(super) struct Relay {
    pub(super) recorder: Recorder,
    pub(super) gate: watch::Sender<Gate>,
    pub(super) boards: Vec<Arc<SubscriptionBoard>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<Result<(), Stopped>>,
}

impl Relay {
    pub(super) fn start(config: UpstreamConfig) -> Self {
        Self::remembering(config, PathMemory::none())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own task, awaited in `stopped`"
    )]
    pub(super) fn remembering(config: UpstreamConfig, path_memory: PathMemory) -> Self {
        let recorder = Recorder::new();
        let (gate, gate_seen) = watch::channel(Gate::Open);
        let ids = config.subs_ids.iter();
        let boards: Vec<_> = ids
            .map(|id| SubscriptionBoard::new(Arc::clone(id)))
            .collect();
        let metrics = Arc::new(Metrics::new().unwrap());
        let stop = CancellationToken::new();
        let context = Context {
            gate: gate_seen,
            boards: boards.clone(),
            metrics: Arc::clone(&metrics),
            path_memory,
            stop: stop.clone(),
        };
        let task = tokio::spawn(run(Arc::new(config), recorder.clone(), context));
        Self {
            recorder,
            gate,
            boards,
            metrics,
            stop,
            task,
        }
    }

    pub(super) fn state(&self) -> SubscriptionState {
        self.boards[0].snapshot().state
    }

    pub(super) async fn stopped(self) -> Vec<Told> {
        self.stop.cancel();
        soon(self.task).await.unwrap().unwrap();
        self.recorder.told()
    }
}

pub(super) async fn start() -> (Peer, Relay) {
    let peer = Peer::bind().await;
    let relay = Relay::start(config(&format!("ws://{}", peer.address())));
    (peer, relay)
}

pub(super) fn event(n: usize) -> String {
    format!("{{\"AgentStatusChange\":{{\"agentId\":\"a{n}\"}}}}")
}

pub(super) fn document(n: usize) -> Told {
    Told::Document(event(n))
}

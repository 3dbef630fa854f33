//! How rounds come from the sink to the collector, which can wait for one that is just being handed over. It
//! knows no broker.

use std::sync::Arc;

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::confirms::Round;

/// Rounds that wait for the collector, which takes them at once.
const ROUNDS: usize = 16;

/// A way for rounds.
pub(super) fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(ROUNDS);
    let turn = Arc::new(Mutex::new(()));
    let sender = Sender {
        rounds: sender,
        turn: Arc::clone(&turn),
    };
    let receiver = Receiver {
        rounds: receiver,
        turn,
    };
    (sender, receiver)
}

/// The sink's end.
#[derive(Debug)]
pub(super) struct Sender {
    rounds: mpsc::Sender<Round>,
    turn: Arc<Mutex<()>>,
}

impl Sender {
    /// Begins to hand a round over, before the first of its events is published. `None`: nobody takes it.
    pub(super) async fn begin(&self) -> Option<HandOver> {
        let place = self.rounds.clone().reserve_owned().await.ok()?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        Some(HandOver { place, _turn: turn })
    }
}

/// A round that is being handed over: events are on their way that the collector does not know yet, and may
/// have to wait for. So nothing is awaited while it lives.
pub(super) struct HandOver {
    place: OwnedPermit<Round>,
    _turn: OwnedMutexGuard<()>,
}

impl HandOver {
    /// Hands the round over.
    pub(super) fn finish(self, round: Round) {
        self.place.send(round);
    }
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Receiver {
    rounds: mpsc::Receiver<Round>,
    turn: Arc<Mutex<()>>,
}

impl Receiver {
    /// The next round. `None`: there will be none.
    pub(super) async fn next(&mut self) -> Option<Round> {
        self.rounds.recv().await
    }

    /// Every round whose hand-over has begun.
    pub(super) async fn begun(&mut self) -> Vec<Round> {
        drop(self.turn.lock().await);
        std::iter::from_fn(|| self.rounds.try_recv().ok()).collect()
    }
}

//! The simulator's ledger against what was delivered: each event once, bytes identical, in order.

use bytes::Bytes;
use sapi_sim::{Kind, Simulator};

use crate::client::{StreamEvent, history};
use crate::relay::offset;
use crate::{Relay, until};

/// The events that the simulator really emitted, in order.
pub fn emitted(simulator: &Simulator) -> Vec<Bytes> {
    let ledger = simulator.ledger().into_iter();
    ledger
        .filter(|entry| entry.kind == Kind::Event)
        .map(|entry| entry.bytes)
        .collect()
}

/// Everything the relay has, notices left out, once it has at least `count` events.
pub async fn recorded(relay: &Relay, count: usize) -> Vec<StreamEvent> {
    let count = u64::try_from(count).expect("a count");
    relay
        .status_where("the relay to have every event", |status| {
            offset(&status["journal"]["last"]) >= count
        })
        .await;
    let url = relay.downstream("/v1/history").await;
    until("every event in the history", || async {
        let events = history(&url)
            .await
            .into_iter()
            .filter(|event| !event.is_notice());
        Some(events.collect::<Vec<_>>()).filter(|events| events.len() as u64 >= count)
    })
    .await
}

/// Asserts that what was delivered is what was emitted: each once, bytes identical, in order.
///
/// # Panics
/// At the first difference, which it shows.
pub fn assert_same(delivered: &[StreamEvent], emitted: &[Bytes]) {
    for (place, (have, want)) in delivered.iter().zip(emitted).enumerate() {
        let want = String::from_utf8_lossy(want);
        assert_eq!(have.data.get(), want, "event {place} of {}", emitted.len());
    }
    assert_eq!(delivered.len(), emitted.len(), "as many as were emitted");
}

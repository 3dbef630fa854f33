//! The worker: the contract suite on the fake peer, then what only the worker decides.

mod again;
mod decides;
mod lost;
mod waits;

use std::time::Duration;

use crate::contract::{FakePeer, Peer, Relay};

crate::sink_contract!(FakePeer::default());

async fn seen(peer: &FakePeer) -> Vec<u64> {
    peer.seen().await.iter().map(|seen| seen.number).collect()
}

/// Waits for a notice of a kind; returns how many of it the journal holds then.
async fn noticed(relay: &Relay, kind: &str) -> usize {
    let mut reader = relay.core.bus.reader_after(crate::Offset(0));
    let limit = crate::Limit {
        events: 1000,
        bytes: 1 << 20,
    };
    let mut found = 0;
    while found == 0 || !reader.at_tail() {
        let read = tokio::time::timeout(Duration::from_secs(30), reader.next_batch(limit)).await;
        let Ok(batch) = read.expect("the notice never came") else {
            continue;
        };
        let notices = batch
            .events()
            .filter(|event| event.kind() == crate::Kind::Notice);
        found += notices
            .filter(|event| event.head().event_type == kind)
            .count();
    }
    found
}

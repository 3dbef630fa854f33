//! The checks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Fault, Peer, Relay, Seen};
use crate::From;
use crate::status::SinkState;
use crate::worker::SinkHandle;

/// No check takes longer; a hang fails rather than waits.
const LIMIT: Duration = Duration::from_mins(1);

async fn within<T>(check: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, check).await.unwrap()
}

fn numbers(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.number).collect()
}

/// Every number is there, and per key the last thing seen of each event is in order.
fn assert_complete_and_ordered(seen: &[Seen], numbers: &[u64]) {
    let last: HashMap<u64, usize> = seen
        .iter()
        .enumerate()
        .map(|(at, seen)| (seen.number, at))
        .collect();
    let missing: Vec<_> = numbers
        .iter()
        .filter(|number| !last.contains_key(number))
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    let mut by_key: HashMap<&str, Vec<(u64, usize)>> = HashMap::new();
    let distinct: HashSet<(u64, &str)> = seen
        .iter()
        .map(|seen| (seen.number, seen.key.as_str()))
        .collect();
    for (number, key) in distinct {
        by_key
            .entry(key)
            .or_default()
            .extend(last.get(&number).map(|at| (number, *at)));
    }
    for (key, mut events) in by_key {
        events.sort_unstable();
        assert!(
            events.is_sorted_by_key(|(_, at)| *at),
            "key {key} is out of order: {events:?}"
        );
    }
}

async fn state(sink: &SinkHandle, state: SinkState) {
    sink.wait_for(|status| status.state == state).await;
}

/// Events reach the peer once, in order, and the cursor passes them.
pub async fn confirms_and_does_not_repeat<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let sent = relay.commit_many(100).await;
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
        let status = sink.status();
        assert_eq!((status.lag_events, status.state), (0, SinkState::Running));
        assert_eq!(
            relay
                .metrics
                .sink_delivered_total
                .with_label_values(&[super::relay::SINK])
                .get(),
            100
        );
    })
    .await;
}

/// Total order, whatever the batches.
pub async fn keeps_the_order<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let mut sent = relay.commit_many(40).await;
        let sink = relay.start(&peer);
        for _ in 0..10 {
            sent.extend(relay.commit(&["ada", "ben"]).await);
        }
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// A sink that is far behind is served from disk, then from memory, without a seam.
pub async fn crosses_from_disk_to_memory<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let mut sent = relay.commit_many(600).await;
        assert!(
            relay.core.bus.memory_first().0 > 1,
            "the beginning has left memory"
        );
        let sink = relay.start(&peer);
        sent.extend(relay.commit_many(50).await);
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// A peer that was away gets everything, and nothing again that it had confirmed.
pub async fn redelivers_after_an_absence<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let mut sent = relay.commit_many(20).await;
        relay.settled(&sink).await;
        if !peer.inject(Fault::Away).await {
            return;
        }
        sent.extend(relay.commit_many(40).await);
        state(&sink, SinkState::Retrying).await;
        assert!(sink.status().last_error.is_some());
        assert!(sink.status().lag_events > 0);
        peer.mend().await;
        relay.settled(&sink).await;
        state(&sink, SinkState::Running).await;
        let seen = peer.seen().await;
        assert_complete_and_ordered(&seen, &sent);
        let first = sent
            .iter()
            .take(20)
            .filter(|number| numbers(&seen).iter().filter(|seen| seen == number).count() > 1);
        assert_eq!(
            first.count(),
            0,
            "what was confirmed before is not repeated"
        );
    })
    .await;
}

/// What the peer refuses for good becomes a dead letter before the cursor passes it.
pub async fn goes_on_behind_poison<P: Peer>(peer: P) {
    within(async {
        if !peer.inject(Fault::Poison).await {
            return;
        }
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let sent = relay
            .commit(&["ada", "poison", "ben", "poison", "ada"])
            .await;
        relay.settled(&sink).await;
        let seen = numbers(&peer.seen().await);
        let wanted: Vec<_> = [0, 2, 4]
            .iter()
            .filter_map(|index| sent.get(*index).copied())
            .collect();
        assert_eq!(seen, wanted);
        let letters = relay
            .core
            .dead_letters
            .list(Some(super::relay::SINK), None, 10)
            .await
            .unwrap();
        assert_eq!(letters.items.len(), 2);
        for letter in &letters.items {
            assert!(!letter.reason.is_empty() && letter.cursor.is_some() && !letter.truncated);
            assert!(String::from_utf8_lossy(&letter.bytes).contains("poison"));
        }
    })
    .await;
}

/// A cause that waiting does not cure is said with its remedy; the peer is tried again all the same.
pub async fn stops_when_blocked_and_goes_on<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        if !peer.inject(Fault::Blocked).await {
            return;
        }
        let sink = relay.start(&peer);
        let sent = relay.commit_many(20).await;
        state(&sink, SinkState::Blocked).await;
        let error = sink.status().last_error.unwrap();
        assert!(
            !error.text.is_empty() && !error.remedy.is_empty(),
            "{error:?}"
        );
        peer.mend().await;
        sink.resume().await.unwrap();
        relay.settled(&sink).await;
        state(&sink, SinkState::Running).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// Back-pressure: a peer that takes nothing costs disk, not memory, and nothing is lost.
pub async fn bears_a_peer_that_is_slow<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        if !peer.inject(Fault::Hang).await {
            return;
        }
        let sink = relay.start(&peer);
        let sent = relay.commit_many(1000).await;
        assert!(sink.status().lag_events > 900);
        assert!(
            relay.core.bus.memory_bytes() < 400 << 10,
            "{}",
            relay.core.bus.memory_bytes()
        );
        peer.mend().await;
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// The cursor waits for the oldest, whatever comes first.
pub async fn bears_late_confirmations_out_of_order<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        if !peer.inject(Fault::Reversed).await {
            return;
        }
        let sink = relay.start(&peer);
        let sent = relay.commit_many(30).await;
        while peer.seen().await.len() < 30 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sink.status().cursor.offset.0, 0);
        peer.mend().await;
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent, "each once");
    })
    .await;
}

/// A confirmed event is not sent again because its neighbour was not, unless order asks for it.
pub async fn repeats_only_what_was_not_confirmed<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        if !peer.inject(Fault::Partly).await {
            return;
        }
        let sink = relay.start(&peer);
        let keys: Vec<String> = (0..60).map(|key| format!("key{key}")).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let mut sent = relay.commit(&keys).await;
        relay.settled(&sink).await;
        let mut seen = numbers(&peer.seen().await);
        seen.sort_unstable();
        assert_eq!(seen, sent, "with a key each, each is taken once");
        sent.extend(relay.commit_many(60).await);
        relay.settled(&sink).await;
        assert_complete_and_ordered(&peer.seen().await, &sent);
    })
    .await;
}

/// A seek is durable when it answers, and delivers again from there.
pub async fn seeks<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let sent = relay.commit_many(30).await;
        relay.settled(&sink).await;
        let middle = relay
            .core
            .bus
            .cursor(crate::Offset(relay.core.bus.last().0 - 10));
        assert_eq!(sink.seek(From::After(middle)).await, Ok(middle));
        relay.settled(&sink).await;
        let again: Vec<_> = sent.iter().chain(sent.iter().skip(20)).copied().collect();
        assert_eq!(numbers(&peer.seen().await), again);
        sink.pause().await.unwrap();
        let sought = sink.seek(From::Earliest).await.unwrap();
        assert_eq!(
            sink.status().state,
            SinkState::Paused,
            "a paused sink stays paused"
        );
        let relay = relay.restart().await;
        assert_eq!(relay.core.store.cursor(super::relay::SINK), Some(sought));
    })
    .await;
}

/// A pause survives a restart; nothing is lost by it.
pub async fn pauses_across_a_restart<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let mut sent = relay.commit_many(10).await;
        relay.settled(&sink).await;
        sink.pause().await.unwrap();
        sent.extend(relay.commit_many(10).await);
        let relay = relay.restart().await;
        let sink = relay.start(&peer);
        state(&sink, SinkState::Paused).await;
        sent.extend(relay.commit_many(10).await);
        assert_eq!(peer.seen().await.len(), 10);
        sink.resume().await.unwrap();
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// After a restart delivery goes on where it was.
pub async fn goes_on_from_its_cursor<P: Peer>(peer: P) {
    within(async {
        let mut relay = Relay::new();
        let mut sent = Vec::new();
        for _ in 0..3 {
            let sink = relay.start(&peer);
            sent.extend(relay.commit_many(12).await);
            relay.settled(&sink).await;
            sent.extend(relay.commit_many(3).await);
            relay = relay.restart().await;
        }
        let sink = relay.start(&peer);
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent);
    })
    .await;
}

/// A stop waits for what is under way, then closes.
pub async fn stops_cleanly<P: Peer>(peer: P) {
    within(async {
        let relay = Relay::new();
        let sink = relay.start(&peer);
        let sent = relay.commit_many(200).await;
        sink.stop().await;
        let seen = numbers(&peer.seen().await);
        assert_eq!(
            seen.as_slice(),
            sent.get(..seen.len()).unwrap(),
            "a prefix, each once"
        );
        let confirmed = sink.status().cursor.offset;
        assert!(sink.pause().await.is_err(), "nobody is there any more");
        let sink = relay.start(&peer);
        relay.settled(&sink).await;
        assert_eq!(numbers(&peer.seen().await), sent, "from {confirmed} on");
    })
    .await;
}

/// A crash repeats at most what was not yet known to be confirmed; nothing is lost.
pub async fn survives_a_crash<P: Peer>(peer: P) {
    within(async {
        let mut relay = Relay::new();
        let mut sent = Vec::new();
        for _ in 0..5 {
            let sink = relay.start(&peer);
            sent.extend(relay.commit_many(40).await);
            sink.wait_for(|status| status.cursor.offset.0 > 0).await;
            relay = relay.crash().await;
        }
        let sink = relay.start(&peer);
        relay.settled(&sink).await;
        assert_complete_and_ordered(&peer.seen().await, &sent);
    })
    .await;
}

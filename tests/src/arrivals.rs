//! What reached a consumer, and when: one log for every kind of destination, and what must hold of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::watch;

/// One event as a consumer received it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Its place in the journal, of the extension `sequence`.
    pub offset: u64,
    /// Its `id`.
    pub id: String,
    /// Its `partitionkey`.
    pub key: String,
}

impl Arrival {
    /// An event that arrives now, from its CloudEvents attributes as headers.
    ///
    /// # Panics
    /// If an attribute is missing.
    pub fn now(attribute: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| attribute(name).unwrap_or_else(|| panic!("no attribute {name}"));
        Self {
            at: Instant::now(),
            offset: read("sequence").parse().expect("sequence is a number"),
            id: read("id"),
            key: read("partitionkey"),
        }
    }

    /// An event that arrives now as CloudEvents JSON; `None`: it is a notice, or no event.
    pub fn structured(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Attributes {
            id: String,
            r#type: String,
            sequence: String,
            partitionkey: String,
        }
        let event: Attributes = serde_json::from_slice(text).ok()?;
        if event.r#type.starts_with("io.sapi-relay.notice.") {
            return None;
        }
        Some(Self {
            at: Instant::now(),
            offset: event.sequence.parse().ok()?,
            id: event.id,
            key: event.partitionkey,
        })
    }
}

/// The log of one consumer. Clones share it.
#[derive(Clone, Debug)]
pub struct Arrivals {
    name: &'static str,
    log: Arc<Mutex<Vec<Arrival>>>,
    distinct: Arc<watch::Sender<BTreeMap<u64, u32>>>,
}

impl Arrivals {
    /// An empty log; `name` says whose.
    pub fn of(name: &'static str) -> Self {
        let (log, distinct) = (Arc::default(), Arc::new(watch::Sender::default()));
        Self {
            name,
            log,
            distinct,
        }
    }

    /// Whose it is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If another user of the log panicked.
    pub fn push(&self, arrival: Arrival) {
        let offset = arrival.offset;
        self.log.lock().expect("no user panicked").push(arrival);
        self.distinct
            .send_modify(|seen| *seen.entry(offset).or_default() += 1);
    }

    /// The log so far.
    ///
    /// # Panics
    /// If another user of the log panicked.
    pub fn all(&self) -> Vec<Arrival> {
        self.log.lock().expect("no user panicked").clone()
    }

    /// Whether the event at an offset has arrived.
    pub fn has(&self, offset: u64) -> bool {
        self.distinct.borrow().contains_key(&offset)
    }

    /// How many different events have arrived.
    pub fn count(&self) -> usize {
        self.distinct.borrow().len()
    }

    /// How many arrivals repeat an earlier one.
    pub fn repeated(&self) -> usize {
        self.all().len() - self.count()
    }

    /// Waits for so many different events, without end.
    pub async fn reach(&self, count: usize) {
        let mut distinct = self.distinct.subscribe();
        let reached = distinct.wait_for(|seen| seen.len() >= count).await;
        drop(reached);
    }

    /// The longest time without an event between two instants.
    pub fn longest_gap(&self, from: Instant, until: Instant) -> Duration {
        let log = self.log.lock().expect("no user panicked");
        let inside = log.iter().map(|arrival| arrival.at);
        let inside = inside.filter(|at| (from..=until).contains(at));
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in inside.chain([until]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }

    /// Asserts that every event of the journal arrived, under the same id each time, and in order per
    /// key: a repetition may follow, but a key's last arrival is its last event.
    ///
    /// # Panics
    /// At the first difference.
    pub fn assert_complete(&self, expected: &BTreeMap<u64, String>) {
        let name = self.name;
        let log = self.all();
        let mut first: HashMap<&str, u64> = HashMap::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        let mut seen = BTreeMap::new();
        for Arrival {
            offset, id, key, ..
        } in &log
        {
            let want = expected.get(offset);
            assert_eq!(want, Some(id), "{name}: the id of the event at {offset}");
            if seen.insert(*offset, ()).is_none() {
                let before = first.insert(key, *offset).unwrap_or(0);
                assert!(before < *offset, "{name}: {key}: {offset} after {before}");
            }
            last.insert(key, *offset);
        }
        let missing: Vec<_> = expected
            .keys()
            .filter(|at| !seen.contains_key(at))
            .collect();
        assert!(
            missing.is_empty(),
            "{name}: {} of {} events are missing, the first {:?}",
            missing.len(),
            expected.len(),
            missing.first()
        );
        for (key, at) in &last {
            assert_eq!(
                first.get(key),
                Some(at),
                "{name}: the last arrival of {key}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[(u64, &str, &str)]) -> Arrivals {
        let log = Arrivals::of("test");
        for (offset, id, key) in events {
            log.push(Arrival {
                at: Instant::now(),
                offset: *offset,
                id: (*id).to_owned(),
                key: (*key).to_owned(),
            });
        }
        log
    }

    fn expected() -> BTreeMap<u64, String> {
        [(1, "a"), (2, "b"), (3, "c")]
            .map(|(offset, id)| (offset, id.to_owned()))
            .into()
    }

    #[test]
    fn a_suffix_may_repeat() {
        let log = log(&[
            (1, "a", "k"),
            (2, "b", "k"),
            (1, "a", "k"),
            (2, "b", "k"),
            (3, "c", "k"),
        ]);
        log.assert_complete(&expected());
        assert_eq!((log.count(), log.repeated()), (3, 2));
    }

    #[test]
    #[should_panic(expected = "1 of 3 events are missing")]
    fn a_missing_event_is_found() {
        log(&[(1, "a", "k"), (3, "c", "k")]).assert_complete(&expected());
    }

    #[test]
    #[should_panic(expected = "2 after 3")]
    fn an_event_before_its_predecessor_is_found() {
        log(&[(1, "a", "k"), (3, "c", "k"), (2, "b", "k")]).assert_complete(&expected());
    }

    #[test]
    #[should_panic(expected = "the last arrival of k")]
    fn a_repetition_that_is_not_followed_up_is_found() {
        log(&[(1, "a", "k"), (2, "b", "k"), (3, "c", "k"), (1, "a", "k")])
            .assert_complete(&expected());
    }

    #[test]
    #[should_panic(expected = "the id of the event at 2")]
    fn a_changed_id_is_found() {
        log(&[(1, "a", "k"), (2, "x", "k"), (3, "c", "k")]).assert_complete(&expected());
    }
}

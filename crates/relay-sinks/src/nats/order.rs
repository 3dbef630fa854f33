//! Order per key in a stream that stores an id once. Pure, save for whose turn it is.
//!
//! When an event was not stored but a later one of its key was, the worker sends both again, in order; the
//! stream stores the first, and calls the second a duplicate: it stays where it is, before the
//! first. The acknowledgement shows it, since it holds the sequence at which the stream has the event.
//! Such an event is published once more under another `Nats-Msg-Id`, made of its own and of the sequence
//! that it has to follow, so that the last thing a consumer sees of a key is the last that happened. The same
//! repair, tried again, is a duplicate of itself.
//!
//! Accepted limit: what was stored is remembered while the relay runs. A crash between the storing of the
//! first and the repair of the second, with the cursor already between them, leaves them as they are.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use relay_core::Offset;
use tokio::sync::oneshot;

/// Keys remembered. Only what is under way at once can be out of order, which is far less.
const KEYS: usize = 1 << 16;

/// Where the stream has the latest event of each key.
#[derive(Debug, Default)]
pub(super) struct Order {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latest: HashMap<u64, Stored>,
    /// Acknowledgements so far.
    acks: u64,
    /// Which stream the sequences are of.
    stream: Option<String>,
    /// Done when the batch that entered last is.
    last: Option<oneshot::Receiver<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    offset: Offset,
    sequence: u64,
    /// The acknowledgement's number, by age.
    ack: u64,
}

/// A batch's place in line: its end is the next one's turn.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

/// An event that was acknowledged, or that was not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    pub(super) key: u64,
    pub(super) offset: Offset,
    /// The stream's sequence; `None`: it is to be delivered again.
    pub(super) sequence: Option<u64>,
}

/// An event that the stream has before an earlier one of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    /// Its place in the batch.
    pub(super) index: usize,
    /// The sequence that it has to follow.
    pub(super) after: u64,
}

impl Order {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a key here.
    pub(super) fn key(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    /// A batch is handed over.
    pub(super) fn enter(&self) -> Turn {
        let (done, last) = oneshot::channel();
        let before = self.state().last.replace(last);
        Turn {
            before,
            _done: done,
        }
    }

    /// A stream is connected to: another one, or one made anew, counts from the beginning.
    pub(super) fn of(&self, stream: &str) {
        let mut state = self.state();
        if state.stream.as_deref() != Some(stream) {
            state.stream = Some(stream.to_owned());
            state.latest.clear();
        }
    }

    /// Forgets what was stored.
    pub(super) fn forget(&self) {
        self.state().latest.clear();
    }

    /// Takes a batch in, in the order of its events; returns which of them are misplaced. Those of a key
    /// with an event that is to be delivered again will be as well, and are left alone.
    pub(super) fn place(&self, batch: impl Iterator<Item = (usize, Acked)>) -> Vec<Misplaced> {
        let mut state = self.state();
        let (mut open, mut moved) = (HashSet::new(), HashSet::new());
        let mut misplaced = Vec::new();
        for (index, acked) in batch {
            let Some(sequence) = acked.sequence else {
                open.insert(acked.key);
                continue;
            };
            if open.contains(&acked.key) {
                continue;
            }
            let before = state.latest.get(&acked.key);
            let before = before.filter(|before| before.offset < acked.offset);
            let follows = before.filter(|before| {
                // What follows a moved one has to follow it at its new place.
                sequence < before.sequence || moved.contains(&acked.key)
            });
            if let Some(after) = follows.map(|before| before.sequence) {
                moved.insert(acked.key);
                misplaced.push(Misplaced { index, after });
            } else {
                state.put(acked.key, acked.offset, sequence);
            }
        }
        misplaced
    }

    /// A misplaced event has been stored again.
    pub(super) fn moved(&self, key: u64, offset: Offset, sequence: u64) {
        self.state().put(key, offset, sequence);
    }
}

impl State {
    fn put(&mut self, key: u64, offset: Offset, sequence: u64) {
        self.acks += 1;
        let stored = Stored {
            offset,
            sequence,
            ack: self.acks,
        };
        match self.latest.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.insert(stored);
            }
            Entry::Vacant(entry) => {
                entry.insert(stored);
                if self.latest.len() > KEYS {
                    let young = self.acks.saturating_sub(KEYS as u64 / 2);
                    self.latest.retain(|_, stored| stored.ack > young);
                }
            }
        }
    }
}

impl Turn {
    /// Returns when the batches before this one are done, or were dropped.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            before.await.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(key: u64, offset: u64, sequence: impl Into<Option<u64>>) -> Acked {
        Acked {
            key,
            offset: Offset(offset),
            sequence: sequence.into(),
        }
    }

    fn place<const N: usize>(order: &Order, batch: [Acked; N]) -> Vec<(usize, u64)> {
        let misplaced = order.place(batch.into_iter().enumerate()).into_iter();
        misplaced.map(|one| (one.index, one.after)).collect()
    }

    #[test]
    fn what_comes_in_order_is_in_place() {
        let order = Order::default();
        assert_eq!(place(&order, [acked(1, 1, 10), acked(2, 2, 11)]), []);
        assert_eq!(place(&order, [acked(1, 3, 12), acked(2, 4, 14)]), []);
        // After a restart of the relay, or a seek: the same again, with the same sequences.
        assert_eq!(place(&order, [acked(1, 1, 10), acked(1, 3, 12)]), []);
    }

    #[test]
    fn a_later_event_that_is_stored_earlier_is_misplaced_and_so_is_what_follows_it() {
        let order = Order::default();
        // 5 and 7 fail, 6 (of another key) and 8 are stored.
        let first = [
            acked(1, 5, None),
            acked(2, 6, 50),
            acked(1, 7, None),
            acked(1, 8, 51),
        ];
        assert_eq!(place(&order, first), [], "they come again first");
        let again = [
            acked(1, 5, 52),
            acked(1, 7, 53),
            acked(1, 8, 51),
            acked(1, 9, 54),
        ];
        assert_eq!(place(&order, again), [(2, 53), (3, 53)]);
        order.moved(1, Offset(8), 60);
        order.moved(1, Offset(9), 61);
        // 10 was under way before 8 and 9 were repaired.
        assert_eq!(
            place(&order, [acked(1, 10, 55), acked(2, 11, 56)]),
            [(0, 61)]
        );
    }

    #[test]
    fn a_stream_made_anew_counts_from_the_beginning() {
        let order = Order::default();
        order.of("one");
        assert_eq!(place(&order, [acked(1, 5, 500)]), []);
        order.of("one");
        assert_eq!(place(&order, [acked(1, 6, 400)]), [(0, 500)]);
        order.of("two");
        assert_eq!(place(&order, [acked(1, 7, 1)]), []);
    }

    #[test]
    fn old_keys_are_forgotten() {
        let order = Order::default();
        for at in 1..=2 * KEYS as u64 {
            place(&order, [acked(at, at, at)]);
        }
        assert!(order.state().latest.len() <= KEYS);
        let last = 2 * KEYS as u64;
        assert_eq!(place(&order, [acked(last, last + 1, 3)]), [(0, last)]);
    }

    #[tokio::test]
    async fn each_batch_waits_for_the_one_before() {
        let order = Order::default();
        let (first, mut second) = (order.enter(), order.enter());
        let mut coming = Box::pin(second.come());
        assert!(futures_util::poll!(&mut coming).is_pending());
        drop(first);
        coming.await;
        drop(second);
        order.enter().come().await;
    }
}

//! What may be sent now: calls in the order they came, never two of one key at once. Plain bookkeeping,
//! without time or I/O.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// A hash of an event's key. Two keys that share one wait for each other, no more.
pub(super) type Key = u64;

/// The name of a call.
pub(super) type CallId = u64;

#[derive(Debug)]
struct Call<T> {
    keys: Vec<Key>,
    /// Keys of it that an earlier call has.
    blockers: usize,
    /// `None` while it is sent.
    work: Option<T>,
}

/// Calls that wait, and calls that are sent.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    /// Each key's calls, the first of which may be sent, or is.
    queues: HashMap<Key, VecDeque<CallId>>,
    calls: HashMap<CallId, Call<T>>,
    /// The oldest first: the cursor waits for it.
    ready: BTreeSet<CallId>,
    next: CallId,
    sent: usize,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            calls: HashMap::new(),
            ready: BTreeSet::new(),
            next: 0,
            sent: 0,
        }
    }

    /// A call, behind all that came before.
    pub(super) fn push(&mut self, mut keys: Vec<Key>, work: T) {
        keys.sort_unstable();
        keys.dedup();
        let id = self.next;
        self.next += 1;
        let mut blockers = 0;
        for key in &keys {
            let queue = self.queues.entry(*key).or_default();
            blockers += usize::from(!queue.is_empty());
            queue.push_back(id);
        }
        if blockers == 0 {
            self.ready.insert(id);
        }
        let work = Some(work);
        self.calls.insert(
            id,
            Call {
                keys,
                blockers,
                work,
            },
        );
    }

    /// The next call to send, the oldest first.
    pub(super) fn take(&mut self) -> Option<(CallId, T)> {
        while let Some(id) = self.ready.pop_first() {
            let work = self.calls.get_mut(&id).and_then(|call| call.work.take());
            if let Some(work) = work {
                self.sent += 1;
                return Some((id, work));
            }
        }
        None
    }

    /// A call that was taken is over: the next of its keys may be sent.
    pub(super) fn done(&mut self, id: CallId) {
        self.sent -= usize::from(self.remove(id));
    }

    fn remove(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.remove(&id) else {
            return false;
        };
        self.ready.remove(&id);
        for key in call.keys {
            let Some(queue) = self.queues.get_mut(&key) else {
                continue;
            };
            let was_first = queue.front() == Some(&id);
            queue.retain(|other| *other != id);
            let Some(first) = queue.front().copied() else {
                self.queues.remove(&key);
                continue;
            };
            let follower = self.calls.get_mut(&first).filter(|_| was_first);
            let Some(follower) = follower else { continue };
            follower.blockers -= 1;
            if follower.blockers == 0 {
                self.ready.insert(first);
            }
        }
        true
    }

    /// Gives up what is not sent yet and fits.
    pub(super) fn give_up(&mut self, fits: impl Fn(&T) -> bool) -> Vec<T> {
        let waiting = self.calls.iter();
        let mut ids: Vec<_> = waiting
            .filter(|(_, call)| call.work.as_ref().is_some_and(&fits))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        let mut given_up = Vec::with_capacity(ids.len());
        for id in ids {
            let work = self.calls.get_mut(&id).and_then(|call| call.work.take());
            given_up.extend(work);
            self.remove(id);
        }
        given_up
    }

    /// How many calls could be sent now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many calls are sent.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// How many calls there are, sent or not.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_do_not_wait_for_each_other_but_for_themselves() {
        let mut lanes = Lanes::new();
        for (key, work) in [(1, "a1"), (1, "a2"), (2, "b1"), (1, "a3")] {
            lanes.push(vec![key], work);
        }
        let (first, work) = lanes.take().unwrap();
        assert_eq!(work, "a1");
        assert_eq!(lanes.take().unwrap().1, "b1");
        assert!(lanes.take().is_none());
        lanes.done(first);
        assert_eq!(lanes.take().unwrap().1, "a2");
        assert!(lanes.take().is_none());
        assert_eq!((lanes.sent(), lanes.len()), (2, 3));
    }

    #[test]
    fn a_call_of_many_keys_waits_for_all_of_them() {
        let mut lanes = Lanes::new();
        lanes.push(vec![1, 1, 2], "ab");
        lanes.push(vec![2, 3], "bc");
        lanes.push(vec![3], "c");
        lanes.push(vec![4], "d");
        let (first, _) = lanes.take().unwrap();
        assert_eq!(lanes.take().unwrap().1, "d");
        assert!(lanes.take().is_none());
        lanes.done(first);
        let (second, work) = lanes.take().unwrap();
        assert_eq!(work, "bc");
        assert!(lanes.take().is_none());
        lanes.done(second);
        assert_eq!(lanes.take().unwrap().1, "c");
    }

    #[test]
    fn what_is_given_up_frees_its_keys_but_not_those_that_are_sent() {
        let mut lanes = Lanes::new();
        for work in ["a1", "a2", "a3"] {
            lanes.push(vec![1], work);
        }
        let (first, _) = lanes.take().unwrap();
        assert_eq!(lanes.give_up(|work| *work == "a2"), ["a2"]);
        assert!(lanes.take().is_none());
        lanes.done(first);
        assert_eq!(lanes.take().unwrap().1, "a3");
        assert_eq!(lanes.give_up(|_| true), Vec::<&str>::new());
    }

    proptest! {
        #[test]
        fn per_key_in_order_and_never_two_at_once(
            calls in prop::collection::vec(prop::collection::vec(0u64..5, 1..4), 1..40),
            moves in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut lanes = Lanes::new();
            let mut waiting = calls.iter().enumerate();
            let mut sent: Vec<(CallId, usize)> = Vec::new();
            let mut over: Vec<usize> = Vec::new();
            let mut moves = moves.into_iter();
            while over.len() < calls.len() {
                let which = moves.next();
                let choice = which.map_or(0, |which| which.index(3));
                match choice {
                    0 if waiting.len() > 0 => {
                        let (number, keys) = waiting.next().unwrap();
                        lanes.push(keys.clone(), number);
                    }
                    1 if !sent.is_empty() => {
                        let at = which.unwrap().index(sent.len());
                        let (id, number) = sent.remove(at);
                        lanes.done(id);
                        over.push(number);
                    }
                    _ => match lanes.take() {
                        Some((id, number)) => {
                            let busy: HashSet<_> = sent.iter().flat_map(|(_, n)| &calls[*n]).collect();
                            prop_assert!(calls[number].iter().all(|key| !busy.contains(key)));
                            let earlier = (0..number).filter(|n| calls[*n].iter().any(|k| calls[number].contains(k)));
                            prop_assert!(earlier.into_iter().all(|n| over.contains(&n)));
                            sent.push((id, number));
                        }
                        None if which.is_none() && !sent.is_empty() => {
                            let (id, number) = sent.remove(0);
                            lanes.done(id);
                            over.push(number);
                        }
                        None => prop_assert!(which.is_some() || waiting.len() > 0),
                    },
                }
            }
            prop_assert_eq!((lanes.len(), lanes.sent(), lanes.queues.len()), (0, 0, 0));
        }
    }
}

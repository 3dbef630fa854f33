//! Subscriptions that share a numbering, and such that only seem to.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sequence::instance::{Instance, Presence};

fn at(seconds: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
}

/// An instance of a server, and the subscriptions to it.
struct Rig {
    instance: Instance,
    presence: Vec<Presence>,
}

impl Rig {
    fn new(subscriptions: usize) -> Self {
        Self {
            instance: Instance::new(subscriptions, true),
            presence: vec![Presence::Back(at(0)); subscriptions],
        }
    }

    fn show(&mut self, subscription: usize, shown: Shown, now: Instant) -> Vec<Run> {
        let (_, turns) = self.instance.observe(subscription, shown, 0, now).unwrap();
        open(turns.into_iter())
    }

    fn event(&mut self, subscription: usize, sequence: u64, seconds: u64) -> Vec<Run> {
        self.show(subscription, event(sequence, sequence), at(seconds))
    }

    fn heartbeat(&mut self, subscription: usize, sequence: u64, seconds: u64) -> Vec<Run> {
        let heartbeat = Shown {
            heartbeat: true,
            ..event(sequence, 1 << 60)
        };
        self.show(subscription, heartbeat, at(seconds))
    }

    fn settle(&mut self, seconds: u64) -> Vec<(u8, Run)> {
        let said = self
            .instance
            .settle(&self.presence, at(seconds))
            .into_iter();
        said.filter_map(|(about, turn)| Some((about, run(turn)?)))
            .collect()
    }

    fn due(&self) -> Option<Instant> {
        self.instance.due(&self.presence)
    }
}

fn event(sequence: u64, content: u64) -> Shown {
    Shown {
        sequence,
        timestamp: Some(10_000 + 10 * sequence),
        heartbeat: false,
        content,
    }
}

fn run(turn: Turn) -> Option<Run> {
    match turn {
        Turn::Open(hole) => Some((hole.first, hole.last)),
        Turn::Filled(_) => None,
    }
}

fn open(turns: impl Iterator<Item = Turn>) -> Vec<Run> {
    turns.filter_map(run).collect()
}

#[test]
fn a_heartbeat_of_one_is_no_loss_of_the_other() {
    let mut rig = Rig::new(2);
    for index in [0, 1] {
        rig.event(index, 1, 0);
    }
    rig.heartbeat(0, 2, 1);
    rig.event(1, 3, 1);
    rig.event(0, 3, 1);
    // Also when it is heard after what follows it.
    rig.event(0, 5, 2);
    rig.event(1, 5, 2);
    rig.heartbeat(1, 4, 4);
    assert_eq!(rig.settle(100), []);
    assert_eq!(rig.due(), None);
}

#[test]
fn what_none_has_heard_is_said_once_and_in_time() {
    let mut rig = Rig::new(3);
    for index in [0, 1, 2] {
        rig.event(index, 1, 0);
        rig.event(index, 4, 10);
    }
    assert_eq!(rig.settle(14), []);
    assert_eq!(rig.settle(15), [(0b111, (2, 3))]);
    assert_eq!(rig.settle(100), []);
}

#[test]
fn what_one_lost_and_the_other_brought_is_no_loss() {
    let mut rig = Rig::new(2);
    for sequence in [1, 2, 3, 5, 6] {
        rig.event(0, sequence, 0);
    }
    for sequence in [1, 4, 6] {
        rig.event(1, sequence, 1);
    }
    assert_eq!(rig.settle(100), []);
}

#[test]
fn before_an_event_shows_it_a_hole_is_explained_by_its_number_and_time() {
    let mut rig = Rig::new(2);
    for sequence in 1..20 {
        rig.heartbeat(usize::from(sequence % 2 == 0), sequence, 60 * sequence);
        assert_eq!(rig.settle(60 * sequence + 30), []);
    }
    // The same number at another time explains nothing.
    let mut rig = Rig::new(2);
    let late = Shown {
        timestamp: Some(5_000_000),
        ..event(2, 0)
    };
    rig.show(1, late, at(0));
    rig.event(0, 1, 0);
    rig.event(0, 3, 0);
    assert_eq!(rig.settle(100), [(1, (2, 2))]);
}

#[test]
fn numbered_apart_each_is_held_to_its_own() {
    let mut rig = Rig::new(2);
    rig.event(0, 1, 0);
    rig.show(1, event(1, 99), at(0));
    let mut other = event(2, 50);
    other.timestamp = Some(10_011);
    rig.event(0, 2, 0);
    rig.show(1, other, at(0));
    rig.event(0, 4, 0);
    rig.event(1, 3, 0);
    rig.event(1, 5, 0);
    assert_eq!(rig.settle(100), [(1, (3, 3)), (2, (4, 4))]);
}

#[test]
fn a_contradiction_announces_what_was_held() {
    let mut rig = Rig::new(2);
    for index in [0, 1] {
        rig.event(index, 1, 0);
    }
    rig.heartbeat(0, 2, 1);
    rig.event(1, 3, 1);
    // The numbering is not shared after all: number 3 is another thing here.
    rig.heartbeat(0, 3, 1);
    assert!(rig.instance.common.as_ref().unwrap().shared().is_none());
    assert_eq!(rig.settle(100), [(2, (2, 2))]);
    // One match does not mend that, many do.
    for sequence in 4..4 + u64::from(CAUTION) {
        assert!(rig.instance.common.as_ref().unwrap().shared().is_none());
        rig.event(0, sequence, 2);
        rig.event(1, sequence, 2);
    }
    assert!(rig.instance.common.as_ref().unwrap().shared().is_some());
}

#[test]
fn a_hole_waits_for_one_that_is_away_and_not_for_long() {
    let mut rig = Rig::new(2);
    for index in [0, 1] {
        rig.event(index, 1, 0);
    }
    rig.presence[1] = Presence::Away(at(100));
    rig.event(0, 3, 110);
    assert_eq!(rig.settle(150), []);
    assert_eq!(rig.due(), Some(at(160)));
    assert_eq!(rig.settle(160), [(0b11, (2, 2))]);
    rig.event(0, 5, 1000);
    assert_eq!(
        rig.due(),
        Some(at(1005)),
        "it has been away for longer than is waited"
    );
    rig.presence[1] = Presence::Back(at(1004));
    assert_eq!(rig.settle(1005), []);
    assert_eq!(rig.due(), Some(at(1009)));
    rig.event(1, 4, 1006);
    assert_eq!(rig.settle(1010), []);
}

#[test]
fn a_numbering_that_begins_anew_begins_anew_for_all() {
    let mut rig = Rig::new(2);
    for sequence in 100..110 {
        rig.event(0, sequence, 0);
        rig.event(1, sequence, 0);
    }
    let anew = |sequence: u64| Shown {
        timestamp: Some(90_000 + sequence),
        ..event(sequence, sequence + 7)
    };
    for sequence in [1, 2, 3, 4, 6] {
        rig.show(0, anew(sequence), at(1));
    }
    // The other one is behind.
    rig.event(1, 110, 1);
    for sequence in [1, 2, 3, 4, 5, 6, 8] {
        rig.show(1, anew(sequence), at(2));
    }
    rig.show(0, anew(8), at(2));
    assert!(rig.instance.common.as_ref().unwrap().shared().is_some());
    assert_eq!(rig.settle(100), [(0b11, (7, 7))]);
}

#[test]
fn however_many_heartbeats_others_have_it_stays_small() {
    let mut rig = Rig::new(3);
    for index in [0, 1, 2] {
        rig.event(index, 1, 0);
    }
    for sequence in 2..5000 {
        rig.heartbeat(usize::try_from(sequence % 3).unwrap(), sequence, 1);
    }
    assert_eq!(rig.settle(1), []);
    for kept in rig.instance.kept.iter().flatten() {
        assert!(kept.ledger.across_cut().count() <= 64);
        assert!(!kept.ledger.is_crowded());
    }
    assert_eq!(rig.settle(100), []);
    for index in [0, 1, 2] {
        rig.event(index, 5001, 101);
    }
    assert_eq!(rig.settle(200), [(0b111, (5000, 5000))]);
}

/// A document of the server: an event, or a heartbeat of one subscription; and who loses it.
#[derive(Clone, Copy, Debug)]
struct Made {
    heartbeat: Option<usize>,
    lost: u8,
}

fn made() -> impl Strategy<Value = Made> {
    let heartbeat = prop_oneof![3 => Just(None), 1 => (0..3usize).prop_map(Some)];
    let lost = prop_oneof![6 => Just(0u8), 1 => 0..8u8, 1 => Just(7u8)];
    (heartbeat, lost).prop_map(|(heartbeat, lost)| Made { heartbeat, lost })
}

/// Plays each subscription's documents in their order, interleaved by `turns`.
fn play(rig: &mut Rig, mut queues: Vec<Vec<Shown>>, turns: &[usize]) -> Vec<Run> {
    let mut said = Vec::new();
    for queue in &mut queues {
        queue.reverse();
    }
    let count = queues.len();
    let rest = (0..count).flat_map(|index| std::iter::repeat_n(index, 1000));
    for index in turns.iter().map(|turn| turn % count).chain(rest) {
        if let Some(shown) = queues[index].pop() {
            said.extend(rig.show(index, shown, at(0)));
        }
    }
    said
}

fn numbers(runs: impl IntoIterator<Item = Run>) -> BTreeSet<u64> {
    runs.into_iter()
        .flat_map(|(first, last)| first..=last)
        .collect()
}

proptest! {
    /// Numbered in common: what is said is exactly what none has heard, and it is said once.
    #[test]
    fn in_common_what_none_has_heard_is_said_once(
        subscriptions in 2..4usize,
        documents in prop::collection::vec(made(), 0..150),
        turns in prop::collection::vec(0..3usize, 0..400),
    ) {
        let mut rig = Rig::new(subscriptions);
        let mut queues = vec![Vec::new(); subscriptions];
        let mut never = BTreeSet::new();
        let last = documents.len() as u64 + 1;
        // The first and the last are events that all hear.
        let frame = Made { heartbeat: None, lost: 0 };
        let all = [frame].into_iter().chain(documents).chain([frame]);
        for (sequence, made) in all.enumerate() {
            let sequence = sequence as u64;
            let mut heard = false;
            for (index, queue) in queues.iter_mut().enumerate() {
                let other = made.heartbeat.is_some_and(|of| of % subscriptions != index);
                if !other && made.lost & bit(index) == 0 {
                    let heartbeat = made.heartbeat.is_some();
                    queue.push(Shown { heartbeat, ..event(sequence, sequence) });
                    heard = true;
                }
            }
            if !heard {
                never.insert(sequence);
            }
        }
        // All hear the first before anything else: it shows that the numbering is shared.
        for queue in &mut queues {
            queue.remove(0);
        }
        for index in 0..subscriptions {
            rig.event(index, 0, 0);
        }
        let early = play(&mut rig, queues, &turns);
        prop_assert!(early.is_empty());
        let said = rig.settle(1000);
        let runs = said.iter().map(|(_, run)| *run);
        prop_assert_eq!(crate::sequence::sets::count(&runs.clone().collect::<Vec<_>>()), never.len() as u64);
        prop_assert_eq!(numbers(runs), never, "of {}", last);
        prop_assert!(said.iter().all(|(about, _)| about.count_ones() as usize == subscriptions));
    }

    /// Numbered apart, in step or not: an event that both have lost never goes unsaid.
    #[test]
    fn apart_what_both_have_lost_is_said(
        documents in prop::collection::vec(made(), 0..100),
        ahead in prop_oneof![Just(0u64), 0..5u64, Just(1000u64)],
        turns in prop::collection::vec(0..2usize, 0..300),
    ) {
        let mut rig = Rig::new(2);
        let mut queues = vec![Vec::new(); 2];
        let mut next = [1, 1 + ahead];
        let mut lost = Vec::new();
        let frame = Made { heartbeat: None, lost: 0 };
        let end = std::iter::repeat_n(frame, 12);
        for (n, made) in [frame].into_iter().chain(documents).chain(end).enumerate() {
            let mut numbers = Vec::new();
            for (index, queue) in queues.iter_mut().enumerate() {
                if made.heartbeat.is_some_and(|of| of % 2 != index) {
                    continue;
                }
                let (heartbeat, n) = (made.heartbeat.is_some(), n as u64);
                let shown = Shown {
                    sequence: next[index],
                    timestamp: Some(10_000 + 10 * n),
                    heartbeat,
                    content: n,
                };
                numbers.push(next[index]);
                next[index] += 1;
                if made.lost & bit(index) == 0 {
                    queue.push(shown);
                }
            }
            if made.heartbeat.is_none() && made.lost & 3 == 3 {
                lost.push(numbers);
            }
        }
        let mut said = numbers(play(&mut rig, queues, &turns));
        said.extend(numbers(rig.settle(1000).into_iter().map(|(_, run)| run)));
        for event in lost {
            prop_assert!(event.iter().any(|number| said.contains(number)), "{event:?} of {said:?}");
        }
    }

    /// Whatever comes, nothing panics.
    #[test]
    fn anything_may_come(
        shown in prop::collection::vec((0..3usize, any::<u64>(), 0..30u64, any::<bool>(), 0..4u64), 0..300),
    ) {
        let mut rig = Rig::new(3);
        for (seconds, (index, wild, sequence, heartbeat, time)) in (0..).zip(shown) {
            let sequence = if time == 3 { wild } else { sequence };
            let timestamp = (time > 0).then_some(wild % 100_000 * time);
            rig.show(index, Shown { sequence, timestamp, heartbeat, content: wild % 3 }, at(seconds));
            rig.settle(seconds);
            for index in 0..3 {
                rig.instance.missing_across_cut(index);
            }
        }
    }
}

//! The numbering, told numbers in every order.

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
}

fn open(turns: Vec<Turn>) -> Vec<(u64, u64)> {
    let open = |turn| match turn {
        Turn::Open(hole) => Some((hole.first, hole.last)),
        Turn::Filled(_) => None,
    };
    turns.into_iter().filter_map(open).collect()
}

fn restored(next: u64, newest_ms: u64) -> Ledger {
    let words = [next, newest_ms, 0].map(u64::to_le_bytes).concat();
    Ledger::restore(&words, at(0)).unwrap().0
}

#[test]
fn a_hole_is_reported_once_and_only_when_it_stays_open() {
    let mut ledger = Ledger::begin(1, 100);
    assert_eq!(ledger.observe(2, Some(101), at(0)), Observed::Next);
    assert_eq!(ledger.observe(5, Some(104), at(0)), Observed::Hole);
    assert_eq!(ledger.due(None), Some(at(0) + GRACE));
    assert!(ledger.settle(at(4), None).is_empty());
    assert_eq!(ledger.observe(3, Some(102), at(4)), Observed::Filled);
    assert_eq!(open(ledger.settle(at(5), None)), [(4, 4)]);
    assert!(ledger.settle(at(60), None).is_empty());
    assert_eq!(ledger.observe(4, Some(103), at(61)), Observed::Filled);
    assert!(matches!(
        ledger.settle(at(61), None).as_slice(),
        [Turn::Filled(_)]
    ));
    assert_eq!(ledger.due(None), None);
}

/// What came of reported holes: their numbers, and how many came.
fn filled(turns: Vec<Turn>) -> Vec<(u64, u64, u64)> {
    let filled = |turn| match turn {
        Turn::Open(_) => None,
        Turn::Filled(hole) => Some((hole.first, hole.last, hole.filled)),
    };
    turns.into_iter().filter_map(filled).collect()
}

#[test]
fn a_reported_hole_is_filled_as_large_as_it_was_reported() {
    let mut ledger = Ledger::begin(1, 100);
    ledger.observe(5, Some(104), at(0));
    assert_eq!(open(ledger.settle(at(5), None)), [(2, 4)]);
    // From the middle, so that it falls apart.
    for n in [3, 2] {
        ledger.observe(n, Some(100 + n), at(6));
        assert_eq!(filled(ledger.settle(at(6), None)), []);
    }
    ledger.observe(4, Some(104), at(7));
    assert_eq!(filled(ledger.settle(at(7), None)), [(2, 4, 3)]);
    assert_eq!(ledger.due(None), None);
}

#[test]
fn what_came_of_a_reported_hole_is_said_when_the_rest_is_given_up() {
    let mut ledger = Ledger::begin(1, 100);
    ledger.observe(11, Some(110), at(0));
    ledger.observe(13, Some(112), at(0));
    assert_eq!(open(ledger.settle(at(5), None)), [(2, 10), (12, 12)]);
    for n in 5..10 {
        ledger.observe(n, Some(100 + n), at(6));
    }
    let late = at(0) + LATE;
    assert_eq!(ledger.due(None), Some(late));
    assert_eq!(filled(ledger.settle(at(599), None)), []);
    assert_eq!(filled(ledger.settle(late, None)), [(2, 10, 5)]);
    assert_eq!(ledger.due(None), None);
}

#[test]
fn repetitions_and_replays_are_old() {
    let mut ledger = Ledger::begin(1, 101);
    for n in 2..50 {
        ledger.observe(n, Some(100 + n), at(0));
    }
    for n in (1..50).rev() {
        assert_eq!(ledger.observe(n, Some(100 + n), at(1)), Observed::Old);
    }
    assert_eq!(ledger.observe(50, Some(150), at(1)), Observed::Next);
    assert!(ledger.settle(at(100), None).is_empty());
}

#[test]
fn one_odd_number_is_no_new_beginning() {
    let mut ledger = Ledger::begin(100, 1000);
    assert_eq!(ledger.observe(7, Some(1001), at(0)), Observed::Old);
    assert_eq!(ledger.observe(101, Some(1002), at(0)), Observed::Next);
    assert_eq!(ledger.observe(8, Some(1003), at(0)), Observed::Old);
    assert_eq!(ledger.observe(102, Some(1004), at(0)), Observed::Next);
    assert!(ledger.settle(at(100), None).is_empty());
}

#[test]
fn stragglers_from_before_a_new_beginning_make_no_hole() {
    let mut ledger = Ledger::begin(100, 1000);
    assert_eq!(ledger.observe(1, Some(2000), at(0)), Observed::Old);
    assert_eq!(ledger.observe(2, Some(2001), at(0)), Observed::Restarted);
    assert_eq!(ledger.observe(102, Some(1002), at(0)), Observed::Old);
    assert_eq!(ledger.observe(3, Some(2002), at(0)), Observed::Next);
    assert!(ledger.settle(at(100), None).is_empty());
}

#[test]
fn a_leap_is_a_new_beginning_and_the_largest_number_no_trouble() {
    let mut ledger = Ledger::begin(1, 1);
    assert_eq!(
        ledger.observe(5_000_000, Some(2), at(0)),
        Observed::Restarted
    );
    assert_eq!(
        ledger.observe(u64::MAX, Some(3), at(0)),
        Observed::Restarted
    );
    ledger.observe(u64::MAX, Some(4), at(0));
    ledger.observe(0, Some(5), at(0));
    assert!(ledger.settle(at(100), None).is_empty());
}

#[test]
fn what_was_restored_is_unverified_until_it_goes_on() {
    let mut ledger = restored(10, 1000);
    assert_eq!(ledger.observe(15, Some(1001), at(0)), Observed::Hole);
    assert_eq!(ledger.observe(20, Some(1002), at(0)), Observed::Hole);
    let turns = ledger.settle(at(10), None);
    let unverified: Vec<_> = turns
        .iter()
        .map(|turn| match turn {
            Turn::Open(hole) | Turn::Filled(hole) => (hole.first, hole.last, hole.unverified),
        })
        .collect();
    assert_eq!(unverified, [(10, 14, true), (16, 19, false)]);
}

#[test]
fn a_hole_counts_for_the_cut_that_it_spans_and_for_no_other() {
    let mut ledger = Ledger::begin(1, 100);
    ledger.observe(3, Some(102), at(0));
    assert_eq!(ledger.across_cut().map(Hole::len).sum::<u64>(), 0);
    ledger.cut();
    ledger.observe(7, Some(106), at(1));
    assert_eq!(ledger.across_cut().map(Hole::len).sum::<u64>(), 3);
    ledger.cut();
    assert_eq!(ledger.observe(8, Some(107), at(2)), Observed::Next);
    assert_eq!(
        ledger.across_cut().map(Hole::len).sum::<u64>(),
        0,
        "told at the cut before"
    );
    let mut restored = restored(2, 100);
    restored.observe(5, Some(104), at(0));
    assert_eq!(
        restored.across_cut().map(Hole::len).sum::<u64>(),
        3,
        "a restart is a cut"
    );
}

#[test]
fn what_was_open_when_the_relay_stopped_can_still_be_filled_or_is_reported() {
    let mut ledger = Ledger::begin(1, 100);
    ledger.observe(4, Some(103), at(0));
    ledger.observe(7, Some(106), at(1));
    ledger.settle(at(5), None);
    let (mut restored, heard_ms) = Ledger::restore(&ledger.save(77), at(10)).unwrap();
    assert_eq!(heard_ms, 77);
    assert_eq!(
        restored.unheard((0, 9)),
        [(0, 0), (5, 6), (8, 9)],
        "2 and 3 have been told"
    );
    assert_eq!(restored.observe(5, Some(104), at(10)), Observed::Filled);
    assert_eq!(restored.observe(8, Some(107), at(10)), Observed::Next);
    let turns = restored.settle(at(15), None);
    let [Turn::Open(hole)] = turns.as_slice() else {
        panic!("{turns:?}")
    };
    assert_eq!((hole.first, hole.last, hole.unverified), (6, 6, false));
    assert!(Ledger::restore(b"odd", at(0)).is_none());
    assert!(Ledger::restore(&[0; 16], at(0)).is_none());
}

#[test]
fn holes_are_bounded() {
    let mut ledger = Ledger::begin(0, 0);
    for n in 1..1000 {
        ledger.observe(2 * n, None, at(0));
    }
    assert!(ledger.holes.len() <= HOLES);
    let reported = open(ledger.settle(at(10), None));
    assert_eq!(reported.len(), 999, "none is forgotten");
}

proptest! {
    /// Numbers in any order within the grace: what is reported is exactly what never came.
    #[test]
    fn what_never_came_is_reported(
        present in prop::collection::vec(any::<bool>(), 2..200),
        swaps in prop::collection::vec((0..200usize, 0..20usize), 0..50),
    ) {
        let last = present.len();
        // The first and the last number come, so that every hole has two ends.
        let mut order: Vec<u64> = (0..=last as u64)
            .filter(|n| *n == 0 || *n == last as u64 || present[usize::try_from(*n).unwrap()])
            .collect();
        let tail = &mut order[1..];
        for (place, distance) in swaps {
            if place + distance < tail.len() {
                tail.swap(place, place + distance);
            }
        }
        let mut ledger = Ledger::begin(0, 1000);
        for n in &order[1..] {
            ledger.observe(*n, Some(1000 + n), at(0));
        }
        let reported = open(ledger.settle(at(10), None));
        let mut missing: Vec<u64> = reported.iter().flat_map(|(first, last)| *first..=*last).collect();
        missing.sort_unstable();
        let never: Vec<u64> = (0..=last as u64).filter(|n| !order.contains(n)).collect();
        prop_assert_eq!(missing, never);
    }

    /// Whatever comes, nothing panics and everything stays bounded.
    #[test]
    fn anything_may_come(numbers in prop::collection::vec((any::<u64>(), any::<Option<u64>>(), 0..20u64), 0..300)) {
        let mut ledger = Ledger::begin(0, 0);
        let mut now = 0;
        for (n, timestamp, later) in numbers {
            now += later;
            ledger.observe(n, timestamp, at(now));
            ledger.settle(at(now), None);
            prop_assert!(ledger.holes.len() <= HOLES && ledger.told.len() <= HOLES);
        }
    }
}

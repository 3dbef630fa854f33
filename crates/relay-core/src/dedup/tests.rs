//! The memory of ids against models.

use std::collections::HashMap;

use proptest::prelude::*;

use super::window::{Seen, Window};
use super::*;

const HOUR: u64 = 3_600_000;

fn dedup(across: Across) -> Dedup {
    Dedup::new(Duration::from_hours(1), 64 << 20, across)
}

/// Ids that collide in the index as often as not.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![0..8u64, (0..8u64).prop_map(|n| n << 33), any::<u64>()]
}

proptest! {
    /// Against a list of everything ever seen: nothing within the horizon is forgotten, and nothing
    /// that was never seen is taken for known.
    #[test]
    fn a_window_is_a_list_of_what_was_seen(
        events in prop::collection::vec((id(), 0..3u128, 0..HOUR / 4), 1..400),
    ) {
        let mut window = Window::new(HOUR, 64 << 20);
        let mut model: Vec<(u64, u128, u64)> = Vec::new();
        let mut now = 0;
        for (id, content, later) in events {
            now += later;
            let seen = window.see(id, content, now);
            let within = |at: u64| at + HOUR >= now;
            let same = |(known, _, _): &&(u64, u128, u64)| *known == id;
            let known = model.iter().filter(same).any(|(_, c, at)| *c == content && within(*at));
            match seen {
                Seen::Before => {
                    prop_assert!(model.iter().filter(same).any(|(_, c, _)| *c == content));
                }
                Seen::OtherContent | Seen::Never => prop_assert!(!known, "forgotten within the horizon"),
            }
            if seen == Seen::OtherContent {
                prop_assert!(model.iter().any(|(known, c, _)| *known == id && *c != content));
            }
            if seen == Seen::Never {
                prop_assert!(!model.iter().any(|(known, c, at)| *known == id && *c != content && within(*at)));
            }
            if seen != Seen::Before {
                model.push((id, content, now));
            }
        }
    }

    /// A small window under many distinct ids: bounded, and right about what it still holds.
    #[test]
    fn memory_is_bounded_and_the_newest_stay(salt: u64, count in 20_000..60_000u64) {
        let memory = 400 << 10;
        let mut window = Window::new(HOUR, memory);
        let id = |n: u64| (n ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..count {
            prop_assert_eq!(window.see(id(n), 0, n), Seen::Never);
            prop_assert!(window.bytes() <= memory, "{} bytes", window.bytes());
        }
        for n in count - 5_000..count {
            prop_assert_eq!(window.see(id(n), 0, count), Seen::Before, "{} of {}", n, count);
        }
        let (reach, short) = window.reach();
        prop_assert!(short && reach >= 5_000 && reach < count);
    }

    /// Across subscriptions, a content is delivered as often as the subscription that showed it most.
    #[test]
    fn contents_are_a_multiset(shown in prop::collection::vec((0..3u8, 0..4u128), 0..200)) {
        let mut dedup = dedup(Across::Content);
        let mut counts: HashMap<u128, [u32; 3]> = HashMap::new();
        let mut delivered: HashMap<u128, u32> = HashMap::new();
        for (n, (slot, content)) in (1..).zip(shown) {
            counts.entry(content).or_default()[usize::from(slot)] += 1;
            // Every sighting has an id of its own.
            match dedup.admit(Some(n << 32 | n), content, Slot(slot), n) {
                Verdict::New => *delivered.entry(content).or_default() += 1,
                Verdict::Sighted(_) => {}
                other @ (Verdict::Conflict | Verdict::Again | Verdict::Duplicate) => {
                    prop_assert!(false, "{:?}", other);
                }
            }
            let most = counts[&content].iter().max().copied();
            prop_assert_eq!(delivered.get(&content).copied(), most);
        }
    }

    /// What is rebuilt from the journal judges as the one that wrote it.
    #[test]
    fn what_is_restored_judges_alike(
        shown in prop::collection::vec((0..3u8, 0..20u64, 0..4u128), 0..100),
        after in prop::collection::vec((0..3u8, 0..20u64, 0..4u128), 0..30),
    ) {
        for across in [Across::MsgInfo, Across::Content] {
            let (mut lived, mut restored) = (dedup(across), dedup(across));
            for (at, (slot, id, content)) in (1..).zip(&shown) {
                let (id, slot) = (Some(id << 33 | 1), Slot(*slot));
                match lived.admit(id, *content, slot, at) {
                    Verdict::Duplicate => {}
                    Verdict::Sighted(counts) => restored.restore_sighting(id, *content, slot, counts, at),
                    Verdict::New | Verdict::Conflict | Verdict::Again => {
                        restored.restore(id, *content, slot, at);
                    }
                }
            }
            for (at, (slot, id, content)) in (1000..).zip(&after) {
                let (id, slot) = (Some(id << 33 | 1), Slot(*slot));
                prop_assert_eq!(
                    lived.admit(id, *content, slot, at),
                    restored.admit(id, *content, slot, at)
                );
            }
        }
    }
}

#[test]
fn the_horizon_looks_back_from_the_newest() {
    let mut window = Window::new(HOUR, 64 << 20);
    assert_eq!(window.see(1, 1, 0), Seen::Never);
    assert_eq!(window.see(1, 1, HOUR), Seen::Before);
    assert_eq!(window.see(2, 1, HOUR), Seen::Never);
    assert_eq!(window.see(3, 1, 3 * HOUR), Seen::Never);
    assert_eq!(window.see(2, 1, 3 * HOUR), Seen::Never, "forgotten");
    assert_eq!(window.reach(), (HOUR, false));
}

#[test]
fn the_index_gives_back_what_is_forgotten() {
    let mut window = Window::new(HOUR, 64 << 20);
    for round in 0..20u64 {
        for n in 0..10_000u64 {
            let id = (round * 10_000 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(window.see(id, 0, round * 2 * HOUR), Seen::Never);
        }
        assert!(window.bytes() < 2 << 20, "{}", window.bytes());
    }
}

#[test]
fn one_that_starts_level_can_show_news_first() {
    let mut dedup = dedup(Across::Content);
    let (a, b) = (Slot(0), Slot(1));
    assert_eq!(dedup.admit(Some(1 << 32), 7, a, 1), Verdict::New);
    assert_eq!(dedup.admit(Some(2 << 32), 7, a, 2), Verdict::New);
    dedup.level(b);
    assert_eq!(dedup.admit(Some(3 << 32), 7, b, 3), Verdict::New);
    assert!(matches!(
        dedup.admit(Some(4 << 32), 7, a, 4),
        Verdict::Sighted(_)
    ));
}

#[test]
fn contents_are_bounded_in_memory() {
    let mut dedup = Dedup::new(Duration::from_hours(1), 1 << 20, Across::Content);
    for n in 0..100_000u64 {
        let content = u128::from(n) << 64;
        assert_eq!(dedup.admit(None, content, Slot(0), n), Verdict::New);
        assert!(dedup.bytes() <= 1 << 20, "{}", dedup.bytes());
    }
    assert!(dedup.reach().1);
}

#[test]
fn counts_can_be_counted_on_forever() {
    let mut dedup = dedup(Across::Content);
    for n in 0..200_000u64 {
        assert_eq!(dedup.admit(None, 1, Slot(0), n / 1000), Verdict::New, "{n}");
        assert!(
            matches!(dedup.admit(None, 1, Slot(1), n / 1000), Verdict::Sighted(_)),
            "{n}"
        );
    }
}

#[test]
fn a_quiet_night_does_not_make_a_replay_new() {
    let mut window = Window::new(HOUR, 64 << 20);
    assert_eq!(window.see(1, 1, 0), Seen::Never);
    assert_eq!(window.see(1, 1, 10 * HOUR), Seen::Before);
    assert_eq!(window.see(2, 1, 10 * HOUR), Seen::Never);
    assert_eq!(window.see(1, 1, 10 * HOUR), Seen::Never);
}

//! The window against what it promises, with a peer and a worker played at random.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    batch_events: 4,
    in_flight_bytes: 30,
    ahead_events: 12,
};
const COUNT: usize = 40;
const EVENTS: u64 = COUNT as u64;

/// What a flight's end looks like.
#[derive(Clone, Debug)]
enum End {
    All,
    Some(u8),
    Nothing { received: u8 },
}

#[derive(Clone, Debug)]
enum Move {
    Read,
    Land {
        which: prop::sample::Index,
        end: End,
    },
    RollBack,
}

fn moves() -> impl Strategy<Value = Move> {
    let end = prop_oneof![
        4 => Just(End::All),
        2 => any::<u8>().prop_map(End::Some),
        1 => any::<u8>().prop_map(|received| End::Nothing { received }),
    ];
    prop_oneof![
        5 => Just(Move::Read),
        4 => (any::<prop::sample::Index>(), end).prop_map(|(which, end)| Move::Land { which, end }),
        1 => Just(Move::RollBack),
    ]
}

/// A worker and its peer, in numbers.
struct Game {
    window: Window,
    position: Offset,
    keys: Vec<Key>,
    wanted: Vec<bool>,
    /// Flights: their names, their events, and where their receipts begin.
    flying: Vec<(u64, Vec<Tracked>, usize)>,
    /// What the peer received, in order; `None` never reached it.
    received: Vec<Option<Offset>>,
    /// Confirmed, and not to be sent again: nothing older of the same key is unsettled.
    confirmed: BTreeSet<Offset>,
    largest_ahead: usize,
}

impl Game {
    fn new(keys: Vec<Key>, wanted: Vec<bool>) -> Self {
        Self {
            window: Window::new(Offset(0)),
            position: Offset(0),
            keys,
            wanted,
            flying: Vec::new(),
            received: Vec::new(),
            confirmed: BTreeSet::new(),
            largest_ahead: 0,
        }
    }

    fn at(&self, offset: Offset) -> (Key, bool) {
        let index = usize::try_from(offset.0 - 1).unwrap();
        (self.keys[index], self.wanted[index])
    }

    fn read(&mut self) -> bool {
        let Some(room) = self.window.room(self.position, &BOUNDS) else {
            return false;
        };
        assert!((1..=BOUNDS.batch_events).contains(&room));
        let upto = Offset((self.position.0 + room as u64).min(EVENTS));
        if upto == self.position {
            return false;
        }
        let offsets = (self.position.0 + 1..=upto.0).map(Offset);
        let events: Vec<_> = offsets
            .filter(|offset| self.at(*offset).1 && !self.window.has_settled(*offset))
            .map(|offset| Tracked {
                offset,
                key: self.at(offset).0,
            })
            .collect();
        self.position = upto;
        for event in &events {
            let repeated = self.confirmed.contains(&event.offset);
            assert!(
                !repeated,
                "{:?} was confirmed and is sent again for nothing",
                event.offset
            );
        }
        if events.is_empty() {
            self.window.pass(upto);
        } else {
            let id = self
                .window
                .hand_over(upto, events.len() * 5, events.clone());
            let receipts = self.received.len();
            self.received
                .extend(events.iter().map(|event| Some(event.offset)));
            self.flying.push((id, events, receipts));
        }
        true
    }

    fn land(&mut self, which: usize, end: &End) {
        let (id, events, receipts) = self.flying.remove(which);
        let bit = |bits: u8, index: usize| bits >> (index % 8) & 1 == 1;
        for (index, event) in events.iter().enumerate() {
            let (confirmed, received) = match end {
                End::All => (true, true),
                End::Some(bits) => (bit(*bits, index), bit(*bits, index)),
                End::Nothing { received } => (false, bit(*received, index)),
            };
            if confirmed {
                self.confirmed.insert(event.offset);
            }
            if !received {
                self.received[receipts + index] = None;
            }
        }
        match end {
            End::All => self.window.settle_all(id),
            End::Some(bits) => {
                let settled = (0..events.len()).map(|index| bit(*bits, index));
                self.window.settle_some(id, settled.collect());
            }
            End::Nothing { .. } => self.window.fail(id),
        }
    }

    fn roll_back(&mut self) {
        self.flying.clear();
        let read = (1..=self.position.0)
            .map(Offset)
            .filter(|offset| self.at(*offset).1);
        let mut unsettled: BTreeMap<Key, Offset> = BTreeMap::new();
        for offset in read
            .clone()
            .filter(|offset| !self.confirmed.contains(offset))
        {
            unsettled.entry(self.at(offset).0).or_insert(offset);
        }
        let behind = read.filter(|offset| {
            unsettled
                .get(&self.at(*offset).0)
                .is_some_and(|first| first < offset)
        });
        let behind: Vec<_> = behind
            .filter(|offset| self.confirmed.contains(offset))
            .collect();
        for offset in behind {
            self.confirmed.remove(&offset);
        }
        self.window.roll_back();
        self.position = self.window.cursor();
    }

    fn check(&mut self) {
        let cursor = self.window.cursor();
        let settled = (1..=cursor.0)
            .map(Offset)
            .filter(|offset| self.at(*offset).1);
        for offset in settled {
            assert!(
                self.confirmed.contains(&offset),
                "the cursor {cursor} passed {offset}"
            );
        }
        self.largest_ahead = self.largest_ahead.max(self.window.settled_ahead());
    }

    /// Everything goes well from here on.
    fn finish(&mut self) {
        self.roll_back();
        while self.window.cursor() < Offset(EVENTS) {
            let read = self.read();
            assert!(
                read || !self.flying.is_empty(),
                "stuck at {}",
                self.window.cursor()
            );
            if !self.flying.is_empty() {
                self.land(0, &End::All);
            }
            self.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_is_passed_nothing_repeated_for_nothing_and_keys_end_in_order(
        keys in prop::collection::vec(0u64..4, COUNT),
        wanted in prop::collection::vec(prop::bool::weighted(0.8), COUNT),
        moves in prop::collection::vec(moves(), 0..120),
    ) {
        let mut game = Game::new(keys, wanted);
        for step in &moves {
            match step {
                Move::Read => drop(game.read()),
                Move::Land { which, end } if !game.flying.is_empty() => {
                    let which = which.index(game.flying.len());
                    game.land(which, end);
                }
                Move::Land { .. } => {}
                Move::RollBack => game.roll_back(),
            }
            game.check();
        }
        game.finish();
        prop_assert!(game.largest_ahead <= BOUNDS.ahead_events + BOUNDS.batch_events);
        let mut last: HashMap<Offset, usize> = HashMap::new();
        for (at, offset) in game.received.iter().enumerate() {
            last.extend(offset.map(|offset| (offset, at)));
        }
        for key in 0..4 {
            let events = (1..=EVENTS).map(Offset).filter(|offset| game.at(*offset) == (key, true));
            let places: Vec<_> = events.map(|offset| last[&offset]).collect();
            prop_assert!(places.is_sorted(), "key {key}: {:?}", game.received);
        }
    }
}

fn tracked(offsets: std::ops::Range<u64>) -> Vec<Tracked> {
    offsets
        .map(|offset| Tracked {
            offset: Offset(offset),
            key: offset,
        })
        .collect()
}

#[test]
fn bytes_under_way_are_bounded_but_one_flight_always_fits() {
    let mut window = Window::new(Offset(0));
    assert_eq!(window.room(Offset(0), &BOUNDS), Some(4));
    let first = window.hand_over(Offset(2), 1000, tracked(1..3));
    assert_eq!(window.room(Offset(2), &BOUNDS), None);
    window.settle_all(first);
    assert_eq!(
        (window.cursor(), window.room(Offset(2), &BOUNDS)),
        (Offset(2), Some(4))
    );
}

#[test]
fn after_a_failure_one_flight_at_a_time() {
    let mut window = Window::new(Offset(0));
    let first = window.hand_over(Offset(2), 1, tracked(1..3));
    assert_eq!(window.room(Offset(2), &BOUNDS), Some(4));
    window.fail(first);
    window.roll_back();
    let again = window.hand_over(Offset(2), 1, tracked(1..3));
    assert_eq!(window.room(Offset(2), &BOUNDS), None);
    window.settle_some(again, vec![true, false]);
    assert_eq!(
        (window.cursor(), window.room(Offset(2), &BOUNDS)),
        (Offset(1), Some(4))
    );
}

#[test]
fn a_single_stuck_event_lets_a_bounded_number_pass() {
    let mut window = Window::new(Offset(0));
    let mut position = Offset(0);
    for _ in 0..100 {
        while let Some(room) = window.room(position, &BOUNDS) {
            let upto = Offset(position.0 + room as u64);
            let events: Vec<_> = tracked(position.0 + 1..upto.0 + 1);
            let events: Vec<_> = events
                .into_iter()
                .filter(|event| !window.has_settled(event.offset))
                .collect();
            position = upto;
            if events.is_empty() {
                window.pass(upto);
                continue;
            }
            let settled = events
                .iter()
                .map(|event| event.offset != Offset(1))
                .collect();
            let id = window.hand_over(upto, 1, events);
            window.settle_some(id, settled);
        }
        window.roll_back();
        position = window.cursor();
        assert_eq!(position, Offset(0));
    }
    assert!(
        window.settled_ahead() <= BOUNDS.ahead_events,
        "{}",
        window.settled_ahead()
    );
}

#[test]
fn what_went_together_goes_together_again() {
    let mut window = Window::new(Offset(0));
    let first = window.hand_over(Offset(1), 1, tracked(1..2));
    let second = window.hand_over(Offset(3), 1, tracked(2..4));
    let third = window.hand_over(Offset(6), 1, tracked(4..7));
    window.fail(first);
    window.settle_some(second, vec![true, false]);
    window.fail(third);
    window.roll_back();
    let mut position = window.cursor();
    let mut groups = Vec::new();
    while position < Offset(8) {
        let upto = Offset(position.0 + window.room(position, &BOUNDS).unwrap() as u64);
        let events: Vec<_> = tracked(position.0 + 1..upto.0 + 1);
        let events: Vec<_> = events
            .into_iter()
            .filter(|event| !window.has_settled(event.offset))
            .collect();
        position = upto;
        if events.is_empty() {
            window.pass(upto);
            continue;
        }
        let group = events.iter().map(|event| event.offset.0);
        groups.push(group.collect::<Vec<_>>());
        let id = window.hand_over(upto, 1, events);
        window.settle_all(id);
    }
    assert_eq!(groups, [vec![1], vec![3], vec![4, 5, 6], vec![7, 8, 9, 10]]);
    assert_eq!(window.ends.len(), 0);
}

#[test]
fn what_is_filtered_out_moves_the_cursor_in_its_turn() {
    let mut window = Window::new(Offset(0));
    window.pass(Offset(10));
    assert_eq!(window.cursor(), Offset(10));
    let id = window.hand_over(Offset(15), 1, tracked(13..14));
    assert_eq!(window.cursor(), Offset(12));
    window.pass(Offset(30));
    window.pass(Offset(40));
    assert_eq!(window.cursor(), Offset(12));
    window.settle_all(id);
    assert_eq!(window.cursor(), Offset(40));
    window.settle_all(id);
    assert!(window.is_empty());
}

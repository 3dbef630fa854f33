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
    Some { confirmed: u8, refused: u8 },
    Nothing { received: u8 },
}

impl End {
    /// What becomes of an event, and whether the peer has it.
    fn of(&self, index: usize) -> (Verdict, bool) {
        let bit = |bits: u8| bits >> (index % 8) & 1 == 1;
        match *self {
            Self::All => (Verdict::Confirmed, true),
            Self::Some { refused, .. } if bit(refused) => (Verdict::Refused, false),
            Self::Some { confirmed, .. } if bit(confirmed) => (Verdict::Confirmed, true),
            Self::Some { .. } => (Verdict::Open, false),
            Self::Nothing { received } => (Verdict::Open, bit(received)),
        }
    }
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

/// How far may be read, where every offset is an event.
fn room(window: &Window, position: Offset) -> Option<Offset> {
    let Room { events, upto } = window.room(position, &BOUNDS)?;
    assert!((1..=BOUNDS.batch_events).contains(&events) && upto > position);
    Some(upto.min(Offset(position.0 + events as u64)))
}

fn moves() -> impl Strategy<Value = Move> {
    let end = prop_oneof![
        4 => Just(End::All),
        2 => any::<(u8, u8)>().prop_map(|(confirmed, refused)| End::Some { confirmed, refused }),
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
    /// Refused, which is once and for all.
    refused: BTreeSet<Offset>,
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
            refused: BTreeSet::new(),
            largest_ahead: 0,
        }
    }

    fn at(&self, offset: Offset) -> (Key, bool) {
        let index = usize::try_from(offset.0 - 1).unwrap();
        (self.keys[index], self.wanted[index])
    }

    fn is_settled(&self, offset: Offset) -> bool {
        self.confirmed.contains(&offset) || self.refused.contains(&offset)
    }

    fn read(&mut self) -> bool {
        let Some(upto) = room(&self.window, self.position) else {
            return false;
        };
        let upto = upto.min(Offset(EVENTS));
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
            assert!(
                !self.is_settled(event.offset),
                "{:?} was settled and is sent again for nothing",
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
        let ends = (0..events.len()).map(|index| end.of(index));
        for (index, (event, (verdict, received))) in events.iter().zip(ends.clone()).enumerate() {
            match verdict {
                Verdict::Open => {}
                Verdict::Confirmed => self.confirmed.extend([event.offset]),
                Verdict::Refused => self.refused.extend([event.offset]),
            }
            if !received {
                self.received[receipts + index] = None;
            }
        }
        match end {
            End::All => self.window.confirm(id),
            End::Some { .. } => self
                .window
                .settle(id, ends.map(|(verdict, _)| verdict).collect()),
            End::Nothing { .. } => self.window.fail(id),
        }
    }

    fn roll_back(&mut self) {
        self.flying.clear();
        let read = (1..=self.position.0)
            .map(Offset)
            .filter(|offset| self.at(*offset).1);
        let mut unsettled: BTreeMap<Key, Offset> = BTreeMap::new();
        for offset in read.clone().filter(|offset| !self.is_settled(*offset)) {
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
                self.is_settled(offset),
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
            let events = events.filter(|offset| !game.refused.contains(offset));
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
    assert_eq!(room(&window, Offset(0)), Some(Offset(4)));
    let first = window.hand_over(Offset(2), 1000, tracked(1..3));
    assert_eq!(room(&window, Offset(2)), None);
    window.confirm(first);
    assert_eq!(
        (window.cursor(), room(&window, Offset(2))),
        (Offset(2), Some(Offset(6)))
    );
}

#[test]
fn after_a_failure_one_flight_at_a_time() {
    let mut window = Window::new(Offset(0));
    let first = window.hand_over(Offset(2), 1, tracked(1..3));
    assert_eq!(room(&window, Offset(2)), Some(Offset(6)));
    window.fail(first);
    window.roll_back();
    let again = window.hand_over(Offset(2), 1, tracked(1..3));
    assert_eq!(room(&window, Offset(2)), None);
    window.settle(again, vec![Verdict::Confirmed, Verdict::Open]);
    assert_eq!(
        (window.cursor(), room(&window, Offset(2))),
        (Offset(1), Some(Offset(6)))
    );
}

#[test]
fn a_single_stuck_event_lets_a_bounded_number_pass() {
    let mut window = Window::new(Offset(0));
    let mut position = Offset(0);
    for _ in 0..100 {
        while let Some(upto) = room(&window, position) {
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
            let stuck = |event: &Tracked| match event.offset {
                Offset(1) => Verdict::Open,
                Offset(_) => Verdict::Confirmed,
            };
            let verdicts = events.iter().map(stuck).collect();
            let id = window.hand_over(upto, 1, events);
            window.settle(id, verdicts);
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
    window.settle(second, vec![Verdict::Confirmed, Verdict::Open]);
    window.fail(third);
    window.roll_back();
    let mut position = window.cursor();
    let mut groups = Vec::new();
    while position < Offset(8) {
        let upto = room(&window, position).unwrap();
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
        window.confirm(id);
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
    window.confirm(id);
    assert_eq!(window.cursor(), Offset(40));
    window.confirm(id);
    assert!(window.is_empty());
}

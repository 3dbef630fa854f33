//! What is under way, and how far everything is settled: plain bookkeeping, without time or I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use relay_journal::Offset;

/// A hash of an event's key.
pub(super) type Key = u64;

/// An event that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tracked {
    pub(super) offset: Offset,
    pub(super) key: Key,
}

/// The bounds of what may be under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) batch_events: usize,
    pub(super) in_flight_bytes: usize,
    pub(super) ahead_events: usize,
}

/// What may be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) events: usize,
    /// Nothing behind it.
    pub(super) upto: Offset,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It needs another delivery.
    Open,
    /// The destination has it.
    Confirmed,
    /// The destination never takes it, and it is put away.
    Refused,
}

#[derive(Clone, Debug)]
enum Known {
    /// Its outcomes are awaited.
    Nothing,
    /// Everything is confirmed.
    Confirmed,
    /// In the order of the events; what is not there is open.
    Each(Vec<Verdict>),
}

#[derive(Clone, Debug)]
struct Flight {
    id: u64,
    upto: Offset,
    bytes: usize,
    events: Vec<Tracked>,
    known: Known,
}

impl Flight {
    fn is_settled(&self) -> bool {
        self.verdicts().all(|(_, verdict)| verdict != Verdict::Open)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.known, Known::Nothing)
    }

    /// Its events, each with what became of it.
    fn verdicts(&self) -> impl Iterator<Item = (Tracked, Verdict)> {
        self.events.iter().enumerate().map(|(index, event)| {
            let verdict = match &self.known {
                Known::Nothing => Verdict::Open,
                Known::Confirmed => Verdict::Confirmed,
                Known::Each(verdicts) => verdicts.get(index).copied().unwrap_or(Verdict::Open),
            };
            (*event, verdict)
        })
    }
}

/// The window over the journal in which deliveries are under way.
///
/// Everything up to the cursor is settled. Behind it lie the flights, in journal order, and, after a
/// failure, events that are known to be settled and are not to be handed over again.
#[derive(Debug)]
pub(super) struct Window {
    cursor: Offset,
    flights: VecDeque<Flight>,
    /// With their keys; a refused event has none, since no consumer has seen it.
    ahead: BTreeMap<Offset, Option<Key>>,
    /// Where flights ended that have to be flown again: reading stops there again, so that events that
    /// went together go together again.
    ends: BTreeSet<Offset>,
    next_id: u64,
    /// Events of all flights.
    flying: usize,
    waiting: usize,
    waiting_bytes: usize,
    /// After a failure one flight at a time, until one brings a confirmation.
    probing: bool,
}

impl Window {
    /// A window behind a cursor.
    pub(super) fn new(cursor: Offset) -> Self {
        Self {
            cursor,
            flights: VecDeque::new(),
            ahead: BTreeMap::new(),
            ends: BTreeSet::new(),
            next_id: 0,
            flying: 0,
            waiting: 0,
            waiting_bytes: 0,
            probing: false,
        }
    }

    /// Everything up to here is settled.
    pub(super) fn cursor(&self) -> Offset {
        self.cursor
    }

    /// Whether nothing lies between the cursor and what was read.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether an event is settled already and is not to be handed over again.
    pub(super) fn has_settled(&self, offset: Offset) -> bool {
        self.ahead.contains_key(&offset)
    }

    /// What may be read now, from `position` on; `None`: wait.
    ///
    /// Behind what is known to be settled ahead, nothing is read that makes that grow: so a single
    /// event that is never confirmed lets `ahead_events` pass, and no more.
    pub(super) fn room(&self, position: Offset, bounds: &Bounds) -> Option<Room> {
        let busy = self.probing || self.waiting_bytes >= bounds.in_flight_bytes;
        if busy && self.waiting > 0 {
            return None;
        }
        let known = self.ahead.last_key_value().map(|(last, _)| *last);
        let known = known.filter(|last| *last > position);
        let events = match known {
            Some(_) => bounds.batch_events,
            None => bounds
                .ahead_events
                .saturating_sub(self.flying + self.ahead.len())
                .min(bounds.batch_events),
        };
        let end = self.ends.range(position.next()..).next().copied();
        let upto = known.into_iter().chain(end).min();
        (events > 0 || self.is_empty()).then_some(Room {
            events: events.max(1),
            upto: upto.unwrap_or(Offset(u64::MAX)),
        })
    }

    /// A stretch in which nothing is to be delivered.
    pub(super) fn pass(&mut self, upto: Offset) {
        match self.flights.back_mut() {
            Some(last) if last.events.is_empty() => last.upto = upto,
            Some(_) => self.push(upto, 0, Vec::new(), Known::Confirmed),
            None => self.cursor = self.cursor.max(upto),
        }
        self.advance();
    }

    /// A stretch whose events are handed over. Returns its name.
    pub(super) fn hand_over(&mut self, upto: Offset, bytes: usize, events: Vec<Tracked>) -> u64 {
        self.push(upto, bytes, events, Known::Nothing);
        self.waiting += 1;
        self.waiting_bytes += bytes;
        self.advance();
        self.next_id
    }

    fn push(&mut self, upto: Offset, bytes: usize, events: Vec<Tracked>, known: Known) {
        self.next_id += 1;
        self.flying += events.len();
        self.flights.push_back(Flight {
            id: self.next_id,
            upto,
            bytes,
            events,
            known,
        });
    }

    /// All events of a flight are confirmed.
    pub(super) fn confirm(&mut self, id: u64) {
        self.land(id, Known::Confirmed);
        self.probing = false;
    }

    /// What became of each event of a flight.
    pub(super) fn settle(&mut self, id: u64, verdicts: Vec<Verdict>) {
        self.probing &= verdicts.iter().all(|verdict| *verdict == Verdict::Open);
        self.land(id, Known::Each(verdicts));
    }

    /// Nothing is known of a flight's events.
    pub(super) fn fail(&mut self, id: u64) {
        self.land(id, Known::Each(Vec::new()));
    }

    fn land(&mut self, id: u64, known: Known) {
        let Ok(index) = self.flights.binary_search_by_key(&id, |flight| flight.id) else {
            return;
        };
        let Some(flight) = self
            .flights
            .get_mut(index)
            .filter(|flight| flight.is_waiting())
        else {
            return;
        };
        flight.known = known;
        self.waiting -= 1;
        self.waiting_bytes -= flight.bytes;
        self.advance();
    }

    /// Moves the cursor over the longest settled prefix, to just before the oldest unsettled event.
    fn advance(&mut self) {
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.is_settled()) {
            self.cursor = self.cursor.max(flight.upto);
            self.flying -= flight.events.len();
        }
        let unsettled = self
            .flights
            .front()
            .and_then(|front| front.verdicts().find(|it| it.1 == Verdict::Open));
        if let Some((event, _)) = unsettled {
            self.cursor = self.cursor.max(Offset(event.offset.0.saturating_sub(1)));
        }
        if self
            .ahead
            .first_key_value()
            .is_some_and(|(first, _)| *first <= self.cursor)
        {
            self.ahead = self.ahead.split_off(&self.cursor.next());
        }
        if self.ends.first().is_some_and(|end| *end <= self.cursor) {
            self.ends = self.ends.split_off(&self.cursor.next());
        }
    }

    /// Forgets the flights after a failure: reading goes on at the cursor, and stops where they ended. What is settled stays so,
    /// save what was confirmed behind an unsettled event of the same key.
    pub(super) fn roll_back(&mut self) {
        let mut oldest: HashMap<Key, Offset> = HashMap::new();
        for flight in self.flights.drain(..) {
            if !flight.is_settled() {
                self.ends.insert(flight.upto);
            }
            for (event, verdict) in flight.verdicts() {
                let key = match verdict {
                    Verdict::Open => {
                        oldest.entry(event.key).or_insert(event.offset);
                        continue;
                    }
                    Verdict::Confirmed => Some(event.key),
                    Verdict::Refused => None,
                };
                self.ahead.insert(event.offset, key);
            }
        }
        let follows =
            |offset: &Offset, key: Key| oldest.get(&key).is_some_and(|oldest| oldest < offset);
        self.ahead
            .retain(|offset, key| !key.is_some_and(|key| follows(offset, key)));
        (self.flying, self.waiting, self.waiting_bytes) = (0, 0, 0);
        self.probing = true;
    }

    /// Begins anew behind another cursor.
    pub(super) fn reset(&mut self, cursor: Offset) {
        *self = Self {
            next_id: self.next_id,
            ..Self::new(cursor)
        };
    }

    /// How many events are known to be settled ahead of the cursor.
    #[cfg(test)]
    pub(super) fn settled_ahead(&self) -> usize {
        self.ahead.len()
    }
}

#[cfg(test)]
mod tests;

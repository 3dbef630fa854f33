//! Clients that have everything there is, served together: one task reads the bus for all of them
//! and writes straight to their sockets, so that an event costs a client a system call and not a
//! task to be woken. It knows neither what the frames hold nor the protocol around them.
//!
//! ```text
//!             joins: level with the group, nothing waits to be written
//!  own task ────────────────────────────────────────────────────────────▶ group
//!           ◀────────────────────────────────────────────────────────────
//!             leaves: its kernel refused bytes, it spoke or broke, something is due
//! ```
//! A client is in one of the two places, and takes its reader along: its position says what it has
//! been given, wherever that happened. So nothing is lost or doubled between them: the group gives a
//! client what lies behind that position, and takes nobody in whose position lies behind its own.
//! A group never waits for a client.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use relay_core::{Batch, Limit, Offset, ReadError, Reader};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::hub::Hub;
use super::serving::Serving;
use super::socket::Happened;
use super::wanted::Wanted;

mod frames;
#[cfg(test)]
mod tests;

pub(super) use frames::Frames;

/// What a group takes from the bus at once: what an idle socket's kernel takes at once as well.
const LIMIT: Limit = Limit {
    events: 64,
    bytes: 64 * 1024,
};
/// Clients that are written to before other tasks get their turn.
const AT_ONCE: usize = 32;
/// A second group is only worth its wake-ups when the first has so many clients.
const FULL: usize = 64;

/// Where a client is while it follows: its task and the group meet here.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Place>);

#[derive(Debug, Default)]
struct Place {
    /// `None`: the client is with its own task.
    serving: Option<Box<Serving>>,
    /// The group has left it something to do.
    unsettled: bool,
    waker: Option<Waker>,
}

/// First the taste, so that clients of one taste stand together.
type Key = (u64, u64);

#[derive(Debug, Default)]
struct Roll {
    /// Everybody has been given, or is being given, what lies up to here.
    position: Offset,
    /// The group waits for its first client, wherever that stands.
    asleep: bool,
    members: BTreeMap<Key, Arc<Seat>>,
    /// The number of each taste, and how many have it.
    tastes: HashMap<Arc<Wanted>, (u64, usize)>,
    numbers: u64,
}

/// Clients that are served by one task.
#[derive(Debug, Default)]
pub(super) struct Group {
    roll: Mutex<Roll>,
    size: AtomicUsize,
    first: Notify,
}

/// The groups of a sink: as many as there are threads to run them.
#[derive(Debug)]
pub(super) struct Groups(Box<[Group]>);

impl Groups {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Group::default()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Lets a group serve a client that is level with the bus. The client comes back if it is not:
    /// then there is something for it to read.
    pub(super) fn join(
        &self,
        seat: &Arc<Seat>,
        serving: Box<Serving>,
    ) -> Result<Following<'_>, Box<Serving>> {
        let size = |group: &&Group| group.size.load(Relaxed);
        let group = self.0.iter().find(|group| size(group) < FULL);
        match group.or_else(|| self.0.iter().min_by_key(size)) {
            Some(group) => group.join(seat, serving),
            None => Err(serving),
        }
    }

    /// Serves the clients of a group, for as long as it is polled.
    pub(super) async fn run(hub: Arc<Hub>, number: usize) {
        let Some(group) = hub.groups.0.get(number) else {
            return;
        };
        let mut reader = hub.bus.reader_after(hub.bus.last());
        let mut frames = Frames::default();
        loop {
            group.inhabited(&mut reader).await;
            match reader.next_batch(LIMIT).await {
                Ok(batch) => group.give(&batch, &mut frames, &hub).await,
                Err(ReadError::Cancelled) => return,
                Err(ReadError::Skipped(_)) => group.disband(reader.position()),
                Err(ReadError::Journal(_)) => {
                    reader.seek(hub.bus.last());
                    group.disband(reader.position());
                }
            }
        }
    }
}

impl Group {
    fn join(&self, seat: &Arc<Seat>, serving: Box<Serving>) -> Result<Following<'_>, Box<Serving>> {
        let position = serving.reader.position();
        let wanted = Arc::clone(serving.feed.wanted());
        let mut roll = self.roll();
        if roll.asleep {
            roll.asleep = false;
            roll.position = position;
            self.first.notify_one();
        } else if position < roll.position {
            return Err(serving);
        }
        *seat.place() = Place {
            serving: Some(serving),
            ..Place::default()
        };
        roll.numbers += 2;
        let number = roll.numbers;
        let taste = roll
            .tastes
            .entry(Arc::clone(&wanted))
            .or_insert((number, 0));
        taste.1 += 1;
        let key = (taste.0, number + 1);
        roll.members.insert(key, Arc::clone(seat));
        self.size.store(roll.members.len(), Relaxed);
        drop(roll);
        Ok(Following {
            group: self,
            seat: Arc::clone(seat),
            key,
            wanted,
        })
    }

    fn part(&self, key: Key, wanted: &Arc<Wanted>) {
        let mut roll = self.roll();
        roll.members.remove(&key);
        self.size.store(roll.members.len(), Relaxed);
        if let Some(taste) = roll.tastes.get_mut(wanted) {
            taste.1 -= 1;
            if taste.1 == 0 {
                roll.tastes.remove(wanted);
            }
        }
    }

    /// Waits for somebody to serve: a group of nobody costs nothing.
    async fn inhabited(&self, reader: &mut Reader) {
        loop {
            {
                let mut roll = self.roll();
                if !roll.members.is_empty() {
                    reader.seek(roll.position);
                    return;
                }
                roll.asleep = true;
            }
            self.first.notified().await;
        }
    }

    /// Gives every client what it wants of a batch.
    async fn give(&self, batch: &Batch, frames: &mut Frames, hub: &Hub) {
        self.roll().position = batch.upto();
        let mut seats = Vec::with_capacity(AT_ONCE);
        let (mut last, mut taste) = (None, None);
        loop {
            self.after(last, &mut seats);
            let mut given = 0;
            for (key, seat) in seats.drain(..) {
                last = Some(key);
                given += seat.with_settled(|serving| {
                    if taste.replace(key.0) != Some(key.0) {
                        frames.make(batch, serving.feed.wanted(), hub);
                    }
                    serving.hand(frames, batch)
                });
            }
            hub.events.inc_by(given);
            if self.is_last(last) {
                break;
            }
            yield_now().await;
        }
        frames.clear();
    }

    /// Takes up the clients behind a key, so many as are served at once.
    fn after(&self, last: Option<Key>, seats: &mut Vec<(Key, Arc<Seat>)>) {
        let roll = self.roll();
        let behind = roll
            .members
            .range((last.map_or(Unbounded, Excluded), Unbounded));
        seats.extend(
            behind
                .take(AT_ONCE)
                .map(|(key, seat)| (*key, Arc::clone(seat))),
        );
    }

    /// Whether nobody stands behind a key.
    fn is_last(&self, key: Option<Key>) -> bool {
        let roll = self.roll();
        roll.members
            .last_key_value()
            .is_none_or(|(last, _)| Some(*last) <= key)
    }

    /// Sends everybody back to their own tasks: what the group could not read, each is told.
    fn disband(&self, position: Offset) {
        let mut seats = Vec::new();
        {
            let mut roll = self.roll();
            roll.position = position;
            seats.extend(roll.members.values().map(Arc::clone));
        }
        for seat in seats {
            seat.unsettle();
        }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Gives the client something, if it is there and waits for nothing else. Says how many events
    /// the kernel has taken.
    fn with_settled(&self, hand: impl FnOnce(&mut Serving) -> super::serving::Handed) -> u64 {
        let mut place = self.place();
        let Place {
            serving: Some(serving),
            unsettled: false,
            ..
        } = &mut *place
        else {
            return 0;
        };
        let handed = hand(serving);
        if !handed.settled {
            place.unsettle();
        }
        handed.events
    }

    fn unsettle(&self) {
        self.place().unsettle();
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn unsettle(&mut self) {
        self.unsettled = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A client that a group serves. Dropping it ends the client.
#[derive(Debug)]
pub(super) struct Following<'a> {
    group: &'a Group,
    seat: Arc<Seat>,
    key: Key,
    wanted: Arc<Wanted>,
}

impl Following<'_> {
    /// Ready when the client's own task has something to do: what happened on the socket, if that
    /// is it.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Happened>> {
        let mut place = self.seat.place();
        let Place {
            serving: Some(serving),
            unsettled: false,
            waker,
        } = &mut *place
        else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(happened) = serving.socket.poll(cx) {
            return Poll::Ready(Some(happened));
        }
        if !serving.socket.is_straight() {
            return Poll::Ready(None);
        }
        match waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes the client back to its own task. `None`: it has been taken already.
    pub(super) fn leave(self) -> Option<Box<Serving>> {
        std::mem::take(&mut *self.seat.place()).serving
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.group.part(self.key, &self.wanted);
        drop(std::mem::take(&mut *self.seat.place()));
    }
}

//! The subsIds of SAPI clients: a durable cursor each, held by one connection at a time. It knows
//! no frames and no sockets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use relay_core::store::Store;
use relay_core::{Cursor, Epoch, From, Offset, Table};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::websocket::Config;

/// The client has as many subsIds as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client has {0} subsIds already: one is free again when it has been away for sapi.cache"
)]
pub(crate) struct Full(usize);

/// What is durable of a subsId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The last event handed to the kernel; `None`: it has never been held.
    cursor: Option<Cursor>,
    /// The number of the last heartbeat.
    sequence: u64,
    /// When it was last known to be held, in Unix milliseconds.
    seen_ms: u64,
}

impl Place {
    fn read(text: &[u8]) -> Option<Self> {
        let mut parts = str::from_utf8(text).ok()?.split(' ');
        let cursor = parts.next()?.parse().ok()?;
        let (sequence, seen_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self {
            cursor: Some(cursor),
            sequence,
            seen_ms,
        })
    }

    fn write(&self) -> Option<Vec<u8>> {
        let Self {
            cursor,
            sequence,
            seen_ms,
        } = self;
        Some(format!("{} {sequence} {seen_ms}", (*cursor)?).into_bytes())
    }
}

/// Whose a subsId is, and the subsId.
type Key = (Arc<str>, Box<str>);

#[derive(Debug)]
struct Slot {
    store_key: String,
    place: Mutex<Place>,
    /// Held by the connection that writes.
    owner: Arc<tokio::sync::Mutex<()>>,
    /// Ends that connection.
    end: Mutex<CancellationToken>,
}

/// All subsIds of a sink.
#[derive(Debug)]
pub(crate) struct Slots {
    by_key: Mutex<HashMap<Key, Arc<Slot>>>,
    prefix: String,
    store: Store,
    epoch: Epoch,
    cache: Duration,
    most: usize,
}

impl Slots {
    pub(crate) fn new(config: &Config, store: Store, epoch: Epoch) -> Self {
        let prefix = format!("downstream/{}/", config.name);
        let mut slots = HashMap::new();
        for (store_key, value) in store.all(Table::SubsIds) {
            let key = store_key
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split_once('/'));
            let place = Place::read(&value);
            if let (Some((client, subs_id)), Some(place)) = (key, place) {
                let key = (client.into(), subs_id.into());
                slots.insert(key, Arc::new(Slot::new(store_key, place)));
            }
        }
        let (cache, most) = (config.sapi.cache, config.sapi.max_subs_ids);
        Self {
            by_key: Mutex::new(slots),
            prefix,
            store,
            epoch,
            cache,
            most,
        }
    }

    /// Holds a subsId. Whoever holds it is ended, and has let go when this returns; `end` ends this
    /// holder when the next one comes.
    pub(crate) async fn hold(
        &self,
        client: &Arc<str>,
        subs_id: &str,
        end: &CancellationToken,
    ) -> Result<Held, Full> {
        let slot = self.slot(client, subs_id)?;
        let previous = std::mem::replace(&mut *lock(&slot.end), end.clone());
        previous.cancel();
        let owner = Arc::clone(&slot.owner).lock_owned().await;
        let held = Held {
            slot,
            store: self.store.clone(),
            epoch: self.epoch,
            owner: Some(owner),
        };
        if held.place().seen_ms < self.oldest() {
            held.place().cursor = None;
        }
        Ok(held)
    }

    fn slot(&self, client: &Arc<str>, subs_id: &str) -> Result<Arc<Slot>, Full> {
        let mut slots = lock(&self.by_key);
        let key: Key = (Arc::clone(client), subs_id.into());
        if let Some(slot) = slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        let oldest = self.oldest();
        slots.retain(|_, slot| {
            let expired = Arc::strong_count(slot) == 1 && lock(&slot.place).seen_ms < oldest;
            if expired {
                self.store.remove(Table::SubsIds, &slot.store_key);
            }
            !expired
        });
        if slots.keys().filter(|(owner, _)| owner == client).count() >= self.most {
            return Err(Full(self.most));
        }
        let place = Place {
            cursor: None,
            sequence: 0,
            seen_ms: now_ms(),
        };
        let store_key = format!("{}{client}/{subs_id}", self.prefix);
        let slot = Arc::new(Slot::new(store_key, place));
        slots.insert(key, Arc::clone(&slot));
        Ok(slot)
    }

    /// Who was last seen before this has been away for too long.
    fn oldest(&self) -> u64 {
        now_ms().saturating_sub(u64::try_from(self.cache.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Slot {
    fn new(store_key: String, place: Place) -> Self {
        Self {
            store_key,
            place: Mutex::new(place),
            owner: Arc::default(),
            end: Mutex::default(),
        }
    }
}

/// A subsId while a connection holds it. Dropping it writes the cursor down and lets the next one
/// have it.
#[derive(Debug)]
pub(crate) struct Held {
    slot: Arc<Slot>,
    store: Store,
    epoch: Epoch,
    /// `None`: let go of.
    owner: Option<OwnedMutexGuard<()>>,
}

impl Held {
    /// Where to go on: behind what was handed to the kernel last, or now if that is too long ago.
    pub(crate) fn from(&self) -> From {
        self.place().cursor.map_or(From::Now, From::After)
    }

    /// Moves the cursor. True if it has moved.
    pub(crate) fn moved(&self, offset: Offset) -> bool {
        let cursor = Some(Cursor {
            epoch: self.epoch,
            offset,
        });
        let mut place = self.place();
        let moved = place.cursor != cursor;
        place.cursor = cursor;
        moved
    }

    /// The number of the next heartbeat.
    pub(crate) fn next_sequence(&self) -> u64 {
        let mut place = self.place();
        place.sequence += 1;
        place.sequence
    }

    /// Writes down what there is: durable within about a second.
    pub(crate) fn save(&self) {
        let mut place = self.place();
        place.seen_ms = now_ms();
        let value = place.write();
        drop(place);
        if let Some(value) = value {
            self.store.set(Table::SubsIds, &self.slot.store_key, value);
        }
    }

    /// Writes the cursor down and lets the next one have it.
    pub(crate) fn release(&mut self) {
        if self.owner.is_some() {
            self.save();
            self.owner = None;
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        lock(&self.slot.place)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What answers that stream (events, history) may hold of memory all together, beyond a little for
//! each: a client that does not read keeps its chunk for as long as its connection stands. It does
//! not know what the chunks hold.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all chunks together may take.
const MOST: usize = 64 * 1024 * 1024;
/// A chunk of so many bytes counts as nothing.
const LITTLE: usize = 4 * 1024;
/// An event of more bytes is not made into a chunk before there is room for it.
const LARGE: usize = 256 * 1024;

/// The budget: a permit a byte. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

/// Room for a chunk.
#[derive(Debug)]
pub(super) struct Room {
    _permits: OwnedSemaphorePermit,
}

/// A chunk that counts for as long as anybody holds it.
struct Counted {
    chunk: Vec<u8>,
    _room: Room,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Budget {
    /// The chunk, counted until it is written or dropped. The chunk comes back where there is no
    /// room for it: a smaller one is to be made, not to be waited for, since those who hold the room
    /// may not read for long.
    pub(super) fn take(&self, chunk: Vec<u8>) -> Result<Bytes, Vec<u8>> {
        if chunk.len() <= LITTLE {
            return Ok(chunk.into());
        }
        match Arc::clone(&self.0).try_acquire_many_owned(permits(chunk.capacity())) {
            Ok(permits) => Ok(Room::of(permits).hold(chunk)),
            Err(_too_much) => Err(chunk),
        }
    }

    /// A chunk of one event, in the room that has been waited for. Without that it goes whatever
    /// others hold, unless it is large: the error is what room it needs.
    pub(super) fn alone(&self, chunk: Vec<u8>, room: Option<Room>) -> Result<Bytes, usize> {
        match room {
            Some(room) => Ok(room.hold(chunk)),
            None if chunk.len() <= LARGE => Ok(chunk.into()),
            None => self.take(chunk).map_err(|chunk| chunk.capacity()),
        }
    }

    /// Waits for room, in the order of those who ask. `None`: there will be none.
    pub(super) async fn room(&self, size: usize) -> Option<Room> {
        let room = Arc::clone(&self.0).acquire_many_owned(permits(size));
        room.await.ok().map(Room::of)
    }
}

impl Room {
    fn of(permits: OwnedSemaphorePermit) -> Self {
        Self { _permits: permits }
    }

    fn hold(self, chunk: Vec<u8>) -> Bytes {
        Bytes::from_owner(Counted { chunk, _room: self })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

/// What is larger than all there is takes all there is.
fn permits(size: usize) -> u32 {
    u32::try_from(size.min(MOST)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_counts_until_its_last_part_is_gone() {
        let budget = Budget::default();
        let large = || vec![0; MOST / 2];
        let one = budget.take(large()).unwrap();
        let part = one.slice(..10);
        let other = budget.take(large()).unwrap();
        assert_eq!(
            budget.take(vec![0; LITTLE + 1]).unwrap_err().len(),
            LITTLE + 1
        );
        assert!(budget.take(vec![0; LITTLE]).is_ok(), "a little always goes");
        drop((one, other));
        assert!(budget.take(large()).is_ok());
        assert!(
            budget
                .take(large().into_iter().chain([0]).collect())
                .is_err()
        );
        drop(part);
        assert!(budget.take(large()).is_ok());
        assert_eq!(budget.0.available_permits(), MOST);
    }

    #[tokio::test]
    async fn an_event_alone_goes_if_it_is_not_large_or_has_waited() {
        let budget = Budget::default();
        let all = budget.take(vec![0; 2 * MOST]).unwrap();
        assert!(budget.alone(vec![0; LARGE], None).is_ok());
        let size = budget.alone(vec![0; LARGE + 1], None).unwrap_err();
        let mut room = Box::pin(budget.room(size));
        assert!(futures_util::poll!(&mut room).is_pending());
        drop(all);
        let chunk = budget.alone(vec![0; size], room.await).unwrap();
        assert_eq!(budget.0.available_permits(), MOST - size);
        drop(chunk);
        assert_eq!(budget.0.available_permits(), MOST);
    }
}

//! What answers that stream (events, history) may hold of memory all together, beyond a little for
//! each: a client that does not read keeps its chunk for as long as its connection stands. It does
//! not know what the chunks hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

/// What all chunks together may take.
const MOST: usize = 64 * 1024 * 1024;
/// A chunk of so many bytes counts as nothing.
const LITTLE: usize = 4 * 1024;

/// The budget. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A chunk that counts for as long as anybody holds it.
struct Counted {
    chunk: Vec<u8>,
    budget: Budget,
}

impl Budget {
    /// The chunk, counted until it is written or dropped. The chunk comes back where there is no
    /// room for it: a smaller one is to be made, not to be waited for, since those who hold the room
    /// may not read for long.
    pub(super) fn take(&self, chunk: Vec<u8>) -> Result<Bytes, Vec<u8>> {
        let size = chunk.capacity();
        if chunk.len() <= LITTLE {
            return Ok(chunk.into());
        }
        let more = |held: usize| (held + size <= MOST).then_some(held + size);
        if self.0.fetch_update(Relaxed, Relaxed, more).is_err() {
            return Err(chunk);
        }
        let budget = self.clone();
        Ok(Bytes::from_owner(Counted { chunk, budget }))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.chunk.capacity(), Relaxed);
    }
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
        assert_eq!(budget.0.load(Relaxed), 0);
    }
}

//! Buffers of commit groups, used again. It does not know what is written into them.
//!
//! Under load a group takes a buffer of about a megabyte and a reader's tail lets one go. Left to the
//! allocator those blocks scatter (a quarter more memory than they hold, as measured), and each new one
//! costs a page fault for every 4 KiB. So a large buffer comes back here when the last slice of it is
//! gone, and the next group is encoded into it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers below this are the allocator's business.
pub(super) const LARGE: usize = 256 * 1024;
/// Buffers above this are for documents that are rare.
const LARGEST: usize = 2 * 1024 * 1024;
/// Large buffers grow by so much rather than twofold.
const STEP: usize = 128 * 1024;
/// Waiting buffers: one that is being filled next, and one more for readers that let several go.
const WAITING: usize = 2;

/// The buffers of one log that wait to be used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer for about so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes < LARGE {
            return Vec::with_capacity(bytes);
        }
        let waiting = self.waiting().pop();
        waiting.unwrap_or_else(|| Vec::with_capacity(bytes.next_multiple_of(STEP).min(LARGEST)))
    }

    /// Sees to it that a buffer has room for so many bytes more.
    pub(super) fn reserve(buffer: &mut Vec<u8>, bytes: usize) {
        let wanted = buffer.len().saturating_add(bytes);
        if wanted <= LARGE {
            buffer.reserve(bytes);
        } else if wanted > buffer.capacity() {
            // Twofold growth would leave up to half of it empty, and the bus keeps it for long.
            buffer.reserve_exact(wanted.next_multiple_of(STEP) - buffer.len());
        }
    }

    /// What was written, to be shared; the buffer comes back once nobody has a slice of it.
    pub(super) fn share(&self, mut written: Vec<u8>) -> Shared {
        let spare = written.capacity() - written.len();
        if spare <= written.len() / 4 {
            let bytes = if Self::fits(&written) {
                Bytes::from_owner(Lent {
                    buffer: written,
                    home: self.clone(),
                })
            } else {
                Bytes::from(written)
            };
            return Shared { bytes, spare };
        }
        // A large buffer for few bytes: they are copied out, so that memory holds what it says.
        let bytes = if Self::fits(&written) {
            let bytes = Bytes::copy_from_slice(&written);
            self.put(written);
            bytes
        } else {
            written.shrink_to_fit();
            Bytes::from(written)
        };
        Shared { bytes, spare: 0 }
    }

    fn fits(buffer: &Vec<u8>) -> bool {
        (LARGE..=LARGEST).contains(&buffer.capacity())
    }

    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut waiting = self.waiting();
        if waiting.len() < WAITING {
            waiting.push(buffer);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was written.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bytes: Bytes,
    /// What the buffer takes beyond it.
    pub(super) spare: usize,
}

/// A buffer that somebody has slices of.
struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(buffers: &Buffers, hint: usize, bytes: usize) -> Vec<u8> {
        let mut buffer = buffers.take(hint);
        Buffers::reserve(&mut buffer, bytes);
        buffer.resize(bytes, b'x');
        buffer
    }

    #[test]
    fn a_large_buffer_comes_back_with_its_last_slice() {
        let buffers = Buffers::default();
        let shared = buffers.share(written(&buffers, LARGE, LARGE));
        let place = shared.bytes.as_ptr();
        let slice = shared.bytes.slice(7..9);
        drop(shared);
        assert!(buffers.waiting().is_empty(), "a slice of it is left");
        assert_eq!(&slice[..], b"xx");
        drop(slice);
        let again = buffers.take(LARGE);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn few_bytes_do_not_keep_a_large_buffer() {
        let buffers = Buffers::default();
        let shared = buffers.share(written(&buffers, 4 * LARGE, 1000));
        assert_eq!((shared.bytes.len(), shared.spare), (1000, 0));
        assert_eq!(buffers.waiting().len(), 1, "it is used for the next group");
        let small = buffers.share(written(&buffers, 1000, 100));
        assert_eq!((small.bytes.len(), small.spare), (100, 0));
        assert_eq!(buffers.waiting().len(), 1, "small ones are not kept");
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_in_bytes() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..5)
            .map(|_| buffers.share(written(&buffers, LARGE, LARGE)))
            .collect();
        drop(many);
        assert_eq!(buffers.waiting().len(), WAITING);
        buffers.waiting().clear();
        drop(buffers.share(written(&buffers, LARGE, LARGEST + 1)));
        assert!(buffers.waiting().is_empty());
    }

    #[test]
    fn a_large_buffer_grows_by_steps() {
        let mut buffer = vec![0; 5 * LARGE];
        Buffers::reserve(&mut buffer, 10);
        assert!(buffer.capacity() <= 5 * LARGE + STEP);
    }
}

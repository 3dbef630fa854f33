//! Trimming: whole segments go, oldest first, and never the active one. It knows what every sink has
//! passed only by being told.

use std::io;

use crate::ids::Offset;

use super::inner::{Log, lock};
use super::view::Segment;

/// What may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrimPolicy {
    /// Every sink has passed up to here, this offset included.
    pub passed: Offset,
    /// Segments whose last record is older than this go, if every sink has passed them.
    pub older_than_ms: Option<u64>,
    /// While the log takes more than this, the oldest segment goes, passed or not.
    pub max_bytes: Option<u64>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// How many segments.
    pub segments: u64,
    /// The bytes they took on disk.
    pub bytes: u64,
    /// The oldest offset that is kept now.
    pub first: Offset,
}

impl Log {
    /// Removes what a policy lets go. Readers of what goes get
    /// [`ReadError::Trimmed`](super::ReadError::Trimmed), or the records once more.
    ///
    /// # Errors
    /// The disk refused; what could not be removed stays readable.
    pub fn trim(&self, policy: &TrimPolicy) -> io::Result<Trimmed> {
        self.remove_while(|segment, total, _| {
            let passed = segment.next.before() <= policy.passed;
            let old = segment
                .times
                .zip(policy.older_than_ms)
                .is_some_and(|((_, t), old)| t < old);
            passed && old || policy.max_bytes.is_some_and(|max| total > max)
        })
    }

    /// For a full volume: removes the oldest segments that every sink has passed, until `want_bytes`
    /// have been given back.
    ///
    /// # Errors
    /// As [`Log::trim`].
    pub fn trim_passed(&self, passed: Offset, want_bytes: u64) -> io::Result<Trimmed> {
        self.remove_while(|segment, _, freed| freed < want_bytes && segment.next.before() <= passed)
    }

    /// Removes the oldest segment as long as it may go, given it, the bytes of the log, and the bytes
    /// removed so far.
    fn remove_while(&self, may_go: impl Fn(&Segment, u64, u64) -> bool) -> io::Result<Trimmed> {
        if self.0.anchor.is_none() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let _one_at_a_time = lock(&self.0.trimming);
        let mut trimmed = Trimmed::default();
        while let Some((segment, last)) = self.candidate(|s, total| may_go(s, total, trimmed.bytes))
        {
            self.remove(segment, last, &mut trimmed)?;
        }
        if trimmed.segments > 0 {
            self.0.volume.sync_dir(&self.0.dir)?;
        }
        trimmed.first = self.first();
        Ok(trimmed)
    }

    fn candidate(&self, may_go: impl Fn(&Segment, u64) -> bool) -> Option<(Segment, bool)> {
        let view = self.0.view();
        let oldest = view.segments.front()?;
        let goes = oldest.live.is_none() && may_go(oldest, view.bytes());
        goes.then(|| (oldest.clone(), view.segments.len() == 1))
    }

    fn remove(&self, segment: Segment, last: bool, trimmed: &mut Trimmed) -> io::Result<()> {
        let anchor = self.0.anchor.as_ref().filter(|_| last);
        if let Some(anchor) = anchor {
            let mut anchor = lock(anchor);
            let (next, join, last_time) = {
                let view = self.0.view();
                (view.next, view.join, view.last_time)
            };
            anchor.write(&self.0.volume, |anchor| {
                if anchor.newest <= segment.first {
                    (anchor.newest, anchor.newest_bytes) = (Offset(0), 0);
                }
                (anchor.floor, anchor.join, anchor.last_time) = (next, join, last_time);
            })?;
        }
        // Readers must not find it any more before it goes, and it must come back if it stays.
        self.0.view_mut().segments.pop_front();
        drop(self.0.files.take(segment.first));
        if let Err(error) = self.0.volume.remove(&segment.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.0.view_mut().segments.push_front(segment);
            return Err(error);
        }
        trimmed.segments += 1;
        trimmed.bytes += segment.file_bytes;
        Ok(())
    }
}

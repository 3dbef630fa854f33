//! The face that a WebSocket client has come to: what it is told besides events, and when. It knows
//! neither its socket nor its reader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_core::{Offset, Skipped};

use super::wanted::Wanted;
use super::{sapi, stream};

/// What a session sends.
#[derive(Debug)]
pub(super) enum Feed {
    Stream(stream::Feed),
    Sapi(sapi::Feed),
}

impl Feed {
    /// Which events, in which form.
    pub(super) fn wanted(&self) -> &Arc<Wanted> {
        match self {
            Self::Stream(feed) => feed.wanted(),
            Self::Sapi(feed) => feed.wanted(),
        }
    }

    /// What is said of events that are gone.
    pub(super) fn skipped(&self, skipped: Skipped, position: Offset) -> Option<Bytes> {
        match self {
            Self::Stream(feed) => Some(feed.skipped(skipped, position)),
            Self::Sapi(_) => None,
        }
    }

    /// What shows the client now and then that the stream lives; `None`: a ping does.
    pub(super) fn heartbeat(&mut self) -> Option<Bytes> {
        match self {
            Self::Stream(_) => None,
            Self::Sapi(feed) => Some(feed.heartbeat()),
        }
    }

    pub(super) fn heartbeat_period(&self) -> Duration {
        match self {
            Self::Stream(_) => stream::PING,
            Self::Sapi(feed) => feed.heartbeat_period(),
        }
    }

    /// Pings go out only where nothing else does; heartbeats of SAPI always.
    pub(super) fn beats_when_busy(&self) -> bool {
        matches!(self, Self::Sapi(_))
    }

    /// The kernel has taken everything up to `offset`. True: [`Feed::remind`] is wanted in a while.
    pub(super) fn written(&mut self, offset: Offset, said: bool) -> bool {
        match self {
            Self::Stream(feed) => feed.wants_reminder(offset, said),
            Self::Sapi(feed) => feed.written(offset),
        }
    }

    /// What was put off: a frame that tells the client its cursor, if it is `free` for one, or writing
    /// its cursor down.
    pub(super) fn remind(&mut self, offset: Offset, free: bool) -> Option<Bytes> {
        match self {
            Self::Stream(feed) => free.then(|| feed.progress_frame(offset)),
            Self::Sapi(feed) => {
                feed.save();
                None
            }
        }
    }

    /// Nothing is written any more behind `offset`: whoever waits for the place may have it.
    pub(super) fn finish(&mut self, offset: Offset) {
        match self {
            Self::Stream(_) => {}
            Self::Sapi(feed) => feed.finish(offset),
        }
    }

    pub(super) fn session_length(&self) -> Option<Duration> {
        match self {
            Self::Stream(_) => None,
            Self::Sapi(feed) => feed.session_length(),
        }
    }
}

//! `/v1/stream`: events over WebSocket, from wherever the client wishes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_core::{From, Offset, ReadError, Skipped};

use super::feed;
use super::frame::{Shape, progress_frame, text_frame};
use super::hub::{Admission, Hub};
use super::notice::Personal;
use super::query::Wish;
use super::session::Session;
use super::wanted::{Form, Wanted};

/// A stream that says nothing is pinged so often: a peer that is gone is found by it.
pub(super) const PING: Duration = Duration::from_secs(30);

/// What a client of `/v1/stream` gets.
#[derive(Debug)]
pub(super) struct Feed {
    wanted: Arc<Wanted>,
    shape: Shape,
    progress: bool,
    /// The offset of the cursor that the client was told last.
    told: Offset,
    hub: Arc<Hub>,
}

impl Feed {
    pub(super) fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    pub(super) fn skipped(&self, skipped: Skipped, position: Offset) -> Bytes {
        let cursor = self.hub.bus.cursor(position);
        let notice = Personal::skipped(skipped, cursor, &self.hub.config.tenant);
        text_frame(&notice.write(self.shape))
    }

    /// Whether the client wants to be told its cursor, where the last frame has not told it.
    pub(super) fn wants_reminder(&mut self, offset: Offset, said: bool) -> bool {
        if said && self.shape == Shape::CloudEvents {
            self.told = offset;
        }
        self.progress && offset > self.told
    }

    pub(super) fn progress_frame(&mut self, offset: Offset) -> Bytes {
        self.told = offset;
        progress_frame(self.hub.bus.cursor(offset))
    }
}

/// A session of `/v1/stream`.
///
/// # Errors
/// The journal could not be read to find a time.
pub(super) async fn open(admission: Admission, wish: Wish) -> Result<Session, ReadError> {
    let hub = Arc::clone(&admission.hub);
    let (reader, unmet) = hub.bus.reader(wish.from.unwrap_or(From::Now)).await?;
    let told = reader.position();
    let position = hub.bus.cursor(told);
    let mut greeting = Vec::new();
    if let Some(unmet) = unmet {
        let notice = Personal::unmet(unmet, position, &hub.config.tenant);
        greeting.push(text_frame(&notice.write(wish.shape)));
    }
    if wish.progress {
        greeting.push(progress_frame(position));
    }
    let feed = Feed {
        wanted: Arc::new(Wanted {
            select: wish.select,
            form: Form::Shape(wish.shape),
        }),
        shape: wish.shape,
        progress: wish.progress,
        told,
        hub,
    };
    Ok(Session {
        admission,
        reader,
        feed: feed::Feed::Stream(feed),
        greeting,
    })
}

//! The face that speaks SAPI: a client written for 8x8 subscribes here as it would there. One
//! document a frame, heartbeats with numbers of their own, no notices; a subsId is a durable cursor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use relay_core::Offset;
use sapi_protocol::{
    Heartbeat, OutputType, SubscribeError, SubscribeRequest, parse_subscribe_path,
};

use super::feed;
use super::frame::text_frame;
use super::hub::{Admission, Hub};
use super::query::Select;
use super::session::Session;
use super::wanted::{Form, Wanted};

mod converted;
mod slots;

pub(super) use converted::Converted;
use slots::Held;
pub(super) use slots::Slots;

/// What a client gets that names no output type: the vendor does not document its default.
const DEFAULT_OUTPUT: OutputType = OutputType::Json;

/// What a SAPI client gets.
#[derive(Debug)]
pub(super) struct Feed {
    wanted: Arc<Wanted>,
    output: OutputType,
    subs_id: Box<str>,
    instance: Box<str>,
    held: Held,
    hub: Arc<Hub>,
}

/// Reads a subscribe request; the error is for the client.
pub(super) fn read(
    path: &str,
    query: Option<&str>,
) -> Result<SubscribeRequest, (StatusCode, String)> {
    parse_subscribe_path(path, query).map_err(|error| match error {
        SubscribeError::NotThisPath => (StatusCode::NOT_FOUND, "not a SAPI path".to_owned()),
        SubscribeError::BadParameter(reason) => (StatusCode::BAD_REQUEST, reason),
    })
}

/// A session on a subsId. Another connection on it is closed first, and has stopped writing when
/// this returns.
pub(super) async fn open(
    admission: Admission,
    wish: SubscribeRequest,
) -> Result<Session, (StatusCode, String)> {
    let hub = Arc::clone(&admission.hub);
    let held = hub
        .slots
        .hold(&admission.client.name, &wish.subs_id, &admission.end)
        .await;
    let held = held.map_err(|full| (StatusCode::TOO_MANY_REQUESTS, full.to_string()))?;
    let resolved = hub.bus.resolve(held.from()).await;
    let unreadable = |_error| {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "journal unreadable".to_owned(),
        )
    };
    let (position, _unmet) = resolved.map_err(unreadable)?;
    held.moved(position);
    held.save();
    let output = wish.output.unwrap_or(DEFAULT_OUTPUT);
    let feed = Feed {
        wanted: Arc::new(Wanted {
            select: Select::allowed(&admission.client),
            form: Form::Document(output),
        }),
        output,
        subs_id: wish.subs_id.into(),
        instance: format!("sapi-relay-{}", hub.bus.epoch()).into(),
        held,
        hub,
    };
    let reader = feed.hub.bus.reader_after(position);
    Ok(Session {
        admission,
        reader,
        feed: feed::Feed::Sapi(feed),
        greeting: Vec::new(),
    })
}

impl Feed {
    pub(super) fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    pub(super) fn heartbeat(&mut self) -> Bytes {
        let heartbeat = Heartbeat {
            instance_id: &self.instance,
            sequence: self.held.next_sequence(),
            timestamp_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
            subscription_id: &self.subs_id,
            tenant_id: &self.hub.config.tenant,
        };
        let mut document = heartbeat.write(self.output.format());
        if self.output.newline() {
            document.push(b'\n');
        }
        // It shows that the client is still there: from now on it may be away for the whole time.
        self.held.save();
        text_frame(&document)
    }

    pub(super) fn heartbeat_period(&self) -> Duration {
        self.hub.config.sapi.heartbeat
    }

    pub(super) fn session_length(&self) -> Option<Duration> {
        self.hub.config.sapi.session_length
    }

    /// The kernel has everything up to `offset`. True: it is to be written down in a while.
    pub(super) fn written(&self, offset: Offset) -> bool {
        self.held.moved(offset)
    }

    /// Writes the cursor down.
    pub(super) fn save(&self) {
        self.held.save();
    }

    /// Nothing is written any more: who waits for the subsId may have it.
    pub(super) fn finish(&mut self, offset: Offset) {
        self.held.moved(offset);
        self.held.release();
    }
}

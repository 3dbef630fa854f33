//! Owns `/v1/events` of the admin server: the dashboard's live tail, as server-sent events. It is a
//! view, not a delivery: paced, cut where an event is large, and whoever falls behind is told how
//! much was left out and goes on at the end. It ends with its connection, after minutes, and browsers
//! come again. Consumers read the websocket sink.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderName, StatusCode};
use futures_util::stream::unfold;
use relay_core::cloudevents::{Attributes, Source};
use relay_core::filter::Filter;
use relay_core::{Batch, Cursor, Event, Kind, Limit, Offset, ReadError, Reader};
use serde::Serialize;
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::answer::{Refused, at, bad, parameters};
use super::serving::Ending;
use crate::relay::SharedState;

/// Tails at once.
const MOST: usize = 16;
/// Between two chunks, so that a chunk holds many events and a tail costs ten wakes a second.
const PACE: Duration = Duration::from_millis(100);
/// What is looked at for one chunk.
const LIMIT: Limit = Limit {
    events: 4096,
    bytes: 1 << 20,
};
/// What a chunk holds: rows, and about so many bytes.
const ROWS: usize = 256;
const CHUNK: usize = 256 * 1024;
/// What is shown of one event.
const SHOWN: usize = 8 * 1024;
/// Farther behind than this, it goes on so close to the end.
const BEHIND: u64 = 2_000;
const CLOSE: u64 = 200;
/// A page that opens is shown what has been last.
const BEFORE: u64 = 50;
/// A stream that says nothing says its cursor so often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a browser should connect again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// The tails of one server: how many more there may be.
#[derive(Clone, Debug)]
pub(super) struct Tails(Arc<Semaphore>);

impl Default for Tails {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// An event as the page shows it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    cursor: String,
    at: String,
    notice: bool,
    class: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    key: &'a str,
    id: &'a str,
    size: usize,
    /// The beginning of its bytes.
    text: String,
}

type Answer = Result<([(HeaderName, &'static str); 2], Body), Refused>;

/// `GET /v1/events?types=`: events and notices as arrays of rows, a chunk each.
pub(super) async fn events(
    State(state): State<Arc<SharedState>>,
    State(tails): State<Tails>,
    Extension(ending): Extension<Ending>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = parameters(query.as_deref(), &["types"])?;
    let types = query.get("types").map_or("", String::as_str);
    let filter = Filter::parse_list(types).map_err(|error| bad(format!("types: {error}")))?;
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok()?.parse::<Cursor>().ok());
    let place = Arc::clone(&tails.0).try_acquire_owned();
    let Ok(place) = place else {
        let why = format!("{MOST} pages watch already: close one");
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let tenant = &state.config().upstream.tenant_id;
    let tail = Tail {
        source: Source::new(tenant, state.bus.epoch()),
        reader: state.bus.reader_after(start(&state, last)),
        filter,
        greeting: Some(RETRY),
        next: Instant::now(),
        left_out: 0,
        ending,
        _place: place,
    };
    let chunks = unfold(tail, |mut tail| async move {
        let chunk = tail.next().await?;
        Some((Ok::<_, io::Error>(chunk), tail))
    });
    let head = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((head, Body::from_stream(chunks)))
}

/// After what the page has had, or a little before the end.
fn start(state: &SharedState, seen: Option<Cursor>) -> Offset {
    let last = state.bus.last();
    let here = |cursor: &Cursor| cursor.epoch == state.bus.epoch() && cursor.offset <= last;
    match seen.filter(here) {
        Some(cursor) => cursor.offset,
        None => Offset(last.0.saturating_sub(BEFORE)).max(before(state.bus.first())),
    }
}

fn before(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}

/// One page that watches.
struct Tail {
    source: Source,
    reader: Reader,
    filter: Filter,
    greeting: Option<&'static str>,
    /// When the next chunk may go.
    next: Instant,
    /// Events left out that the page has not been told of.
    left_out: u64,
    ending: Ending,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next chunk; `None`: the stream ends. hyper asks when the page has taken the last one, so
    /// that a slow page holds a chunk and nothing else.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(Bytes::from_static(greeting.as_bytes()));
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        let ending = self.ending.0.clone();
        select! {
            biased;
            () = ending.cancelled() => None,
            chunk = self.chunk() => chunk,
            () = sleep_until(heartbeat) => Some(self.heartbeat()),
        }
    }

    /// Waits for events that are wanted. Cancel safe.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            sleep_until(self.next).await;
            self.catch_up();
            let batch = match self.reader.next_batch(LIMIT).await {
                Ok(batch) => batch,
                Err(ReadError::Skipped(_)) => continue,
                Err(ReadError::Journal(_) | ReadError::Cancelled) => return None,
            };
            self.next = Instant::now() + PACE;
            let rows = self.rows(&batch);
            let left_out = std::mem::take(&mut self.left_out);
            if rows.is_empty() && left_out == 0 {
                continue;
            }
            let told = match left_out {
                0 => String::new(),
                left_out => format!("event: left_out\ndata: {left_out}\n\n"),
            };
            let cursor = self.source.cursor(self.reader.position());
            return Some(format!("{told}id: {cursor}\ndata: [{rows}]\n\n").into());
        }
    }

    /// Leaves out what a page could not show any more, and remembers how much that is.
    fn catch_up(&mut self) {
        let last = self.reader.bus().last();
        let behind = last.0.saturating_sub(self.reader.position().0);
        if behind > BEHIND {
            self.left_out += behind - CLOSE;
            self.reader.seek(Offset(last.0 - CLOSE));
        }
    }

    /// The rows of what is wanted, as JSON; what a chunk can't hold is read again.
    fn rows(&mut self, batch: &Batch) -> String {
        let wanted = batch
            .events()
            .filter(|event| event.kind() == Kind::Notice || self.filter.passes(event));
        let (mut rows, mut count, mut shown) = (String::new(), 0, None);
        for event in wanted {
            if count == ROWS || rows.len() > CHUNK {
                shown.inspect(|last| self.reader.seek(*last));
                break;
            }
            if count > 0 {
                rows.push(',');
            }
            // A row is made of texts: it can always be written.
            rows.push_str(&serde_json::to_string(&row(event, &self.source)).unwrap_or_default());
            count += 1;
            shown = Some(event.offset());
        }
        rows
    }

    fn heartbeat(&self) -> Bytes {
        let cursor = self.source.cursor(self.reader.position());
        format!("id: {cursor}\n\n").into()
    }
}

fn row<'a>(event: &'a Event, source: &Source) -> Row<'a> {
    let (head, bytes) = (event.head(), event.bytes());
    Row {
        cursor: Attributes::of(event, source).cursor().to_string(),
        at: at(event.received_at_ms()),
        notice: event.kind() == Kind::Notice,
        class: head.class,
        event_type: head.event_type,
        key: head.key,
        id: head.id,
        size: bytes.len(),
        text: String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned(),
    }
}

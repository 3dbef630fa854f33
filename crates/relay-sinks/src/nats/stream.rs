//! The stream: is it there, does it take the subjects, how long does it know duplicates; made where that is
//! wanted.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamByNameErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use relay_core::sink::{Failure, Warning};

use super::subject::overlap;
use super::{JetStream, failure};

/// For so long a stream should know an event again: what the relay sends again after a restart
/// is then stored once.
pub(super) const WINDOW: Duration = Duration::from_mins(10);

/// What is asked of a stream.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) wanted: &'a JetStream,
    /// Every subject that can be published to it.
    pub(super) pattern: &'a str,
    /// One that no stream took.
    pub(super) untaken: Option<String>,
}

/// A stream that serves.
#[derive(Debug)]
pub(super) struct Found {
    name: String,
    /// Tells it from another one, and from one made anew under its name.
    pub(super) identity: String,
    window: Duration,
}

/// Looks the stream up, and makes it where that is wanted.
pub(super) async fn ensure(context: &Context, place: &Place<'_>) -> Result<Found, Failure> {
    match look(context, place).await? {
        Some(info) => judge(&info, place),
        None => make(context, place).await,
    }
}

/// The same, but nothing is made: whether the sink would find or make its stream.
pub(super) async fn check(context: &Context, place: &Place<'_>) -> Result<(), Failure> {
    let found = look(context, place).await?;
    found.map_or(Ok(()), |info| judge(&info, place).map(drop))
}

/// The stream's settings; `None`: it is to be made.
async fn look(context: &Context, place: &Place<'_>) -> Result<Option<Info>, Failure> {
    let JetStream { stream, create } = place.wanted;
    let Some(name) = stream else {
        if let Some(subject) = &place.untaken {
            taking(context, subject).await?;
        }
        return by_subject(context, place.pattern).await.map(Some);
    };
    let found = context.get_stream(name).await;
    let error = match found {
        Ok(stream) => return Ok(Some(stream.cached_info().clone())),
        Err(error) => error,
    };
    let what = format!("looking for stream {name}");
    match error.kind() {
        GetStreamErrorKind::JetStream(refused)
            if refused.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            if *create {
                return Ok(None);
            }
            let remedy = format!(
                "make it (nats stream add {name} --subjects '{}' --storage file --dupe-window 10m), set \
                 create_stream = true, or name another one",
                place.pattern
            );
            Err(failure::stream(
                format!("there is no stream {name}"),
                remedy,
            ))
        }
        GetStreamErrorKind::JetStream(refused) => Err(failure::refused(
            &what,
            &refused,
            "look at JetStream on the server, and what the relay's account may".into(),
        )),
        GetStreamErrorKind::Request => Err(failure::request(&what, &error)),
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => Err(
            failure::stream(format!("{what}: {error}"), "name another stream".into()),
        ),
    }
}

async fn by_subject(context: &Context, pattern: &str) -> Result<Info, Failure> {
    let name = taking(context, pattern).await?;
    let stream = context.get_stream(&name).await;
    let stream =
        stream.map_err(|error| failure::request(&format!("looking for stream {name}"), &error))?;
    Ok(stream.cached_info().clone())
}

/// The name of a stream that takes a subject.
async fn taking(context: &Context, subject: &str) -> Result<String, Failure> {
    let found = context.stream_by_subject(subject).await;
    found.map_err(|error| {
        if error.kind() == GetStreamByNameErrorKind::NotFound {
            let remedy = format!(
                "make one (nats stream add --subjects '{subject}' --storage file --dupe-window 10m), or name it with \
                 stream and set create_stream = true"
            );
            failure::stream(format!("no stream takes {subject}"), remedy)
        } else {
            let what = format!("looking for the stream that takes {subject}");
            failure::request(&what, &error)
        }
    })
}

/// Whether a stream serves.
fn judge(info: &Info, place: &Place<'_>) -> Result<Found, Failure> {
    let config = &info.config;
    let name = &config.name;
    let subjects = || config.subjects.join(", ");
    let takes = |wanted: &str| config.subjects.iter().any(|has| overlap(has, wanted));
    // Without a name, another stream may take it.
    let untaken = place.untaken.as_deref();
    let untaken = untaken.filter(|_| place.wanted.stream.is_some());
    let wanted = [Some(place.pattern), untaken];
    if let Some(wanted) = wanted.into_iter().flatten().find(|wanted| !takes(wanted)) {
        return Err(failure::stream(
            format!(
                "stream {name} does not take {wanted}: its subjects are {}",
                subjects()
            ),
            format!(
                "give stream {name} the subject {} (nats stream edit {name} --subjects ...), or change subject",
                place.pattern
            ),
        ));
    }
    if config.sealed {
        return Err(failure::stream(
            format!("stream {name} is sealed: it takes nothing any more"),
            "name another stream".into(),
        ));
    }
    if config.no_ack {
        return Err(failure::stream(
            format!("stream {name} does not acknowledge (no_ack): nothing could be confirmed"),
            format!("let stream {name} acknowledge (nats stream edit {name} --ack)"),
        ));
    }
    Ok(Found {
        name: name.clone(),
        identity: format!("{name} {:?}", info.created),
        window: config.duplicate_window,
    })
}

async fn make(context: &Context, place: &Place<'_>) -> Result<Found, Failure> {
    let name = place.wanted.stream.clone().unwrap_or_default();
    let config = Config {
        name: name.clone(),
        subjects: vec![place.pattern.to_owned()],
        storage: StorageType::File,
        num_replicas: 1,
        duplicate_window: WINDOW,
        description: Some("Events of 8x8's Contact Center Streaming API, by sapi-relay".to_owned()),
        ..Config::default()
    };
    let made = context.create_stream(config).await;
    let stream = made.map_err(|error| failure::not_made(&name, &error))?;
    tracing::info!(
        stream = name,
        subjects = place.pattern,
        "made the stream, on file and without limits: set its max_age or max_bytes as you need"
    );
    judge(stream.cached_info(), place)
}

impl Found {
    /// That it forgets ids early. Logged once a stream.
    pub(super) fn warning(&self, sink: &str, warned: &mut HashSet<String>) -> Option<Warning> {
        let Self { name, window, .. } = self;
        if *window >= WINDOW {
            return None;
        }
        let text = format!(
            "the duplicate window of stream {name} is short ({window:?}): what the relay sends again later than that is stored twice"
        );
        let remedy = format!("nats stream edit {name} --dupe-window 10m");
        if warned.insert(name.clone()) {
            tracing::warn!(sink, stream = name, ?window, remedy, "{text}");
        }
        Some(Warning { text, remedy })
    }
}

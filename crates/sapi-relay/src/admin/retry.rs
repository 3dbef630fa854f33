//! Owns `POST /v1/dead-letters/retry`: what a sink was refused is delivered again, out of order.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use relay_core::dead_letters::{DeadLetter, Origin};
use relay_core::worker::Letters;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refused, bad};
use super::steer;
use crate::relay::SharedState;

/// What can be retried, and why the rest can't.
const UPSTREAM: &str = "what could not be parsed holds no event, so there is nothing to deliver: \
     `sapi-relay dead-letters export --sink upstream` gives its bytes";

/// The request: a sink's letters, or one of them. `after` and `upto` are what the answer before gave
/// as `next` and `upto`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    sink: Option<String>,
    id: Option<u64>,
    after: Option<u64>,
    upto: Option<u64>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    sink: String,
    /// Confirmed by the destination, and dead letters no more.
    delivered: u64,
    /// Refused again: they stay.
    refused: u64,
    /// Neither confirmed nor refused: they stay.
    unconfirmed: u64,
    /// Kept without their event by an earlier version: they stay.
    unfit: u64,
    /// What went wrong last.
    text: Option<String>,
    /// Not the order of the stream: consumers see these events after younger ones.
    order: &'static str,
    /// Where to go on, when time was up.
    next: Option<u64>,
    upto: Option<u64>,
}

/// Delivers, for some seconds at most, before it answers.
pub(super) async fn retry(State(state): State<Arc<SharedState>>, body: Bytes) -> Answer<Told> {
    const FORM: &str = "the body is {\"sink\": ..} or {\"id\": ..}";
    let wish: Wish =
        serde_json::from_slice(&body).map_err(|error| bad(format!("{FORM}: {error}")))?;
    let (sink, which) = match (wish.id, wish.sink) {
        (Some(id), sink) => (one(&state, id, sink).await?, only(id)),
        (None, Some(sink)) => (
            sink,
            Letters {
                after: wish.after,
                upto: wish.upto,
            },
        ),
        (None, None) => return Err(bad(FORM)),
    };
    if sink == "upstream" {
        return Err(bad(UPSTREAM));
    }
    let handle = steer::find(&state, &sink).await?;
    let told = handle.retry_dead_letters(which).await;
    let told = told.map_err(|error| steer::refused(&error))?;
    Ok(Json(Told {
        sink,
        delivered: told.delivered,
        refused: told.refused,
        unconfirmed: told.unconfirmed,
        unfit: told.unfit,
        text: told.text,
        order: "out of order",
        next: told.next,
        upto: told.upto,
    }))
}

/// That letter and no other.
fn only(id: u64) -> Letters {
    Letters {
        after: id.checked_sub(1),
        upto: Some(id),
    }
}

/// The sink that refused a letter.
async fn one(state: &SharedState, id: u64, sink: Option<String>) -> Result<String, Refused> {
    let page = state.dead_letters.list(None, id.checked_sub(1), 1).await;
    let page = page.map_err(|error| unreadable(&error))?;
    let letter = page.items.into_iter().find(|letter| letter.id == id);
    let Some(DeadLetter {
        origin,
        sink: owner,
        ..
    }) = letter
    else {
        let why = format!("there is no dead letter {id}");
        return Err(Refused(StatusCode::NOT_FOUND, why));
    };
    match (origin, owner) {
        (Origin::Upstream, _) | (Origin::Sink, None) => Err(bad(UPSTREAM)),
        (Origin::Sink, Some(owner)) if sink.as_ref().is_some_and(|sink| *sink != owner) => {
            Err(bad(format!("dead letter {id} is one of sink {owner}")))
        }
        (Origin::Sink, Some(owner)) => Ok(owner),
    }
}

/// The log of dead letters fails.
pub(super) fn unreadable(error: &std::io::Error) -> Refused {
    let why = format!("the dead letters can't be read: {error}");
    Refused(StatusCode::INTERNAL_SERVER_ERROR, why)
}

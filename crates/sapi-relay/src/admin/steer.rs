//! Owns `POST /v1/sinks/{name}/{pause|resume|seek}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use relay_core::From;
use relay_core::worker::{CommandError, SinkHandle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refused, bad};
use crate::relay::SharedState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    to: String,
}

/// Carries it out, durably, before it answers.
pub(super) async fn steer(
    State(state): State<Arc<SharedState>>,
    Path((name, verb)): Path<(String, String)>,
    body: Bytes,
) -> Answer<Value> {
    let sink = find(&state, &name).await?;
    match verb.as_str() {
        "pause" => sink.pause().await.map_err(|error| refused(&error))?,
        "resume" => sink.resume().await.map_err(|error| refused(&error))?,
        "seek" => {
            let seek: Seek = serde_json::from_slice(&body)
                .map_err(|error| bad(format!("the body is {{\"to\": ..}}: {error}")))?;
            let to: From = seek
                .to
                .parse()
                .map_err(|error| bad(format!("to: {error}")))?;
            let cursor = sink.seek(to).await.map_err(|error| refused(&error))?;
            return Ok(Json(json!({ "name": name, "cursor": cursor.to_string() })));
        }
        _ => {
            return Err(Refused(
                StatusCode::NOT_FOUND,
                "pause, resume or seek".to_owned(),
            ));
        }
    }
    let status = sink.status();
    Ok(Json(
        json!({ "name": name, "state": status.state, "cursor": status.cursor.to_string() }),
    ))
}

/// The handle of a sink that the relay delivers to.
pub(super) async fn find(state: &SharedState, name: &str) -> Result<SinkHandle, Refused> {
    match state.sinks.worker(name).await {
        Some(Some(sink)) => Ok(sink),
        Some(None) => Err(bad(format!(
            "{name} is read by its clients: each has a cursor of its own"
        ))),
        None => Err(Refused(
            StatusCode::NOT_FOUND,
            format!("there is no sink {name:?}"),
        )),
    }
}

/// What to answer when a sink does not do it.
pub(super) fn refused(error: &CommandError) -> Refused {
    let status = match error {
        CommandError::ForeignEpoch(_) | CommandError::Future(_) => StatusCode::BAD_REQUEST,
        CommandError::NotDelivering(_) | CommandError::Retrying => StatusCode::CONFLICT,
        CommandError::Gone
        | CommandError::Refused(_)
        | CommandError::NotDurable(_)
        | CommandError::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refused(status, error.to_string())
}

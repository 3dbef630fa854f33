//! Owns `/v1/contracts`: what downstream teams build against, as documents that the binary carries.
//! The end-to-end tests hold them against what a running relay answers and sends.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use relay_core::notice::Page;
use serde::Serialize;

use super::answer::Refused;

const SCHEMA: &str = "application/schema+json";
const OPENAPI: &str = "application/vnd.oai.openapi+json;version=3.1";
const ASYNCAPI: &str = "application/vnd.aai.asyncapi+json;version=3.0.0";

/// One document.
struct Contract {
    name: &'static str,
    title: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! contracts {
    ($($name:literal, $media_type:ident, $title:literal;)+) => {
        const CONTRACTS: &[Contract] = &[$(Contract {
            name: $name,
            title: $title,
            media_type: $media_type,
            text: include_str!(concat!("../../contracts/", $name)),
        },)+];
    };
}

contracts! {
    "admin.openapi.json", OPENAPI, "The HTTP endpoints of the admin server";
    "asyncapi.json", ASYNCAPI, "Topics, subjects, routing keys, webhooks and streams, and what comes over them";
    "cloudevent.schema.json", SCHEMA, "An event as a CloudEvent";
    "dead-letter.schema.json", SCHEMA, "A dead letter";
    "downstream.openapi.json", OPENAPI, "The HTTP endpoints of a websocket sink";
    "events.schema.json", SCHEMA, "An event of 8x8's Streaming API";
    "notice.schema.json", SCHEMA, "A notice of the relay";
    "status.schema.json", SCHEMA, "The state of a relay";
}

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    title: &'static str,
    media_type: &'static str,
    path: String,
}

/// The routes, to be merged into the server's.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/v1/contracts", get(list))
        .route("/v1/contracts/{name}", get(one))
}

async fn list() -> Json<Page<Row>> {
    let rows = CONTRACTS.iter().map(|contract| Row {
        name: contract.name,
        title: contract.title,
        media_type: contract.media_type,
        path: format!("/v1/contracts/{}", contract.name),
    });
    Json(Page {
        items: rows.collect(),
        next: None,
    })
}

async fn one(Path(name): Path<String>) -> Result<impl IntoResponse, Refused> {
    let found = CONTRACTS.iter().find(|contract| contract.name == name);
    let contract = found.ok_or_else(|| {
        let why = format!("there is no contract {name:?}; /v1/contracts lists them");
        Refused(StatusCode::NOT_FOUND, why)
    })?;
    Ok(([(CONTENT_TYPE, contract.media_type)], contract.text))
}

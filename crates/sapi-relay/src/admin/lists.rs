//! Owns the lists: `/v1/gaps` and `/v1/dead-letters`, in pages of `{"items": [..], "next": ..}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use relay_core::dead_letters::DeadLetter;
use relay_core::notice::{Notice, Page};

use super::answer::{Answer, Refused, bad, parameters};
use super::retry;
use crate::relay::SharedState;

const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// What may have been lost, oldest first.
pub(super) async fn gaps(
    State(state): State<Arc<SharedState>>,
    RawQuery(query): RawQuery,
) -> Answer<Page<Notice>> {
    let query = parameters(query.as_deref(), &["after", "limit"])?;
    Ok(Json(state.notices.gaps(after(&query)?, limit(&query)?)))
}

/// What could not be parsed or was refused, oldest first.
pub(super) async fn dead_letters(
    State(state): State<Arc<SharedState>>,
    RawQuery(query): RawQuery,
) -> Answer<Page<DeadLetter>> {
    let query = parameters(query.as_deref(), &["sink", "after", "limit"])?;
    let sink = query.get("sink").map(String::as_str);
    let page = state
        .dead_letters
        .list(sink, after(&query)?, limit(&query)?)
        .await;
    page.map(Json).map_err(|error| retry::unreadable(&error))
}

fn after(query: &BTreeMap<String, String>) -> Result<Option<u64>, Refused> {
    let Some(text) = query.get("after") else {
        return Ok(None);
    };
    let after = text.parse().ok();
    after
        .map(Some)
        .ok_or_else(|| bad("after is what an earlier page gave as next"))
}

fn limit(query: &BTreeMap<String, String>) -> Result<usize, Refused> {
    let Some(text) = query.get("limit") else {
        return Ok(DEFAULT);
    };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| bad(format!("limit is a number from 1 to {MOST}")))
}

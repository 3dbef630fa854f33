//! Owns the forms that answers have: JSON, and refusals in plain text.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

/// A refusal: a status, and why in plain text.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

/// An answer in JSON, or a refusal.
pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// 400 with its reason.
pub(super) fn bad(reason: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, reason.into())
}

/// The parameters of a query, each allowed once, none unknown.
pub(super) fn parameters(
    query: Option<&str>,
    known: &[&str],
) -> Result<BTreeMap<String, String>, Refused> {
    let mut parameters = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !known.contains(&&*name) {
            let known = known.join(", ");
            return Err(bad(format!(
                "unknown parameter {name:?}; known here: {known}"
            )));
        }
        if parameters
            .insert(name.clone().into_owned(), value.into_owned())
            .is_some()
        {
            return Err(bad(format!("{name} is given twice")));
        }
    }
    Ok(parameters)
}

/// Unix milliseconds as RFC 3339.
pub(super) fn at(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

//! Owns the control endpoints under `/sim/`, for tests and for who plays with the simulator: status,
//! faults, rate, emission, the record of connections, and the ledger.

use std::{convert::Infallible, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use sapi_protocol::xml::json_to_xml;
use serde::{Deserialize, Serialize};

use super::{Body, Server, text, typed};
use crate::{
    faults::FaultSpec,
    hub::{Hub, LedgerEntry},
};

/// The largest command.
const MAX_COMMAND: usize = 64 << 20;
/// Ledger entries a chunk of the answer.
const PAGE: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFaults {
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    clear: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRate {
    rate: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    /// So many events of the world.
    #[serde(default)]
    count: u64,
    /// A document of the caller's own.
    bytes_base64: Option<String>,
    /// Its class, for the ledger.
    class: Option<String>,
}

/// Answers a request under `/sim/`.
pub(super) async fn answer(server: &Server, request: Request<Incoming>) -> Response<Body> {
    let hub = &server.hub;
    let path = request.uri().path().to_owned();
    let get = request.method() == Method::GET;
    match (get, request.method() == Method::POST, path.as_str()) {
        (true, _, "/sim/status") => json(&hub.status()),
        (true, _, "/sim/faults") => json(&hub.faults.status()),
        (true, _, "/sim/connections") => json(&hub.connections()),
        (true, _, "/sim/ledger") => ledger(hub, request.uri().query().unwrap_or_default()),
        (_, true, "/sim/faults" | "/sim/rate" | "/sim/emit") => match command(request).await {
            Ok(body) => obey(hub, &path, &body)
                .unwrap_or_else(|problem| text(StatusCode::BAD_REQUEST, problem)),
            Err(problem) => text(StatusCode::BAD_REQUEST, problem),
        },
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

async fn command(request: Request<Incoming>) -> Result<Bytes, String> {
    Limited::new(request.into_body(), MAX_COMMAND)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| error.to_string())
}

fn obey(hub: &Hub, path: &str, body: &[u8]) -> Result<Response<Body>, String> {
    match path {
        "/sim/faults" => {
            let change: SetFaults = parse(body)?;
            let specs = change
                .set
                .iter()
                .map(|spec| spec.parse::<FaultSpec>())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            for name in &change.clear {
                hub.clear_fault(name).map_err(|error| error.to_string())?;
            }
            for spec in specs {
                hub.set_fault(spec);
            }
            Ok(json(&hub.faults.status()))
        }
        "/sim/rate" => {
            let change: SetRate = parse(body)?;
            hub.set_rate(change.rate);
            Ok(json(&hub.status()))
        }
        _ => {
            let emit: Emit = parse(body)?;
            if let Some(text) = emit.bytes_base64 {
                let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
                hub.emit_raw(emit.class.as_deref().unwrap_or_default(), bytes);
            }
            hub.emit(emit.count);
            Ok(json(&hub.status()))
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => typed(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The ledger as NDJSON, streamed. `from=N` begins there; `output=XML` shows documents as XML
/// subscriptions get them.
fn ledger(hub: &Arc<Hub>, query: &str) -> Response<Body> {
    let value = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    let from = value("from")
        .and_then(|from| from.parse().ok())
        .unwrap_or(1);
    let xml = value("output").is_some_and(|output| output.eq_ignore_ascii_case("xml"));
    let end = hub.status().ledger;
    let pages = stream::unfold((Arc::clone(hub), from), move |(hub, from)| async move {
        let mut entries = hub.ledger(from, PAGE);
        entries.retain(|entry| entry.n <= end);
        let next = entries.last()?.n + 1;
        let mut chunk = Vec::new();
        for entry in &mut entries {
            if xml {
                as_xml(entry);
            }
            if serde_json::to_writer(&mut chunk, entry).is_ok() {
                chunk.push(b'\n');
            }
        }
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))),
            (hub, next),
        ))
    });
    let mut response = Response::new(StreamBody::new(pages).boxed_unsync());
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, ndjson);
    response
}

fn as_xml(entry: &mut LedgerEntry) {
    if let Ok(xml) = json_to_xml(&entry.bytes) {
        entry.bytes = Bytes::from(xml);
    }
}

//! Owns the subscribe request: path, credentials, parameters, admission, and the upgrade to a
//! WebSocket. What happens on the WebSocket is the session's.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use sapi_protocol::{Format, OutputType, SubscribeError, SubscribeRequest, parse_subscribe_path};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Body, Peer, Server,
    access::{self, Denial},
    header_text, text, typed,
};
use crate::{
    faults::{Faults, knob},
    hub::{self, Admitted, EndedBy, Refusal},
    session::{self, Opening, Wire},
};

/// A request that may subscribe.
struct Admission {
    admitted: Admitted,
    output: OutputType,
    password: String,
}

/// Answers a request for anything but the simulator's own pages.
pub(super) async fn answer(
    server: Server,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().to_string();
    let connection = server.hub.connection(peer.addr.to_string(), path);
    if let Some(response) = interfered(&server, &peer, connection).await {
        server
            .hub
            .answered(connection, None, response.status().as_u16());
        return response;
    }
    let decided = decide(&server, connection, request.uri(), request.headers());
    let subs_id = match &decided {
        Ok(admission) => Some(admission.admitted.subs_id.to_string()),
        Err(_) => subs_id_of(request.uri()),
    };
    if let Err(Denial::Answer(response)) = decided {
        server
            .hub
            .answered(connection, subs_id.as_deref(), response.status().as_u16());
        return *response;
    }
    server.hub.answered(connection, subs_id.as_deref(), 101);
    let response = switching(request.headers());
    let upgrade = hyper::upgrade::on(&mut request);
    let ended = server.ended.clone();
    let sessions = server.sessions.clone();
    let upgraded = upgraded(server, upgrade, decided, connection);
    sessions.spawn(async move { ended.run_until_cancelled_owned(upgraded).await });
    response
}

fn subs_id_of(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    let id = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("subsId="))?;
    Some(id.to_owned())
}

/// B19: what stands between the client and SAPI.
async fn interfered(server: &Server, peer: &Peer, connection: u64) -> Option<Response<Body>> {
    let faults = &server.hub.faults;
    if faults.fires(&knob::UPGRADE_RESET) {
        server
            .hub
            .ended(connection, EndedBy::Server, None, "upgrade-reset");
        peer.reset.set();
        peer.abort.cancel();
        return std::future::pending().await;
    }
    if faults.fires(&knob::UPGRADE_HANGS) {
        return std::future::pending().await;
    }
    if let Some(origin) = faults.fire(&knob::REDIRECT) {
        let mut response = text(StatusCode::FOUND, "moved");
        let target = HeaderValue::from_str(origin.text()).ok()?;
        response.headers_mut().insert(header::LOCATION, target);
        return Some(response);
    }
    let (_, status) = [
        (&knob::MAINTENANCE_502, StatusCode::BAD_GATEWAY),
        (&knob::MAINTENANCE_503, StatusCode::SERVICE_UNAVAILABLE),
        (&knob::MAINTENANCE_504, StatusCode::GATEWAY_TIMEOUT),
        (&knob::UPGRADE_200, StatusCode::OK),
    ]
    .into_iter()
    .find(|(fault, _)| faults.fires(fault))?;
    let page = "<html><head><title>Maintenance</title></head><body>We are back soon.</body></html>";
    Some(typed(status, "text/html", page))
}

/// Whether the request may subscribe: path, credentials, parameters, WebSocket, limit, in this order.
fn decide(
    server: &Server,
    connection: u64,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Admission, Denial> {
    let hub = &server.hub;
    let parsed = parse(uri, &hub.faults);
    if parsed == Err(SubscribeError::NotThisPath) {
        return Err(Denial::answer(text(StatusCode::NOT_FOUND, "not found")));
    }
    let Some(password) = access::password(server, headers) else {
        return Err(access::denied(hub));
    };
    let request = parsed.map_err(|error| {
        let mismatch = error.to_string().contains("suffix");
        if mismatch && hub.faults.fires(&knob::PATH_MISMATCH_403) {
            Denial::answer(text(StatusCode::FORBIDDEN, "forbidden"))
        } else {
            bad_request(&error.to_string())
        }
    })?;
    if request.version != 1 {
        return Err(Denial::answer(text(
            StatusCode::NOT_FOUND,
            "unknown API version",
        )));
    }
    if request.tenant_id != hub.config.tenant {
        return Err(access::denied(hub));
    }
    let output = output(&request, &hub.faults)?;
    check_subs_id(&request.subs_id, &hub.faults)?;
    if !is_websocket(headers) {
        return Err(bad_request("a WebSocket upgrade (version 13) is expected"));
    }
    let asked = hub::Request {
        connection,
        subs_id: request.subs_id,
    };
    let admitted = hub.attach(&asked).map_err(|refusal| match refusal {
        Refusal::Quota => access::over_quota(hub),
        Refusal::SameId => {
            Denial::answer(text(StatusCode::CONFLICT, "the subscription is connected"))
        }
    })?;
    Ok(Admission {
        admitted,
        output,
        password,
    })
}

fn bad_request(reason: &str) -> Denial {
    Denial::answer(text(StatusCode::BAD_REQUEST, reason.to_owned()))
}

/// B1: the path, as the server reads it.
fn parse(uri: &Uri, faults: &Faults) -> Result<SubscribeRequest, SubscribeError> {
    const LAST: &str = "/TenantUpdates";
    let mut path = uri.path().to_owned();
    if faults.on(&knob::PATH_ANY_CASE)
        && let Some(at) = path.to_ascii_lowercase().find(&LAST.to_ascii_lowercase())
        && path.get(at..at + LAST.len()) != Some(LAST)
    {
        faults.fire(&knob::PATH_ANY_CASE);
        path.replace_range(at..at + LAST.len(), LAST);
    }
    let suffixed = path.contains("/TenantUpdates-");
    let refused = if suffixed {
        &knob::PATH_BARE_ONLY
    } else {
        &knob::PATH_SUFFIXED_ONLY
    };
    if faults.fires(refused) {
        return Err(SubscribeError::NotThisPath);
    }
    let parsed = parse_subscribe_path(&path, uri.query());
    if matches!(parsed, Err(SubscribeError::BadParameter(_)))
        && suffixed
        && faults.on(&knob::PATH_QUERY_WINS)
        && let Some((bare, _)) = path.rsplit_once("/TenantUpdates-")
    {
        faults.fire(&knob::PATH_QUERY_WINS);
        return parse_subscribe_path(&format!("{bare}{LAST}"), uri.query());
    }
    parsed
}

/// B15: the format the client gets.
fn output(request: &SubscribeRequest, faults: &Faults) -> Result<OutputType, Denial> {
    let asked = match request.output {
        Some(_) if faults.fires(&knob::OUTPUT_IGNORED) => OutputType::Json,
        Some(output) => output,
        None if faults.fires(&knob::OUTPUT_UNSET_400) => {
            return Err(bad_request("desiredOutputType is missing"));
        }
        None if faults.fires(&knob::XML_BY_DEFAULT) => OutputType::Xml,
        None => OutputType::Json,
    };
    if !faults.fires(&knob::OUTPUT_WRONG_FORMAT) {
        return Ok(asked);
    }
    Ok(match (asked.format(), asked.newline()) {
        (Format::Json, false) => OutputType::Xml,
        (Format::Json, true) => OutputType::NewlineXml,
        (Format::Xml, false) => OutputType::Json,
        (Format::Xml, true) => OutputType::NewlineJson,
    })
}

/// B17: ids that a stricter server refuses.
fn check_subs_id(id: &str, faults: &Faults) -> Result<(), Denial> {
    let strict = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !strict && faults.fires(&knob::SUBS_ID_STRICT) {
        return Err(bad_request("subsId has characters that are not allowed"));
    }
    if faults
        .arg(&knob::SUBS_ID_MAX)
        .is_some_and(|arg| id.len() as u64 > arg.number())
    {
        faults.fire(&knob::SUBS_ID_MAX);
        return Err(bad_request("subsId is too long"));
    }
    Ok(())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        header_text(headers, name).is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && header_text(headers, header::SEC_WEBSOCKET_VERSION) == Some("13")
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// 101.
fn switching(headers: &HeaderMap) -> Response<Body> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let answer = response.headers_mut();
    answer.remove(header::CONTENT_TYPE);
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Runs what comes after the handshake.
async fn upgraded(
    server: Server,
    upgrade: OnUpgrade,
    decided: Result<Admission, Denial>,
    connection: u64,
) {
    let parts = match upgrade.await {
        Ok(upgraded) => upgraded.downcast::<TokioIo<Wire>>().ok(),
        Err(error) => {
            tracing::debug!(%error, "a client left before the handshake was complete");
            None
        }
    };
    let hub = server.hub;
    let Some(parts) = parts else {
        hub.ended(connection, EndedBy::Network, None, "no handshake");
        if let Ok(admission) = decided {
            hub.detach(admission.admitted.session);
        }
        return;
    };
    let wire = parts.io.into_inner();
    match decided {
        Ok(admission) => {
            let opening = Opening {
                hub,
                admitted: admission.admitted,
                output: admission.output,
                connection,
                password: admission.password,
            };
            session::run(wire, parts.read_buf, opening).await;
        }
        Err(Denial::CloseAfter(code)) => {
            session::close_at_once(wire, &hub, connection, code).await;
        }
        Err(Denial::SilenceAfter(first)) => {
            session::say_nothing(wire, &hub, connection, first).await;
        }
        Err(Denial::Answer(_)) => {}
    }
}

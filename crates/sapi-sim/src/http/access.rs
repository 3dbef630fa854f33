//! Owns who may come in: credentials, and what those get who have none. It does not know paths.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sapi_protocol::parse_basic;
use subtle::ConstantTimeEq;

use super::{Body, Server, header_text, text, typed};
use crate::{faults::knob, hub::Hub};

/// What becomes of a request that is not admitted.
pub(crate) enum Denial {
    /// An answer instead of the upgrade.
    Answer(Box<Response<Body>>),
    /// 101, then closed with this code.
    CloseAfter(u16),
    /// 101, perhaps a document, then nothing.
    SilenceAfter(&'static [u8]),
}

impl Denial {
    pub(crate) fn answer(response: Response<Body>) -> Self {
        Self::Answer(Box::new(response))
    }
}

/// The password of a request whose credentials are good.
pub(crate) fn password(server: &Server, headers: &HeaderMap) -> Option<String> {
    let hub = &server.hub;
    if hub.faults.fires(&knob::AUTH_REJECT) {
        return None;
    }
    let token = hub.token();
    let good = |given: &str| bool::from(given.as_bytes().ct_eq(token.as_bytes()));
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    if let Some(key) = key
        && good(key)
        && hub.faults.fires(&knob::BRIDGE)
    {
        return Some(token);
    }
    let basic = header_text(headers, header::AUTHORIZATION).and_then(parse_basic);
    match basic {
        Some(basic) if basic.user == username(hub) && good(&basic.password) => Some(token),
        // A browser cannot set the header on a WebSocket: it has the test page's cookie.
        None if has_cookie(server, headers) => Some(token),
        _ => {
            for rotation in [
                &knob::TOKEN_ROTATED,
                &knob::TOKEN_ROTATED_CLOSE,
                &knob::TOKEN_ROTATED_SILENT,
            ] {
                hub.faults.fire(rotation);
            }
            None
        }
    }
}

fn username(hub: &Hub) -> &str {
    hub.config.username.as_deref().unwrap_or(&hub.config.tenant)
}

/// The name of the test page's cookie.
pub(crate) const COOKIE: &str = "sapi_sim";

fn has_cookie(server: &Server, headers: &HeaderMap) -> bool {
    header_text(headers, header::COOKIE).is_some_and(|cookies| {
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(name, value)| {
                name == COOKIE && bool::from(value.as_bytes().ct_eq(server.cookie.as_bytes()))
            })
    })
}

/// What bad credentials, or a tenant that is not there, get.
pub(crate) fn denied(hub: &Hub) -> Denial {
    let faults = &hub.faults;
    if let Some(code) = faults.fire(&knob::AUTH_101_CLOSE) {
        return Denial::CloseAfter(u16::try_from(code.number()).unwrap_or(1008));
    }
    if faults.fires(&knob::AUTH_101_SILENCE) {
        return Denial::SilenceAfter(b"");
    }
    if faults.fires(&knob::AUTH_IN_BAND) {
        return Denial::SilenceAfter(br#"{"API":{"Error":{"Code":401,"Message":"Unauthorized"}}}"#);
    }
    Denial::answer(if faults.fires(&knob::AUTH_403_XML) {
        let body = "<API><Error><Code>403</Code><Message>Forbidden</Message></Error></API>";
        typed(StatusCode::FORBIDDEN, "application/xml", body)
    } else if faults.fires(&knob::AUTH_404) {
        text(StatusCode::NOT_FOUND, "not found")
    } else if faults.fires(&knob::AUTH_302_HTML) {
        let page = "<html><body>Please <a href=\"/login\">log in</a></body></html>";
        let mut response = typed(StatusCode::FOUND, "text/html", page);
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static("/login"));
        response
    } else {
        challenge()
    })
}

/// 401, as Tomcat's Basic authentication has it.
pub(crate) fn challenge() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "unauthorized");
    let realm = HeaderValue::from_static("Basic realm=\"8x8 Streaming API\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, realm);
    response
}

/// What one client too many gets.
pub(crate) fn over_quota(hub: &Hub) -> Denial {
    let faults = &hub.faults;
    if let Some(code) = faults.fire(&knob::QUOTA_101_CLOSE) {
        return Denial::CloseAfter(u16::try_from(code.number()).unwrap_or(1008));
    }
    if faults.fires(&knob::QUOTA_101_SILENCE) {
        return Denial::SilenceAfter(b"");
    }
    let status = [
        (&knob::QUOTA_401, StatusCode::UNAUTHORIZED),
        (&knob::QUOTA_403, StatusCode::FORBIDDEN),
        (&knob::QUOTA_409, StatusCode::CONFLICT),
        (&knob::QUOTA_429, StatusCode::TOO_MANY_REQUESTS),
        (&knob::QUOTA_503, StatusCode::SERVICE_UNAVAILABLE),
    ]
    .into_iter()
    .find(|(fault, _)| faults.fires(fault))
    .map_or(StatusCode::TOO_MANY_REQUESTS, |(_, status)| status);
    let mut response = text(
        status,
        "only three SAPI clients per tenant can be connected",
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    Denial::answer(response)
}

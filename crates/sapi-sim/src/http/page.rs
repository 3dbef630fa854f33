//! Owns the browser test page, the counterpart of the vendor's.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sapi_protocol::{PageLogin, test_page};

use super::{
    Body, Server,
    access::{COOKIE, challenge, password},
    typed,
};

/// Where the page is.
pub(super) const PATH: &str = "/api/streaming/v1/TenantUpdates.jsp";

/// The page, for a browser with credentials; its WebSocket is let in by a cookie.
pub(super) fn answer(server: &Server, headers: &HeaderMap) -> Response<Body> {
    if password(server, headers).is_none() {
        return challenge();
    }
    let page = test_page(&server.hub.config.tenant, PageLogin::Browser);
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", page);
    let cookie = format!(
        "{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/api/",
        server.cookie
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

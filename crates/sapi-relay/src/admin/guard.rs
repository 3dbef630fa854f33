//! Owns who may ask: the token, and that no web page of elsewhere steers the relay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::answer::Refused;
use super::page;
use super::sessions::Sessions;
use crate::config::{Admin, Secret};
use crate::relay::SharedState;

/// Lets a request pass, or says why not.
pub(super) async fn guard(
    State(state): State<Arc<SharedState>>,
    State(sessions): State<Arc<Sessions>>,
    request: Request,
    next: Next,
) -> Response {
    let admin = &state.config().admin;
    let allowed = authorised(request.headers(), admin.token.as_ref(), &sessions)
        .and_then(|()| not_rebound(request.headers(), admin))
        .and_then(|()| own_page(request.method(), request.headers()));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let unread = admin
                .token
                .as_ref()
                .is_some_and(|token| token.read().is_err());
            if unread && let Some(times) = state.token_unread() {
                tracing::error!(
                    times,
                    "the file of admin.token_file can't be read: nobody is let in"
                );
            }
            let unauthorised = refused.0 == StatusCode::UNAUTHORIZED;
            let page = unauthorised && request.uri().path() == "/";
            let mut answer = if page {
                page::locked()
            } else {
                refused.into_response()
            };
            if unauthorised {
                // Not Basic, which is let in as well: a browser would ask with a window of its own.
                let realm = HeaderValue::from_static("Bearer realm=\"sapi-relay admin\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
            }
            answer
        }
    }
}

/// The same for a request that comes to show the token.
pub(super) async fn guard_login(
    State(state): State<Arc<SharedState>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = not_rebound(request.headers(), &state.config().admin)
        .and_then(|()| own_page(request.method(), request.headers()));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Refuses what a page of elsewhere could have made a browser ask by pointing its own name at
/// loopback. Where there is a token, such a page does not have it, and the relay may be reached by any name.
fn not_rebound(headers: &HeaderMap, admin: &Admin) -> Result<(), Refused> {
    let host = text(headers, &HOST).unwrap_or_default();
    if admin.token.is_some() || is_own_host(host, admin.listen) {
        return Ok(());
    }
    let why = format!(
        "Host {host:?} is neither loopback nor admin.listen: ask by address, or set admin.token"
    );
    Err(Refused(StatusCode::FORBIDDEN, why))
}

/// A token that is configured has to be shown: as Bearer, as the password of Basic, or by a session
/// that was opened with it.
fn authorised(
    headers: &HeaderMap,
    token: Option<&Secret>,
    sessions: &Sessions,
) -> Result<(), Refused> {
    let Some(secret) = token else { return Ok(()) };
    let refused = |why: &str| Refused(StatusCode::UNAUTHORIZED, why.to_owned());
    let token = read(secret)?;
    if !token.is_empty() && sessions.holds(headers, &token) {
        return Ok(());
    }
    let shown = text(headers, &AUTHORIZATION)
        .ok_or_else(|| refused("show the admin token: Authorization: Bearer"))?;
    let basic = sapi_protocol::parse_basic(shown).map(|basic| basic.password);
    let bearer = shown
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    let shown = match (bearer, basic) {
        (Some(_), _) => shown.get(7..).unwrap_or_default().trim().to_owned(),
        (None, Some(password)) => password,
        (None, None) => return Err(refused("show the admin token: Authorization: Bearer")),
    };
    is_token(&shown, secret)
}

/// Whether a text is the token.
pub(super) fn is_token(shown: &str, token: &Secret) -> Result<(), Refused> {
    let token = read(token)?;
    let same = !token.is_empty() && bool::from(shown.as_bytes().ct_eq(token.as_bytes()));
    let wrong = || Refused(StatusCode::UNAUTHORIZED, "wrong admin token".to_owned());
    same.then_some(()).ok_or_else(wrong)
}

fn read(token: &Secret) -> Result<String, Refused> {
    token.read().ok().ok_or_else(|| {
        let why = "the admin token can't be read".to_owned();
        Refused(StatusCode::UNAUTHORIZED, why)
    })
}

/// A POST comes from a program, or from a page that this server served.
fn own_page(method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    if method != Method::POST {
        return Ok(());
    }
    let forbidden = |why: String| Refused(StatusCode::FORBIDDEN, why);
    let host = text(headers, &HOST).unwrap_or_default();
    if let Some(origin) = text(headers, &ORIGIN)
        && origin != format!("http://{host}")
        && origin != format!("https://{host}")
    {
        return Err(forbidden(format!(
            "a page of {origin} may not steer the relay"
        )));
    }
    let json = text(headers, &CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    let why = "the body has to be application/json".to_owned();
    json.then_some(())
        .ok_or(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

/// Whether a Host header names loopback, or the address that is configured: any address where that
/// is 0.0.0.0, since only a name can be pointed at the relay by somebody else.
fn is_own_host(host: &str, listen: SocketAddr) -> bool {
    if host == listen.to_string() {
        return true;
    }
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    let address = name.parse::<IpAddr>().ok();
    name.eq_ignore_ascii_case("localhost")
        || address
            .is_some_and(|ip| ip.is_loopback() || ip == listen.ip() || listen.ip().is_unspecified())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn tokens() {
        let token = Secret::Literal("hunter2".into());
        let none = Sessions::new(9464);
        let authorised = |headers: HeaderMap, token| authorised(&headers, token, &none);
        let ask =
            |value: &str| authorised(headers(&[(AUTHORIZATION, value)]), Some(&token)).is_ok();
        assert!(ask("Bearer hunter2"));
        assert!(ask("bearer  hunter2"));
        // admin:hunter2
        assert!(ask("Basic YWRtaW46aHVudGVyMg=="));
        for wrong in [
            "Bearer hunter",
            "Bearer",
            "Bearer ",
            "hunter2",
            "Basic hunter2",
            "",
        ] {
            assert!(!ask(wrong), "{wrong:?}");
        }
        assert!(authorised(HeaderMap::new(), Some(&token)).is_err());
        assert!(authorised(HeaderMap::new(), None).is_ok());
        let gone = Secret::File("/nowhere".into());
        assert!(authorised(headers(&[(AUTHORIZATION, "Bearer ")]), Some(&gone)).is_err());
    }

    #[test]
    fn a_page_of_elsewhere_can_not_post() {
        let admin = |token| Admin {
            listen: "127.0.0.1:9464".parse().unwrap(),
            token,
        };
        let (open, locked) = (admin(None), admin(Some(Secret::Literal("hunter2".into()))));
        let post_to = |admin: &Admin, pairs: &[(HeaderName, &str)]| {
            let mut headers = headers(pairs);
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            not_rebound(&headers, admin)
                .and_then(|()| own_page(&Method::POST, &headers))
                .map_err(|refused| refused.0)
        };
        let post = |pairs: &[(HeaderName, &str)]| post_to(&open, pairs);
        assert_eq!(post(&[(HOST, "127.0.0.1:9464")]), Ok(()));
        assert_eq!(post(&[(HOST, "localhost:1")]), Ok(()));
        assert_eq!(post(&[(HOST, "[::1]:9464")]), Ok(()));
        assert_eq!(
            post(&[(HOST, "localhost:1"), (ORIGIN, "http://localhost:1")]),
            Ok(())
        );
        for wrong in [
            &[(HOST, "evil.example")][..],
            &[(HOST, "localhost.evil.example:9464")],
            &[],
            &[(HOST, "localhost:1"), (ORIGIN, "http://evil.example")],
            &[(HOST, "localhost:1"), (ORIGIN, "null")],
            &[(HOST, "localhost:1"), (ORIGIN, "http://localhost:2")],
        ] {
            assert_eq!(post(wrong), Err(StatusCode::FORBIDDEN), "{wrong:?}");
        }
        for (listen, accepted) in [("0.0.0.0:9464", true), ("10.0.0.6:9464", false)] {
            let own = is_own_host("10.0.0.5:9464", listen.parse().unwrap());
            assert_eq!(own, accepted, "{listen}");
            assert!(!is_own_host("evil.example:9464", listen.parse().unwrap()));
        }
        let form = post(&[(HOST, "localhost"), (CONTENT_TYPE, "text/plain")]);
        assert_eq!(form, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        let (own, foreign) = ([(HOST, "localhost")], [(HOST, "evil.example")]);
        let get = |admin: &Admin, pairs: &[(HeaderName, &str)]| {
            let headers = headers(pairs);
            not_rebound(&headers, admin)
                .and_then(|()| own_page(&Method::GET, &headers))
                .is_ok()
        };
        assert!(get(&open, &own));
        assert!(!get(&open, &foreign), "it would read what the relay holds");
        // Behind a proxy, under a name of its own: whoever has the token is no page of elsewhere.
        let relay = (HOST, "relay-admin:9464");
        assert!(get(&locked, std::slice::from_ref(&relay)));
        assert_eq!(post_to(&locked, std::slice::from_ref(&relay)), Ok(()));
        let foreign = [relay, (ORIGIN, "http://evil.example")];
        assert_eq!(post_to(&locked, &foreign), Err(StatusCode::FORBIDDEN));
    }
}

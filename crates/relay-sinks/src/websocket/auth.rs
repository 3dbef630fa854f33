//! Who a request comes from, and whether a web page may send it: credentials, cookies, origins.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use sapi_protocol::parse_basic;

use super::clients::Entry;
use super::cookies;
use super::hub::Hub;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 401: no credentials, or wrong ones.
    Unauthorized,
    /// 403: a web page of another origin.
    ForeignOrigin,
    /// 403: nobody known, through a host name that nobody has vouched for (DNS rebinding).
    ForeignHost,
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) client: Arc<Entry>,
    /// The user of Basic credentials.
    pub(super) user: Option<String>,
}

/// Finds out who a request comes from, and whether it may have come the way it did.
pub(super) fn caller(hub: &Hub, head: &Parts, port: u16) -> Result<Caller, Refusal> {
    let headers = &head.headers;
    origin_allowed(hub, headers)?;
    let caller = by_credentials(hub, headers, port)?;
    if caller.client.is_anonymous() && !way_allowed(hub, headers) {
        return Err(Refusal::ForeignHost);
    }
    Ok(caller)
}

/// Who a request comes from, `Authorization` before cookie before nothing at all.
fn by_credentials(hub: &Hub, headers: &HeaderMap, port: u16) -> Result<Caller, Refusal> {
    if let Some(value) = text(headers, &AUTHORIZATION) {
        return by_authorization(hub, value);
    }
    let mut cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let session = cookies.find_map(|value| cookies::find(port, value));
    if let Some(client) = session.and_then(|id| hub.cookies.client(id)) {
        return cookie_counts(hub, headers)
            .then_some(Caller { client, user: None })
            .ok_or(Refusal::ForeignOrigin);
    }
    let client = hub.clients.anonymous().ok_or(Refusal::Unauthorized)?;
    Ok(Caller { client, user: None })
}

/// `Authorization: Bearer` or `Basic`. Where nobody has a token, any credentials do.
fn by_authorization(hub: &Hub, value: &str) -> Result<Caller, Refusal> {
    let basic = parse_basic(value);
    let bearer = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = basic
        .as_ref()
        .map(|basic| &*basic.password)
        .or(bearer.map(|(_, t)| t.trim()));
    let by_token = token.and_then(|token| hub.clients.by_token(token));
    let client = by_token.or_else(|| hub.clients.anonymous().filter(|_| hub.clients.is_empty()));
    let client = client.ok_or(Refusal::Unauthorized)?;
    Ok(Caller {
        client,
        user: basic.map(|basic| basic.user),
    })
}

/// Whether an `Origin`, which browsers send and cannot forge, is the listener's own or allowed.
pub(super) fn origin_allowed(hub: &Hub, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = text(headers, &ORIGIN) else {
        return Ok(());
    };
    let own =
        text(headers, &HOST).is_some_and(|host| is_own(origin, host, hub.config.tls.is_some()));
    if own || is_listed(hub, origin) {
        Ok(())
    } else {
        Err(Refusal::ForeignOrigin)
    }
}

/// The origin to be named in `Access-Control-Allow-Origin`: one that is allowed by name.
pub(super) fn listed_origin<'a>(hub: &Hub, headers: &'a HeaderMap) -> Option<&'a str> {
    text(headers, &ORIGIN).filter(|origin| is_listed(hub, origin))
}

/// Whether pages of an origin may send credentials that the browser keeps. `*` names nobody.
pub(super) fn origin_named(hub: &Hub, headers: &HeaderMap) -> bool {
    text(headers, &ORIGIN).is_some_and(|origin| is_named(hub, origin))
}

fn is_listed(hub: &Hub, origin: &str) -> bool {
    hub.config
        .allowed_origins
        .iter()
        .any(|allowed| allowed == "*")
        || is_named(hub, origin)
}

fn is_named(hub: &Hub, origin: &str) -> bool {
    let same = |allowed: &String| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
    hub.config.allowed_origins.iter().any(same)
}

/// Whether an origin is that of the host that was asked. Behind a proxy that ends TLS the scheme
/// is the proxy's business.
fn is_own(origin: &str, host: &str, tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "https" => ":443",
        "http" if !tls => ":80",
        _ => return false,
    };
    let bare = |text: &str| {
        text.strip_suffix(default)
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    bare(authority) == bare(host)
}

/// A cookie counts for pages of the same origin, and for those of an origin that is allowed by name:
/// browsers call other ports, and other people's pages beside the relay, the same site.
fn cookie_counts(hub: &Hub, headers: &HeaderMap) -> bool {
    match text(headers, &SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => true,
        Some("same-site") => origin_named(hub, headers),
        Some(_) => false,
    }
}

/// Whether a request that shows no token of ours may have come through this host name. A page can
/// send any `Authorization`, and in some browsers any `User-Agent`. So on loopback, where programs
/// ask an address or localhost, everybody has to; elsewhere a network may name the relay as it
/// likes, and only what looks like a web page is held to it.
fn way_allowed(hub: &Hub, headers: &HeaderMap) -> bool {
    let bound = hub.config.listen.ip().is_loopback() || is_web_page(headers);
    !bound || host_vouched_for(hub, headers)
}

/// Whether a web page may have sent a request. Browsers leave `Origin` out where a page asks its own
/// host, and `Sec-Fetch-Site` where that host is asked without TLS: just so a name comes that was
/// pointed at the relay. Then what every browser sends has to do; programs send no language, or any.
fn is_web_page(headers: &HeaderMap) -> bool {
    if headers.contains_key(ORIGIN) {
        return true;
    }
    match text(headers, &SEC_FETCH_SITE) {
        Some(site) => site != "none",
        None => {
            text(headers, &USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/"))
                || text(headers, &ACCEPT_LANGUAGE).is_some_and(|language| language != "*")
        }
    }
}

/// Whether the host of a request can't be a name that a foreign page has pointed at the relay: an
/// address, localhost, or one that is in `allowed_origins`.
fn host_vouched_for(hub: &Hub, headers: &HeaderMap) -> bool {
    let Some(authority) =
        text(headers, &HOST).and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return false;
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let listed = |allowed: &String| {
        let allowed = allowed.trim_end_matches('/');
        allowed == "*"
            || allowed
                .split_once("://")
                .is_some_and(|(_, a)| a.eq_ignore_ascii_case(authority.as_str()))
    };
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || hub.config.allowed_origins.iter().any(listed)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_origins() {
        assert!(is_own("http://localhost:8080", "localhost:8080", false));
        assert!(is_own("http://relay", "Relay:80", false));
        assert!(is_own("https://relay", "relay:443", true));
        assert!(
            is_own("https://relay", "relay", false),
            "behind a proxy that ends TLS"
        );
        for (origin, host, tls) in [
            ("http://localhost:8081", "localhost:8080", false),
            ("http://relay", "relay", true),
            ("null", "relay", false),
            ("ftp://relay", "relay", false),
            ("http://relay.evil", "relay", false),
        ] {
            assert!(!is_own(origin, host, tls), "{origin} {host}");
        }
    }
}

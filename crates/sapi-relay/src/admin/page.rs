//! Owns the dashboard's files: constants of the build that hold nothing of the relay, so that a
//! browser without the token may have them. What the page shows it asks for itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

/// Everything comes from this server, and nothing that an event holds can become code.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; object-src 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("assets/", $name)))),+]
    };
}

/// Name, type, bytes.
const FILES: &[(&str, &str, &[u8])] = files! {
    "index.html": HTML,
    "style.css": STYLE,
    "icon.svg": "image/svg+xml",
    "charts.js": SCRIPT,
    "clients.js": SCRIPT,
    "dead_letters.js": SCRIPT,
    "details.js": SCRIPT,
    "dom.js": SCRIPT,
    "event_rates.js": SCRIPT,
    "figures.js": SCRIPT,
    "format.js": SCRIPT,
    "gaps.js": SCRIPT,
    "history.js": SCRIPT,
    "journal.js": SCRIPT,
    "login.js": SCRIPT,
    "main.js": SCRIPT,
    "relay.js": SCRIPT,
    "sinks.js": SCRIPT,
    "subscriptions.js": SCRIPT,
    "tail.js": SCRIPT,
    "theme.js": SCRIPT,
    "uplot/uPlot.iife.min.js": SCRIPT,
    "uplot/uPlot.min.css": STYLE,
};

struct File {
    kind: &'static str,
    bytes: &'static [u8],
    /// A hash of the bytes: another build's file is another one.
    tag: HeaderValue,
}

static BY_NAME: LazyLock<BTreeMap<&str, File>> = LazyLock::new(|| {
    let files = FILES.iter().map(|(name, kind, bytes)| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish()));
        let tag = tag.unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        (*name, File { kind, bytes, tag })
    });
    files.collect()
});

/// `/`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

/// `/assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

/// `/` for a browser without the token: the same page, which then asks for it.
pub(super) fn locked() -> Response {
    let mut answer = answer("index.html", &HeaderMap::new());
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = BY_NAME.get(name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let known = headers.get(IF_NONE_MATCH) == Some(&file.tag);
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, Bytes::from_static(file.bytes))
    };
    let texts: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, file.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A browser asks each time, and is told that nothing has changed.
        (CACHE_CONTROL, "no-cache"),
    ];
    (status, texts, [(ETAG, file.tag.clone())], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_names_is_there() {
        let mut named = 0;
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            for quoted in text.split('"') {
                let path = quoted
                    .strip_prefix("/assets/")
                    .or_else(|| quoted.strip_prefix("./"));
                if let Some(path) = path.filter(|_| !name.starts_with("uplot/")) {
                    assert!(BY_NAME.contains_key(path), "{name} names {path}");
                    named += 1;
                }
            }
        }
        assert!(named > 20, "{named}");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            let foreign = text.contains("https://") && !name.starts_with("uplot/");
            assert!(!foreign, "{name}");
            assert!(!text.contains(".innerHTML"), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let first = answer("style.css", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers().get(ETAG).unwrap().clone();
        let again = answer("style.css", &HeaderMap::from_iter([(IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(locked().status(), StatusCode::UNAUTHORIZED);
        let none = answer("../mod.rs", &HeaderMap::new());
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
    }
}

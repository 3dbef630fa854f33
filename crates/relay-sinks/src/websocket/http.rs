//! The HTTP side of the listener: which path is what, and the plain answers. It knows neither
//! frames nor the bus.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL,
    CONTENT_TYPE, Entry, HeaderValue, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use sapi_protocol::{PageLogin, test_page};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::auth::{self, Caller, Refusal};
use super::cookies;
use super::hub::{Admission, Hub};
use super::query::{self, Endpoint};
use super::session::Session;
use super::{history, sapi, sse, stream};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Response<Body>;

const INDEX: &str = include_str!("pages/index.html");
const SESSION: &str = "/v1/session";
const SAPI: &str = "/api/streaming/v";
const JSP: &str = "/TenantUpdates.jsp";
/// Everything that a page needs stands in the page itself, and it talks to its own origin alone.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'";
/// What `POST /v1/session` may be sent.
const MAX_BODY: usize = 4 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// One connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) hub: Arc<Hub>,
    pub(super) port: u16,
    /// Set when the connection has been slow for too long.
    pub(super) stalled: Arc<AtomicBool>,
    /// What becomes of the connection once a 101 is written.
    pub(super) upgraded: Mutex<Option<Box<Session>>>,
}

impl Connection {
    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let (head, body) = request.into_parts();
        let origin = auth::listed_origin(&self.hub, &head.headers).map(HeaderValue::from_str);
        let named = auth::origin_named(&self.hub, &head.headers);
        let mut answer = self
            .route(&head, body)
            .await
            .unwrap_or_else(|refused| refused);
        if let Some(Ok(origin)) = origin {
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(VARY, HeaderValue::from_static("Origin"));
            if named {
                let yes = HeaderValue::from_static("true");
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
        Ok(answer)
    }

    async fn route(&self, head: &Parts, body: Incoming) -> Result<Answer, Answer> {
        let path = head.uri.path();
        if head.method == Method::OPTIONS {
            return self.preflight(head);
        }
        if path == SESSION {
            return self.session(head, body).await.map_err(without_basic);
        }
        let known = matches!(path, "/" | "/v1/stream" | "/v1/events" | "/v1/history");
        if !known && !path.starts_with(SAPI) {
            return Err(text(
                StatusCode::NOT_FOUND,
                "nothing is here; / says what is where",
            ));
        }
        if head.method != Method::GET {
            return Err(only("GET"));
        }
        match path {
            "/" => Ok(page(INDEX)),
            "/v1/stream" => self.stream(head).await,
            "/v1/events" => self.events(head).await,
            "/v1/history" => self.history(head).await,
            _ if is_test_page(path) => Ok(self.test_page()),
            _ => self.sapi(head).await,
        }
    }

    /// Who needs no token is told the tenant; others know it.
    fn test_page(&self) -> Answer {
        let open = self.hub.clients.anonymous().is_some();
        let tenant = if open { &*self.hub.config.tenant } else { "" };
        page(test_page(tenant, PageLogin::Token))
    }

    async fn stream(&self, head: &Parts) -> Result<Answer, Answer> {
        let caller = self.caller(head)?;
        let wish = self.wish(Endpoint::Stream, head, &caller)?;
        let switching = switching(head)?;
        let admission = self.admit(&caller)?;
        let session = stream::open(admission, wish)
            .await
            .map_err(|error| self.unreadable(&error))?;
        Ok(self.upgrade(switching, session))
    }

    async fn events(&self, head: &Parts) -> Result<Answer, Answer> {
        let caller = self.caller(head)?;
        let mut wish = self.wish(Endpoint::Events, head, &caller)?;
        if let Some(last) = head.headers.get("last-event-id") {
            let cursor = last.to_str().ok().and_then(|last| last.parse().ok());
            let bad = || {
                text(
                    StatusCode::BAD_REQUEST,
                    "Last-Event-ID: not a cursor of this relay",
                )
            };
            wish.from = Some(relay_core::From::After(cursor.ok_or_else(bad)?));
        }
        let admission = self.admit(&caller)?;
        let body = sse::open(admission, wish)
            .await
            .map_err(|error| self.unreadable(&error))?;
        Ok(streamed("text/event-stream", body))
    }

    async fn history(&self, head: &Parts) -> Result<Answer, Answer> {
        let caller = self.caller(head)?;
        let wish = self.wish(Endpoint::History, head, &caller)?;
        let admission = self.admit(&caller)?;
        let body = history::open(admission, wish)
            .await
            .map_err(|error| self.unreadable(&error))?;
        Ok(streamed("application/x-ndjson", body))
    }

    fn unreadable(&self, error: &relay_core::ReadError) -> Answer {
        self.hub.unread(error);
        text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the journal could not be read",
        )
    }

    async fn sapi(&self, head: &Parts) -> Result<Answer, Answer> {
        let wish = sapi::read(head.uri.path(), head.uri.query());
        let wish = wish.map_err(|(status, reason)| text(status, &reason))?;
        let caller = self.caller(head)?;
        let tenant = &*self.hub.config.tenant;
        if caller.user.as_deref().is_some_and(|user| user != tenant) {
            return Err(refuse(Refusal::Unauthorized));
        }
        if wish.tenant_id != tenant {
            return Err(text(
                StatusCode::BAD_REQUEST,
                "tenantId: the relay serves another tenant",
            ));
        }
        let switching = switching(head)?;
        let admission = self.admit(&caller)?;
        let session = sapi::open(admission, wish).await;
        let session = session.map_err(|(status, reason)| text(status, &reason))?;
        Ok(self.upgrade(switching, session))
    }

    /// `POST /v1/session` changes a token for a cookie, `DELETE` ends the session.
    async fn session(&self, head: &Parts, body: Incoming) -> Result<Answer, Answer> {
        auth::origin_allowed(&self.hub, &head.headers).map_err(refuse)?;
        let id = match head.method {
            Method::POST => {
                let client = if head.headers.contains_key(http::header::AUTHORIZATION) {
                    self.caller(head)?.client
                } else {
                    let token = token_in(body).await?;
                    let client = self.hub.clients.by_token(&token);
                    client.ok_or_else(|| refuse(Refusal::Unauthorized))?
                };
                self.hub.cookies.open(&client)
            }
            Method::DELETE => {
                let cookies = head.headers.get_all(http::header::COOKIE).iter();
                for value in cookies.filter_map(|value| value.to_str().ok()) {
                    if let Some(id) = cookies::find(self.port, value) {
                        self.hub.cookies.close(id);
                    }
                }
                String::new()
            }
            _ => return Err(only("POST, DELETE")),
        };
        let cookie = cookies::set_cookie(self.port, &id, self.hub.config.tls.is_some());
        let mut answer = text(StatusCode::NO_CONTENT, "");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        Ok(answer)
    }

    /// A browser asks whether a page of another origin may send `Authorization`, or log in.
    fn preflight(&self, head: &Parts) -> Result<Answer, Answer> {
        auth::origin_allowed(&self.hub, &head.headers).map_err(refuse)?;
        let (methods, sent) = if head.uri.path() == SESSION {
            ("POST, DELETE", "authorization, content-type")
        } else {
            ("GET", "authorization, last-event-id")
        };
        let mut answer = text(StatusCode::NO_CONTENT, "");
        let headers = answer.headers_mut();
        for (name, value) in [
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", sent),
            ("access-control-max-age", "600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(answer)
    }

    fn caller(&self, head: &Parts) -> Result<Caller, Answer> {
        auth::caller(&self.hub, head, self.port).map_err(refuse)
    }

    fn wish(&self, endpoint: Endpoint, head: &Parts, by: &Caller) -> Result<query::Wish, Answer> {
        let query = head.uri.query().unwrap_or_default();
        let mut wish = query::read(endpoint, query, &by.client)
            .map_err(|reason| text(StatusCode::BAD_REQUEST, &reason))?;
        wish.select.share(&self.hub.filters);
        Ok(wish)
    }

    fn admit(&self, caller: &Caller) -> Result<Admission, Answer> {
        let admission = self.hub.admit(&caller.client);
        let mut admission = admission.ok_or_else(|| {
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "max_clients are being served: try again later",
            )
        })?;
        admission.watch(&self.stalled);
        Ok(admission)
    }

    fn upgrade(&self, switching: Answer, session: Session) -> Answer {
        *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(session));
        switching
    }
}

/// `/api/streaming/v{n}/TenantUpdates.jsp`.
fn is_test_page(path: &str) -> bool {
    let version = path
        .strip_prefix(SAPI)
        .and_then(|rest| rest.strip_suffix(JSP));
    version.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The 101 to a WebSocket handshake; 426 if it is none.
fn switching(head: &Parts) -> Result<Answer, Answer> {
    if !head.headers.contains_key(http::header::UPGRADE) {
        let mut answer = text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint");
        answer
            .headers_mut()
            .insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
        return Err(answer);
    }
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.version_mut() = head.version;
    request.headers_mut().clone_from(&head.headers);
    create_response_with_body(&request, empty)
        .map_err(|error| text(StatusCode::BAD_REQUEST, &error.to_string()))
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

/// The token in the body of `POST /v1/session`.
async fn token_in(body: Incoming) -> Result<String, Answer> {
    let bad = |reason| text(StatusCode::BAD_REQUEST, reason);
    let read = timeout(BODY_PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    let read = read
        .ok()
        .ok_or_else(|| text(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?;
    let bytes = read
        .ok()
        .ok_or_else(|| bad("the body is too long, or broke off"))?
        .to_bytes();
    if bytes.is_empty() {
        return Err(refuse(Refusal::Unauthorized));
    }
    let login: Option<Login> = serde_json::from_slice(&bytes).ok();
    Ok(login
        .ok_or_else(|| bad(r#"the body is not {"token": ".."}"#))?
        .token)
}

fn refuse(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Unauthorized => {
            let mut answer = text(StatusCode::UNAUTHORIZED, "credentials are missing or wrong");
            for challenge in ["Basic realm=\"sapi-relay\", charset=\"UTF-8\"", "Bearer"] {
                answer
                    .headers_mut()
                    .append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            answer
        }
        Refusal::ForeignOrigin => text(
            StatusCode::FORBIDDEN,
            "a web page of this origin may not connect: see allowed_origins",
        ),
        Refusal::ForeignHost => text(
            StatusCode::FORBIDDEN,
            "without a token nobody connects through this host name: use localhost or an address, or see allowed_origins",
        ),
    }
}

/// A page that logs in says itself what is wrong; asked for Basic, a browser would put a window of
/// its own before it.
fn without_basic(mut refused: Answer) -> Answer {
    if let Entry::Occupied(mut challenges) = refused.headers_mut().entry(WWW_AUTHENTICATE) {
        challenges.insert(HeaderValue::from_static("Bearer"));
    }
    refused
}

fn only(methods: &'static str) -> Answer {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is not for this path",
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn text(status: StatusCode, text: &str) -> Answer {
    let line = if text.is_empty() {
        String::new()
    } else {
        format!("{text}\n")
    };
    let mut answer = Response::new(full(line));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

fn page(html: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(html));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (http::header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (http::header::REFERRER_POLICY, "no-referrer"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn streamed(content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn empty() -> Body {
    full(Bytes::new())
}

//! Owns the sessions of browsers: the dashboard changes the admin token once for a cookie, since
//! `EventSource` sends no header and a page is no place to keep a token.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::answer::{Refused, bad};
use super::guard;
use crate::relay::SharedState;

/// How long a session lasts.
const LIFETIME: Duration = Duration::from_hours(12);
/// One more pushes out the oldest.
const MOST: usize = 64;

/// The sessions that are open.
pub(super) struct Sessions {
    /// Cookies do not tell ports apart, so their name has to.
    cookie: String,
    /// Tokens are kept as what this makes of them: enough to see that one has changed.
    hasher: RandomState,
    open: Mutex<VecDeque<Session>>,
}

struct Session {
    id: String,
    until: Instant,
    token: u64,
}

impl Sessions {
    /// Those of the server at a port.
    pub(super) fn new(port: u16) -> Self {
        Self {
            cookie: format!("sapi_relay_admin_{port}"),
            hasher: RandomState::new(),
            open: Mutex::default(),
        }
    }

    /// A new one, opened with a token: its id.
    fn open(&self, token: &str, now: Instant) -> String {
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut open = self.lock();
        open.retain(|session| session.until > now);
        if open.len() >= MOST {
            open.pop_front();
        }
        open.push_back(Session {
            id: id.clone(),
            until: now + LIFETIME,
            token: self.hasher.hash_one(token),
        });
        id
    }

    /// Whether a request belongs to a session that was opened with a token.
    pub(super) fn holds(&self, headers: &HeaderMap, token: &str) -> bool {
        let (now, token) = (Instant::now(), self.hasher.hash_one(token));
        let open = self.lock();
        self.ids(headers).any(|id| {
            open.iter().any(|session| {
                session.token == token && session.until > now && is_same(&session.id, id)
            })
        })
    }

    fn close(&self, headers: &HeaderMap) {
        let mut open = self.lock();
        for id in self.ids(headers) {
            open.retain(|session| !is_same(&session.id, id));
        }
    }

    /// The session ids among a request's cookies.
    fn ids<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let lines = headers.get_all(COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter(|(name, _)| *name == self.cookie)
            .map(|(_, id)| id)
    }

    /// The `Set-Cookie` of a session; an empty id ends it.
    fn set_cookie(&self, id: &str) -> String {
        let age = if id.is_empty() { 0 } else { LIFETIME.as_secs() };
        format!(
            "{}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict",
            self.cookie
        )
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(one: &str, other: &str) -> bool {
    bool::from(one.as_bytes().ct_eq(other.as_bytes()))
}

/// The body of `POST /v1/session`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

type Answer = Result<(StatusCode, [(HeaderName, String); 1]), Refused>;

/// `POST /v1/session`: the token for a cookie.
pub(super) async fn open(
    State(state): State<Arc<SharedState>>,
    State(sessions): State<Arc<Sessions>>,
    body: Bytes,
) -> Answer {
    let login: Option<Login> = serde_json::from_slice(&body).ok();
    let login = login.ok_or_else(|| bad("the body is {\"token\": ..}"))?;
    // Without a token there is nothing to log in to: whatever is shown serves.
    let token = state.config().admin.token.clone();
    if let Some(token) = &token {
        guard::is_token(login.token.trim(), token)?;
    }
    let id = sessions.open(login.token.trim(), Instant::now());
    Ok((
        StatusCode::NO_CONTENT,
        [(SET_COOKIE, sessions.set_cookie(&id))],
    ))
}

/// `DELETE /v1/session`: ends it.
pub(super) async fn close(State(sessions): State<Arc<Sessions>>, headers: HeaderMap) -> Answer {
    sessions.close(&headers);
    Ok((
        StatusCode::NO_CONTENT,
        [(SET_COOKIE, sessions.set_cookie(""))],
    ))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn shown(sessions: &Sessions, id: &str) -> HeaderMap {
        let cookie = format!("other=1; {}={id}", sessions.cookie);
        HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(cookie).unwrap())])
    }

    #[test]
    fn a_session_lasts_as_long_as_its_token() {
        let sessions = Sessions::new(9464);
        let now = Instant::now();
        let id = sessions.open("letmein", now);
        let headers = shown(&sessions, &id);
        assert!(sessions.holds(&headers, "letmein"));
        assert!(!sessions.holds(&headers, "changed"));
        assert!(!sessions.holds(&shown(&sessions, ""), "letmein"));
        assert!(!sessions.holds(&HeaderMap::new(), "letmein"));
        let other = Sessions::new(9465);
        assert!(!sessions.holds(&shown(&other, &id), "letmein"));
        sessions.close(&headers);
        assert!(!sessions.holds(&headers, "letmein"));
        let expired = now.checked_sub(LIFETIME).unwrap();
        let id = sessions.open("letmein", expired);
        assert!(!sessions.holds(&shown(&sessions, &id), "letmein"));
    }

    #[test]
    fn they_are_bounded() {
        let sessions = Sessions::new(9464);
        let now = Instant::now();
        let first = sessions.open("letmein", now);
        let second = sessions.open("letmein", now);
        for _ in 1..MOST {
            sessions.open("letmein", now);
        }
        assert!(!sessions.holds(&shown(&sessions, &first), "letmein"));
        assert!(sessions.holds(&shown(&sessions, &second), "letmein"));
        assert_eq!(sessions.lock().len(), MOST);
    }
}

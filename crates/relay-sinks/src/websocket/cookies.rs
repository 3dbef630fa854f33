//! Sessions of browsers: a random id in a cookie instead of a token, since browsers can't set
//! headers on WebSocket and `EventSource`. Bounded in number and time, and gone with their token.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::clients::Entry;

/// How long a session lasts.
pub(super) const LIFETIME: Duration = Duration::from_hours(12);
/// More sessions than this push the oldest out.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Session {
    client: Arc<Entry>,
    until: Instant,
}

/// The sessions. An id is kept as its hash, so that looking it up tells nothing of it.
#[derive(Debug, Default)]
pub(super) struct Cookies(Mutex<HashMap<[u8; 32], Session>>);

impl Cookies {
    /// A new session of a client: its id.
    pub(super) fn open(&self, client: &Arc<Entry>) -> String {
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let until = Instant::now() + LIFETIME;
        let mut sessions = self.lock();
        if sessions.len() >= MOST {
            sessions.retain(|_, session| session.is_valid());
        }
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.until);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(
            hash(&id),
            Session {
                client: Arc::clone(client),
                until,
            },
        );
        id
    }

    /// Whose session an id is.
    pub(super) fn client(&self, id: &str) -> Option<Arc<Entry>> {
        let sessions = self.lock();
        let session = sessions.get(&hash(id)).filter(|session| session.is_valid());
        session.map(|session| Arc::clone(&session.client))
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.lock().remove(&hash(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_valid(&self) -> bool {
        !self.client.gone.is_cancelled() && self.until > Instant::now()
    }
}

/// The name of the cookie: cookies do not tell ports apart, so that the name must.
pub(super) fn name(port: u16) -> String {
    format!("sapi_relay_{port}")
}

/// The `Set-Cookie` of a session; an empty id ends it.
pub(super) fn set_cookie(port: u16, id: &str, secure: bool) -> String {
    let age = if id.is_empty() { 0 } else { LIFETIME.as_secs() };
    let mut text = format!(
        "{}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict",
        name(port)
    );
    if secure {
        // Writing to a String does not fail.
        write!(text, "; Secure").ok();
    }
    text
}

/// The session id among the cookies of a request.
pub(super) fn find(port: u16, header: &str) -> Option<&str> {
    let name = name(port);
    let pairs = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .next()
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

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
/// More sessions than this push one out: the oldest of the client that has most.
const MOST: usize = 10_000;
/// More sessions of one client than this push its own oldest out, never another's.
const MOST_OF_ONE: usize = 1_000;

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
        make_room(&mut sessions, &client.name);
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

/// Lets a client have one more session.
fn make_room(sessions: &mut HashMap<[u8; 32], Session>, client: &Arc<str>) {
    let of = |name: &Arc<str>, sessions: &HashMap<_, Session>| {
        let theirs = sessions.values().filter(|it| it.client.name == *name);
        theirs.count()
    };
    if sessions.len() >= MOST || of(client, sessions) >= MOST_OF_ONE {
        sessions.retain(|_, session| session.is_valid());
    }
    let from = if of(client, sessions) >= MOST_OF_ONE {
        Some(Arc::clone(client))
    } else if sessions.len() >= MOST {
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for session in sessions.values() {
            *counts.entry(&session.client.name).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| Arc::clone(name))
    } else {
        None
    };
    let theirs = sessions
        .iter()
        .filter(|(_, session)| from.as_ref() == Some(&session.client.name));
    let oldest = theirs.min_by_key(|(_, session)| session.until);
    if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
        sessions.remove(&oldest);
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

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn client(name: &str) -> Arc<Entry> {
        Arc::new(Entry::named(name, &CancellationToken::new()))
    }

    #[test]
    fn a_client_that_logs_in_again_and_again_pushes_out_its_own_sessions_alone() {
        let cookies = Cookies::default();
        let (calm, eager) = (client("calm"), client("eager"));
        let kept = cookies.open(&calm);
        let first = cookies.open(&eager);
        let second = cookies.open(&eager);
        for _ in 2..=MOST_OF_ONE {
            cookies.open(&eager);
        }
        assert!(cookies.client(&first).is_none(), "its oldest has gone");
        assert!(cookies.client(&second).is_some(), "and no other");
        assert!(cookies.client(&kept).is_some());
        assert_eq!(cookies.lock().len(), MOST_OF_ONE + 1);
    }

    #[test]
    fn when_all_are_taken_whoever_has_most_gives_way() {
        let cookies = Cookies::default();
        let calm = client("calm");
        let kept = cookies.open(&calm);
        for number in 0..=MOST / MOST_OF_ONE {
            let eager = client(&format!("eager_{number}"));
            for _ in 0..MOST_OF_ONE {
                cookies.open(&eager);
            }
        }
        assert_eq!(cookies.lock().len(), MOST);
        assert!(cookies.client(&kept).is_some());
    }
}

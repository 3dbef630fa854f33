//! Who may connect: the clients of the configuration, their tokens and allow-lists, and the list's
//! change while connections stand. It knows no HTTP.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use relay_core::filter::{Filter, FilterError};
use relay_core::storm::Storm;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Config;
use super::config::Client;
use crate::Secret;

/// Tokens in files are looked at again when somebody connects, at most so often.
const REFRESH: Duration = Duration::from_secs(1);
/// The name that clients without credentials go by.
const ANONYMOUS: &str = "anonymous";

/// Why a list of clients is refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// A token can't be read.
    #[error("reading the token of client {client}")]
    Token {
        /// Whose.
        client: Arc<str>,
        /// Why.
        source: io::Error,
    },
    /// An allow-list is wrong.
    #[error("the types of client {client}")]
    Types {
        /// Whose.
        client: Arc<str>,
        /// Why.
        source: FilterError,
    },
    /// Two clients have one token: it would not be known which of them connects.
    #[error("clients {0} and {1} have the same token")]
    SameToken(Arc<str>, Arc<str>),
}

/// One client as it is at present.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// What it may see; `None`: everything.
    pub(super) allowed: Option<Filter>,
    /// Cancelled when the client is removed or changed: its connections end then.
    pub(super) gone: CancellationToken,
    client: Option<Client>,
    digest: [u8; 32],
}

impl Entry {
    fn read(client: Client, root: &CancellationToken) -> Result<Arc<Self>, ClientsError> {
        let name = Arc::clone(&client.name);
        let token = client.token.read();
        let token = token.map_err(|source| ClientsError::Token {
            client: Arc::clone(&name),
            source,
        })?;
        let allowed = match &*client.types {
            [] => None,
            types => Some(Filter::parse(types).map_err(|source| ClientsError::Types {
                client: Arc::clone(&name),
                source,
            })?),
        };
        Ok(Arc::new(Self {
            name,
            allowed,
            gone: root.child_token(),
            digest: digest(&token),
            client: Some(client),
        }))
    }

    fn anonymous(root: &CancellationToken) -> Arc<Self> {
        Arc::new(Self::named(ANONYMOUS, root))
    }

    /// Whether it stands for all who show no token.
    pub(super) fn is_anonymous(&self) -> bool {
        self.client.is_none()
    }

    /// One without a token, who may see everything.
    pub(super) fn named(name: &str, root: &CancellationToken) -> Self {
        Self {
            name: name.into(),
            allowed: None,
            gone: root.child_token(),
            client: None,
            digest: [0; 32],
        }
    }
}

#[derive(Debug)]
struct Book {
    entries: Vec<Arc<Entry>>,
    /// `None`: clients without credentials are refused.
    anonymous: Option<Arc<Entry>>,
    refreshed: Instant,
    /// Counts the lists: what was read for one must not take the place of a later one.
    edition: u64,
    unread: Storm,
}

#[derive(Debug)]
struct Inner {
    book: RwLock<Book>,
    config: Config,
    root: CancellationToken,
    connected: AtomicUsize,
}

/// The clients of a websocket sink. Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct Clients(Arc<Inner>);

impl Clients {
    pub(super) fn new(config: Config, root: CancellationToken) -> Result<Self, ClientsError> {
        let entries = read_all(config.clients.clone(), &root)?;
        let anonymous = config
            .serves_anonymous(entries.len())
            .then(|| Entry::anonymous(&root));
        let book = RwLock::new(Book {
            entries,
            anonymous,
            refreshed: Instant::now(),
            edition: 0,
            unread: Storm::default(),
        });
        Ok(Self(Arc::new(Inner {
            book,
            config,
            root,
            connected: AtomicUsize::new(0),
        })))
    }

    /// Replaces the list. Clients that are the same keep their connections; those of removed and
    /// changed ones (another token, another allow-list) are closed.
    ///
    /// # Errors
    /// See [`ClientsError`]; nothing changes then.
    pub fn replace(&self, clients: Vec<Client>) -> Result<(), ClientsError> {
        let fresh = read_all(clients, &self.0.root)?;
        self.install(&mut self.book(), fresh);
        Ok(())
    }

    /// How many clients are being served now.
    pub fn connected(&self) -> usize {
        self.0.connected.load(Relaxed)
    }

    /// Whether nobody has a token.
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .book
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .is_empty()
    }

    pub(super) fn counter(&self) -> &AtomicUsize {
        &self.0.connected
    }

    fn book(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs what was read again of a list, unless another list has been installed meanwhile.
    fn install_over(&self, edition: u64, fresh: Vec<Arc<Entry>>) {
        let mut book = self.book();
        if book.edition == edition {
            self.install(&mut book, fresh);
        }
    }

    fn install(&self, book: &mut Book, fresh: Vec<Arc<Entry>>) {
        book.edition += 1;
        let mut old: HashMap<Arc<str>, Arc<Entry>> = book
            .entries
            .drain(..)
            .map(|entry| (Arc::clone(&entry.name), entry))
            .collect();
        for entry in fresh {
            let same = |old: &Arc<Entry>| old.digest == entry.digest && old.client == entry.client;
            let kept = old.get(&entry.name).is_some_and(same);
            let kept = kept.then(|| old.remove(&entry.name)).flatten();
            book.entries.push(kept.unwrap_or(entry));
        }
        for removed in old.into_values() {
            removed.gone.cancel();
        }
        let anonymous = self.0.config.serves_anonymous(book.entries.len());
        match (&book.anonymous, anonymous) {
            (Some(entry), false) => {
                entry.gone.cancel();
                book.anonymous = None;
            }
            (None, true) => book.anonymous = Some(Entry::anonymous(&self.0.root)),
            (Some(_), true) | (None, false) => {}
        }
        book.refreshed = Instant::now();
    }

    /// Who has this token. Takes as long whatever the token is.
    pub(super) fn by_token(&self, token: &str) -> Option<Arc<Entry>> {
        self.refresh();
        let digest = digest(token);
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for entry in &book.entries {
            if bool::from(entry.digest.ct_eq(&digest)) {
                found = Some(entry);
            }
        }
        found.map(Arc::clone)
    }

    /// Who comes without credentials, where that is allowed.
    pub(super) fn anonymous(&self) -> Option<Arc<Entry>> {
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        book.anonymous.clone()
    }

    /// Reads tokens in files again: a new one counts at once, and the old one's connections end.
    fn refresh(&self) {
        let due = |book: &Book| {
            let from_file =
                |entry: &Arc<Entry>| entry.client.as_ref().is_some_and(|c| is_file(&c.token));
            book.refreshed.elapsed() >= REFRESH && book.entries.iter().any(from_file)
        };
        let (edition, old) = {
            let mut book = self.book();
            if !due(&book) {
                return;
            }
            book.refreshed = Instant::now();
            (book.edition, book.entries.clone())
        };
        let again = |entry: &Arc<Entry>| {
            let client = entry.client.clone()?;
            let read = Entry::read(client, &self.0.root);
            Some(read.unwrap_or_else(|error| {
                if let Some(times) = self.book().unread.strike() {
                    warn!(client = %entry.name, %error, times, "the token's file can't be read: the old one counts");
                }
                Arc::clone(entry)
            }))
        };
        self.install_over(edition, old.iter().filter_map(again).collect());
    }
}

fn is_file(secret: &Secret) -> bool {
    matches!(secret, Secret::File(_))
}

fn read_all(
    clients: Vec<Client>,
    root: &CancellationToken,
) -> Result<Vec<Arc<Entry>>, ClientsError> {
    let mut entries: Vec<Arc<Entry>> = Vec::with_capacity(clients.len());
    for client in clients {
        let entry = Entry::read(client, root)?;
        if let Some(other) = entries.iter().find(|other| other.digest == entry.digest) {
            let (one, two) = (Arc::clone(&other.name), Arc::clone(&entry.name));
            return Err(ClientsError::SameToken(one, two));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_files_again_does_not_bring_back_who_was_removed_meanwhile() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new("downstream", "acmecorp01", listen);
        config.clients = vec![Client {
            name: "wallboard".into(),
            token: Secret::Literal("w-token".to_owned()),
            types: Vec::new(),
        }];
        let clients = Clients::new(config, CancellationToken::new()).unwrap();
        let (edition, read) = {
            let book = clients.book();
            (book.edition, book.entries.clone())
        };
        clients.replace(Vec::new()).unwrap();
        clients.install_over(edition, read);
        assert!(clients.by_token("w-token").is_none());
    }
}

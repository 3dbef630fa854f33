//! Owns the record of who tried to connect, what became of it, and how each connection ended.

use serde::{Deserialize, Serialize};

/// Attempts kept; older ones are forgotten.
const KEPT: usize = 20_000;

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The server: a cut, a kick, a fault.
    Server,
    /// The client, by a Close.
    Client,
    /// Nobody said a word: the socket ended.
    Network,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When, ms since 1970.
    pub at: u64,
    /// By whom.
    pub by: EndedBy,
    /// The code of the Close, if there was one.
    pub code: Option<u16>,
    /// Why, in words.
    pub reason: String,
}

/// One attempt to subscribe, as `GET /sim/connections` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number; the first is 1.
    pub id: u64,
    /// When, ms since 1970.
    pub at: u64,
    /// The client's address.
    pub peer: String,
    /// The path asked for, with its query.
    pub path: String,
    /// The subscription asked for, if the request was that good.
    #[serde(rename = "subsId")]
    pub subs_id: Option<String>,
    /// The HTTP status answered; 101 is a connection, 0 none yet.
    pub status: u16,
    /// It got through to the stream of the subscription.
    pub admitted: bool,
    /// Documents written.
    pub documents: u64,
    /// How it ended, if it has.
    pub ended: Option<End>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    kept: std::collections::VecDeque<Connection>,
    last: u64,
}

impl Connections {
    pub(super) fn open(&mut self, at: u64, peer: String, path: String) -> u64 {
        self.last += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Connection {
            id: self.last,
            at,
            peer,
            path,
            subs_id: None,
            status: 0,
            admitted: false,
            documents: 0,
            ended: None,
        });
        self.last
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Connection> {
        let first = self.kept.front()?.id;
        self.kept
            .get_mut(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Connection> {
        self.kept.iter()
    }
}

//! What the websocket sink is configured with: its field docs are its manual.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Secret;
use crate::tls::ServerTls;

/// A websocket sink.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sink's name.
    pub name: Arc<str>,
    /// The tenant whose events these are: the user of Basic authentication on the SAPI face.
    pub tenant: Arc<str>,
    /// Where to listen. Any address but loopback needs `clients` or `allow_anonymous`, which is
    /// checked where the configuration is read.
    pub listen: SocketAddr,
    /// TLS; `None`: plain text.
    pub tls: Option<ServerTls>,
    /// How many clients may be served at once. One more is told so with 503.
    pub max_clients: usize,
    /// Who may connect.
    pub clients: Vec<Client>,
    /// Whether clients without credentials are served. With no `clients` on loopback they are.
    pub allow_anonymous: bool,
    /// Web origins that may connect besides the listener's own: `https://host[:port]`, or `*`.
    pub allowed_origins: Vec<String>,
    /// How long a client's kernel may refuse bytes before it is told to go.
    pub slow_client_timeout: Duration,
    /// The face that speaks SAPI.
    pub sapi: Sapi,
}

impl Config {
    /// The defaults of PRODUCT section 3.
    pub fn new(name: &str, tenant: &str, listen: SocketAddr) -> Self {
        Self {
            name: name.into(),
            tenant: tenant.into(),
            listen,
            tls: None,
            max_clients: 20_000,
            clients: Vec::new(),
            allow_anonymous: false,
            allowed_origins: Vec::new(),
            slow_client_timeout: Duration::from_secs(30),
            sapi: Sapi::default(),
        }
    }

    /// Whether clients without credentials are served.
    pub(crate) fn serves_anonymous(&self, clients: usize) -> bool {
        self.allow_anonymous || (clients == 0 && self.listen.ip().is_loopback())
    }
}

/// Somebody who may connect (`clients.NAME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The name, which SAPI subscriptions belong to.
    pub name: Arc<str>,
    /// The token.
    pub token: Secret,
    /// Globs of the types that this client may see, on every endpoint; empty: all. Notices are
    /// not events of the tenant: who asks for them gets them.
    pub types: Vec<String>,
}

/// The face that speaks SAPI (`sapi.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sapi {
    /// The period of heartbeats.
    pub heartbeat: Duration,
    /// Connections are cut after so long; `None`: never.
    pub session_length: Option<Duration>,
    /// A subsId that has been away for longer starts anew.
    pub cache: Duration,
    /// How many subsIds a client may have.
    pub max_subs_ids: usize,
}

impl Default for Sapi {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_mins(1),
            session_length: None,
            cache: Duration::from_hours(2),
            max_subs_ids: 100,
        }
    }
}

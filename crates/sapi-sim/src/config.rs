//! Owns what a simulated SAPI is told before it starts: every documented limit as a field. It knows
//! nothing of sockets or of how the limits are kept.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::faults::FaultSpec;

/// The token a simulator accepts when it is given none: shaped like a Data Request Token.
pub const DEMO_TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// Everything a [`Simulator`](crate::Simulator) can be told. The default is SAPI as documented:
/// 60 minutes, 2 hours, three clients, and nothing emitted until asked for.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one tenant there is.
    pub tenant: String,
    /// Its Data Request Token: the Basic password.
    pub token: String,
    /// The Basic user name; the tenant's name where absent.
    pub username: Option<String>,
    /// Events a second; 0 emits only on command.
    pub rate: f64,
    /// Stop emitting by rate after so many events.
    pub events: Option<u64>,
    /// How many subscriptions must be connected before emission by rate begins.
    pub wait_clients: usize,
    /// Agents of the simulated contact centre.
    pub agents: usize,
    /// Pad each event to about so many bytes.
    pub event_bytes: Option<usize>,
    /// A session is cut when it is this old.
    pub session_length: Duration,
    /// How long a disconnected subscription stores events.
    pub cache: Duration,
    /// Period of the heartbeats.
    pub heartbeat: Duration,
    /// Clients of the tenant that may be connected at once.
    pub max_clients: usize,
    /// The last so many written events are written again after a reconnect.
    pub overlap: usize,
    /// The scope of sequence numbers.
    pub numbering: Numbering,
    /// The msgInfo.instanceId to begin with.
    pub instance: String,
    /// Certificate chain and key, both PEM: serves wss instead of ws.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Faults that are on from the start.
    pub faults: Vec<FaultSpec>,
    /// The same seed and the same number of events give the same documents, times apart.
    pub seed: u64,
    /// Fixes the times too: the clock starts here (ms since 1970) and moves with the event number.
    pub start_time: Option<u64>,
    /// Subscriptions that exist, disconnected, from the start.
    pub preload_subs: Vec<String>,
    /// Events emitted before the first connection; they are stored for `preload_subs`.
    pub preload: u64,
    /// The ledger keeps the last so many documents; older ones are forgotten, undelivered or not.
    pub ledger_events: usize,
    /// Emit nothing of the above but pre-encoded documents as fast as a socket takes them.
    pub burst: Option<Burst>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tenant: "acmecorp01".to_owned(),
            token: DEMO_TOKEN.to_owned(),
            username: None,
            rate: 0.0,
            events: None,
            wait_clients: 0,
            agents: 40,
            event_bytes: None,
            session_length: Duration::from_hours(1),
            cache: Duration::from_hours(2),
            heartbeat: Duration::from_mins(1),
            max_clients: 3,
            overlap: 0,
            numbering: Numbering::Tenant,
            instance: "us1tomcat04.us1.whitepj.net-sapi-v1".to_owned(),
            tls: None,
            faults: Vec::new(),
            seed: 1,
            start_time: None,
            preload_subs: Vec::new(),
            preload: 0,
            ledger_events: 500_000,
            burst: None,
        }
    }
}

/// Burst mode, for measurements: distinct documents without a ledger entry each, in large writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Documents for each subscription.
    pub events: u64,
    /// Documents a write, one WebSocket frame each.
    pub batch: usize,
    /// Documents a second; 0 writes as fast as the socket takes them.
    pub rate: f64,
    /// Exact size of a document in bytes (at least about 700).
    pub event_bytes: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self {
            events: 1_000_000,
            batch: 256,
            rate: 0.0,
            event_bytes: 1024,
        }
    }
}

/// What shares one series of sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// All documents of the tenant, the heartbeats of every subscription among them.
    #[default]
    Tenant,
    /// The documents of one subscription: each subscription numbers an event apart.
    Subscription,
    /// The documents of one instance id.
    Instance,
}

impl Numbering {
    /// The name a command line uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Subscription => "subscription",
            Self::Instance => "instance",
        }
    }
}

/// A numbering that is none of the three.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("numbering is tenant, subscription or instance, not {0:?}")]
pub struct UnknownNumbering(String);

impl FromStr for Numbering {
    type Err = UnknownNumbering;

    fn from_str(text: &str) -> Result<Self, UnknownNumbering> {
        [Self::Tenant, Self::Subscription, Self::Instance]
            .into_iter()
            .find(|numbering| numbering.as_str() == text)
            .ok_or_else(|| UnknownNumbering(text.to_owned()))
    }
}

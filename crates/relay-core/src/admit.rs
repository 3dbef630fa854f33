//! What a session of an upstream subscription tells: the seam between upstream and intake.

use std::sync::Arc;

use sapi_protocol::Framed;

/// A subscription is connected: the handshake succeeded, no byte has been received yet.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The subscription's id (`subs_ids` of the configuration).
    pub subscription: Arc<str>,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
}

/// What one read of a socket brought, in order.
#[derive(Debug)]
pub struct Received {
    /// The subscription's id.
    pub subscription: Arc<str>,
    /// When the bytes were read, in Unix milliseconds: the events' arrival time.
    pub at_ms: u64,
    /// Documents, heartbeats among them, and what could not be parsed.
    pub documents: Vec<Framed>,
}

/// A subscription's connection has ended, or could not be made.
#[derive(Clone, Debug)]
pub struct Disconnected {
    /// The subscription's id.
    pub subscription: Arc<str>,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Why, as a closed list.
    pub reason: DisconnectReason,
    /// Why, in words for an operator; never holds a secret.
    pub detail: String,
}

/// Why a connection ended: the `reason` label of `upstream_disconnects_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The cut that was expected near `session_length`.
    Rotation,
    /// The relay reopened it early, to keep two cuts apart.
    Planned,
    /// The peer closed it at another time.
    ClosedByPeer,
    /// The network failed: reset, end of stream without Close, DNS, connect, TLS.
    Network,
    /// No byte for `silence_timeout`.
    Silence,
    /// The peer broke the WebSocket protocol (invalid UTF-8 in text, a message beyond `max_message`).
    Protocol,
    /// 401 or 403.
    Auth,
    /// The upstream's limit of clients.
    Quota,
    /// Another refusal of the handshake (404, 5xx, a redirect).
    Refused,
    /// The disk is full: upstream keeps the events.
    DiskFull,
    /// The relay stops.
    Shutdown,
}

impl DisconnectReason {
    /// Every reason, for the metric's closed list.
    pub const ALL: [Self; 11] = [
        Self::Rotation,
        Self::Planned,
        Self::ClosedByPeer,
        Self::Network,
        Self::Silence,
        Self::Protocol,
        Self::Auth,
        Self::Quota,
        Self::Refused,
        Self::DiskFull,
        Self::Shutdown,
    ];

    /// The label, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Planned => "planned",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Network => "network",
            Self::Silence => "silence",
            Self::Protocol => "protocol",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::DiskFull => "disk_full",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Intake has stopped and admits nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("intake has stopped")]
pub struct Stopped;

/// What a session tells. Implemented by the intake, and by `tail --direct`.
///
/// Calls for one subscription are made in order. Every call may wait, for the disk only: intake
/// holds at most one commit group in memory while another is being written.
pub trait Admit: Clone + Send + Sync + 'static {
    /// The subscription is connected.
    fn connected(&self, event: Connected) -> impl Future<Output = Result<(), Stopped>> + Send;

    /// Documents arrived. `Ok` means accepted for the next commit, not that they are durable.
    fn documents(&self, received: Received) -> impl Future<Output = Result<(), Stopped>> + Send;

    /// A connection that was reported as connected has ended.
    fn disconnected(&self, ended: Disconnected)
    -> impl Future<Output = Result<(), Stopped>> + Send;
}

/// Whether upstream sockets may be open: intake closes the gate when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Subscribe.
    #[default]
    Open,
    /// Close, read on until the peer's Close (5 s at most), stay away until it opens.
    Full,
}

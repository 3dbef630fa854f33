//! The websocket sink: clients that connect to the relay, over WebSocket, SSE, NDJSON and SAPI.
//!
//! ```text
//! accept ─▶ http (auth, query, origin) ─┬─▶ stream ┐
//!                                       ├─▶ sapi   ┴─▶ session ⇄ group ─▶ socket ─▶ wire
//!                                       ├─▶ sse                                   (frames made once,
//!                                       └─▶ history                                written to all)
//! ```
//! Every client has a reader of the bus and nothing else: no queue. A client that does not read
//! costs the frame under way, and reads on where it was when it comes back to it. It knows the bus
//! and the store, not the journal.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_core::sink::Listener;
use relay_core::store::Store;
use relay_core::storm::Storm;
use relay_core::{Bus, Metrics};
use tokio::net::{TcpListener, TcpSocket};
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

mod auth;
mod budget;
mod clients;
mod config;
mod cookies;
mod door;
mod feed;
mod frame;
mod group;
mod history;
mod http;
mod hub;
mod notice;
mod query;
mod sapi;
mod serving;
mod session;
mod socket;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
mod wanted;
mod wire;

pub use clients::{Clients, ClientsError};
pub use config::{Client, Config, Sapi};

use crate::tls::{Acceptor, TlsError};
use door::Door;
use group::Groups;
use hub::Hub;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// Connections beyond `max_clients` that may be open: to be told so, or for plain answers.
const SPARE: usize = 1024;
/// Waited after an accept that failed for want of something: descriptors, memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long connections may take to end when the sink stops: a session says goodbye in less, a
/// download that is long or not read would keep a reload or the shutdown waiting.
const LEAVING: Duration = Duration::from_secs(5);

/// What the sink takes from the relay besides the bus.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where subsIds are kept.
    pub store: Store,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

/// Why the sink can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can't be had.
    #[error("listening on {addr}")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error("setting up TLS")]
    Tls(#[from] TlsError),
    /// The list of clients is wrong.
    #[error("reading the clients")]
    Clients(#[from] ClientsError),
}

/// A websocket sink that is bound and waits to be served.
#[derive(Debug)]
pub struct Websocket {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<Acceptor>,
    config: Config,
    clients: Clients,
    context: Context,
    root: CancellationToken,
}

impl Websocket {
    /// Binds the address and reads tokens and certificates.
    ///
    /// # Errors
    /// See [`BindError`].
    #[expect(
        clippy::unused_async,
        reason = "it needs the runtime that it is called in"
    )]
    pub async fn bind(config: Config, context: Context) -> Result<Self, BindError> {
        let failed = |source| BindError::Address {
            addr: config.listen,
            source,
        };
        let listener = listen(config.listen).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let tls = config.tls.clone().map(Acceptor::new).transpose()?;
        let root = CancellationToken::new();
        let clients = Clients::new(config.clone(), root.clone())?;
        Ok(Self {
            listener,
            addr,
            tls,
            config,
            clients,
            context,
            root,
        })
    }

    /// The address, with the port that the system chose where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A handle to its clients: to replace the list on a reload, and to count them.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// A handle to its TLS: to read the certificate anew on a reload.
    pub fn tls(&self) -> Option<Acceptor> {
        self.tls.clone()
    }
}

impl Listener for Websocket {
    async fn serve(self, bus: Bus, stop: CancellationToken) -> io::Result<()> {
        let Self {
            listener,
            addr,
            tls,
            config,
            clients,
            context,
            root,
        } = self;
        let most = config.max_clients.saturating_add(SPARE);
        let hub = Hub::new(
            config,
            bus,
            clients,
            root.clone(),
            (context.store, &context.metrics),
        );
        let mut groups = JoinSet::new();
        for number in 0..hub.groups.len() {
            groups.spawn(Groups::run(Arc::clone(&hub), number));
        }
        let door = Door {
            hub,
            tls,
            port: addr.port(),
        };
        let mut connections = JoinSet::new();
        let mut refusals = Storm::default();
        loop {
            select! {
                biased;
                () = stop.cancelled() => break,
                Some(_ended) = connections.join_next() => {}
                // Only a panic ends it. Its clients come back with their cursors.
                Some(_ended) = groups.join_next() => {
                    return Err(io::Error::other("what serves the clients has ended"));
                }
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _peer)) if connections.len() < most => {
                        connections.spawn(door.clone().serve(tcp));
                    }
                    // There would be no end to telling them.
                    Ok(_one_too_many) => door.hub.crowded(connections.len()),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        if let Some(times) = refusals.strike() {
                            tracing::warn!(%error, times, "no connection can be accepted");
                        }
                        sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(listener);
        root.cancel();
        let leaving = async { while connections.join_next().await.is_some() {} };
        timeout(LEAVING, leaving).await.ok();
        connections.shutdown().await;
        Ok(())
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Errors of `accept` that concern a connection which is already gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

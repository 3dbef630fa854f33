//! Owns a running simulator: its listener, its clock of emission, and the handle that tests hold.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    burst,
    config::Config,
    faults::{BadFault, FaultSpec, FaultStatus},
    http::{self, Server},
    hub::{Connection, Hub, LedgerEntry, Status, Stop},
};

/// How often emission by rate looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// How long sessions may take to close.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot serve TLS")]
    Tls(#[source] std::io::Error),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

/// A running simulator. Dropping it ends everything at once; [`Simulator::stop`] closes in good order.
pub struct Simulator {
    hub: Arc<Hub>,
    addr: SocketAddr,
    secure: bool,
    tasks: TaskTracker,
    sessions: TaskTracker,
    accepting: CancellationToken,
    ended: CancellationToken,
    _guard: DropGuard,
}

impl Simulator {
    /// Binds and runs.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if let Some(wanted) = config.burst {
            burst::check(&config, wanted).map_err(StartError::Setting)?;
        }
        if config.heartbeat.is_zero() || config.session_length.is_zero() {
            let problem = "heartbeat and session length must be longer than nothing";
            return Err(StartError::Setting(problem.to_owned()));
        }
        let tls = match &config.tls {
            Some((cert, key)) => Some(http::tls::acceptor(cert, key).map_err(StartError::Tls)?),
            None => None,
        };
        let listen = |source| StartError::Listen {
            addr: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let hub = Arc::new(Hub::new(config));
        hub.emit(hub.config.preload);
        let (tasks, sessions) = (TaskTracker::new(), TaskTracker::new());
        let ended = CancellationToken::new();
        let server = Server {
            hub: Arc::clone(&hub),
            tasks: tasks.clone(),
            sessions: sessions.clone(),
            ended: ended.clone(),
            cookie: Arc::from(format!("{:032x}", rand::rng().random::<u128>())),
        };
        let secure = tls.is_some();
        let accepting = ended.child_token();
        let until = accepting.clone();
        tasks.spawn(async move {
            until
                .run_until_cancelled_owned(http::accept(listener, tls, server))
                .await
        });
        let (emitting, source) = (ended.clone(), Arc::clone(&hub));
        tasks.spawn(async move { emitting.run_until_cancelled_owned(emission(source)).await });
        let (beating, source) = (ended.clone(), Arc::clone(&hub));
        tasks.spawn(async move {
            beating
                .run_until_cancelled_owned(stored_beats(source))
                .await
        });
        tasks.close();
        Ok(Self {
            hub,
            addr,
            secure,
            tasks,
            sessions,
            accepting,
            _guard: ended.clone().drop_guard(),
            ended,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `ws://address:port` (`wss` with TLS), as the relay's `upstream.url` wants it.
    pub fn ws_url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}", self.addr)
    }

    /// `http://address:port` (`https` with TLS), for the control endpoints.
    pub fn http_url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.hub.config
    }

    /// Everything that was made, as far as it is kept.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.hub.ledger(1, usize::MAX)
    }

    /// A page of the ledger: from entry `from` on, at most `limit`.
    pub fn ledger_page(&self, from: u64, limit: usize) -> Vec<LedgerEntry> {
        self.hub.ledger(from, limit)
    }

    /// Every attempt to connect, and how each connection ended.
    pub fn connections(&self) -> Vec<Connection> {
        self.hub.connections()
    }

    /// Clients connected now.
    pub fn connected(&self) -> usize {
        self.hub.connected()
    }

    /// What `GET /sim/status` says.
    pub fn status(&self) -> Status {
        self.hub.status()
    }

    /// Emits so many events a second from now on; 0 stops.
    pub fn set_rate(&self, rate: f64) {
        self.hub.set_rate(rate);
    }

    /// Emits so many events now.
    pub fn emit(&self, count: u64) {
        self.hub.emit(count);
    }

    /// Emits a document of the caller's making, byte for byte; `class` is for the ledger.
    pub fn emit_raw(&self, class: &str, bytes: impl Into<Vec<u8>>) {
        self.hub.emit_raw(class, bytes.into());
    }

    /// Switches a fault on.
    pub fn set_fault(&self, spec: &str) -> Result<(), BadFault> {
        self.hub.set_fault(spec.parse::<FaultSpec>()?);
        Ok(())
    }

    /// Switches a fault off.
    pub fn clear_fault(&self, name: &str) -> Result<(), BadFault> {
        self.hub.clear_fault(name)
    }

    /// Every fault, whether it is on, how often it fired.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.hub.faults.status()
    }

    /// How often a fault fired.
    pub fn fired(&self, name: &str) -> u64 {
        self.hub.faults.fired(name)
    }

    /// Waits until `condition` holds; looked at after every change and
    /// every firing of a fault. Cancel safe.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let (mut changes, mut firings) = (self.hub.watch(), self.hub.faults.watch());
        loop {
            changes.mark_unchanged();
            firings.mark_unchanged();
            if condition(self) {
                return;
            }
            // Neither sender goes away before the simulator does.
            tokio::select! {
                _ = changes.changed() => {}
                _ = firings.changed() => {}
            }
        }
    }

    /// Waits until everything that `Config::events` (or a burst) asks for is emitted, and every
    /// connected subscription has been written all of it.
    pub async fn finished(&self) {
        self.wait_until(|simulator| simulator.hub.is_finished())
            .await;
    }

    /// Closes every connection (1001) and ends.
    pub async fn stop(self) {
        self.accepting.cancel();
        self.hub.stop_all(&Stop::Close(1001, "going away"));
        self.sessions.close();
        if timeout(STOP_TIMEOUT, self.sessions.wait()).await.is_err() {
            tracing::warn!("sessions did not end in time");
        }
        self.ended.cancel();
        self.tasks.wait().await;
    }
}

/// Emits by rate.
async fn emission(hub: Arc<Hub>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = hub.watch();
    let mut since = Instant::now();
    let mut owed = 0.0_f64;
    loop {
        let rate = hub.rate();
        let waiting = hub.config.wait_clients > 0
            && hub.events() <= hub.config.preload
            && hub.connected() < hub.config.wait_clients;
        let done = hub
            .config
            .events
            .is_some_and(|events| hub.events() >= events);
        if rate <= 0.0 || waiting || done {
            if changes.changed().await.is_err() {
                return;
            }
            (since, owed) = (Instant::now(), 0.0);
            continue;
        }
        tick.tick().await;
        let now = Instant::now();
        owed += (now - since).as_secs_f64() * rate;
        since = now;
        let left = hub
            .config
            .events
            .map_or(u64::MAX, |events| events.saturating_sub(hub.events()));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "owed is not negative, and a tick's worth is far below 2^52"
        )]
        let due = (owed as u64).min(left);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a tick's worth is far below 2^52"
        )]
        {
            owed -= due as f64;
        }
        if due > 0 {
            hub.emit(due);
        }
    }
}

/// B7: heartbeats for those who are away.
async fn stored_beats(hub: Arc<Hub>) {
    let mut tick = interval(hub.config.heartbeat);
    loop {
        tick.tick().await;
        hub.stored_heartbeats();
    }
}

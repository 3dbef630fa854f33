//! Owns the daemon: what is built from a configuration, how it runs, how it drains.

#[cfg(not(all(
    feature = "file",
    feature = "kafka",
    feature = "nats",
    feature = "rabbitmq",
    feature = "webhook"
)))]
mod absent;
#[cfg(feature = "file")]
mod file;
#[cfg(any(
    feature = "kafka",
    feature = "nats",
    feature = "rabbitmq",
    feature = "webhook"
))]
mod fingerprint;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg_attr(not(feature = "websocket"), path = "listener_absent.rs")]
mod listener;
#[cfg(feature = "nats")]
mod nats;
mod probe;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod reload;
mod shared;
mod signals;
mod sinks;
mod systemd;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(not(feature = "file"))]
use absent as file;
#[cfg(not(feature = "kafka"))]
use absent as kafka;
#[cfg(not(feature = "nats"))]
use absent as nats;
#[cfg(not(feature = "rabbitmq"))]
use absent as rabbitmq;
#[cfg(not(feature = "webhook"))]
use absent as webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::{FusedFuture as _, OptionFuture};
use relay_core::Metrics;
use relay_core::intake::{Core, CoreConfig, OpenError};
use relay_core::status::SubscriptionBoard;
use relay_core::supervise::{Handle, Supervisor};
use relay_core::traces::Traces;
use relay_core::worker::CLOSING;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::config::Config;
use crate::failure::{CONFIG, Failure, LOCKED, SOFTWARE};

pub(crate) use probe::probe;
pub(crate) use shared::{Check, SharedState, now_ms};
pub(crate) use signals::Signals;
pub(crate) use sinks::{SinkRow, Sinks};

/// A relay that has been built: everything is open and bound, nothing is subscribed to yet.
#[derive(Debug)]
pub(crate) struct Relay {
    core: Core,
    state: Arc<SharedState>,
    supervisor: Arc<Supervisor>,
    admin: Handle,
    admin_address: SocketAddr,
    /// Sends traces, if there are any.
    tracing: Option<Handle>,
    stop: CancellationToken,
}

impl Relay {
    /// Opens the journal, binds every listener, starts the sinks.
    pub(crate) async fn build(config: Config, files: Vec<PathBuf>) -> Result<Self, Failure> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new().context("setting up metrics")?);
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        metrics.config_last_reload_successful.set(1);
        let ids = config.upstream.subs_ids.iter();
        let boards: Vec<_> = ids
            .map(|id| SubscriptionBoard::new(Arc::clone(id)))
            .collect();
        let stop = CancellationToken::new();
        let supervisor = Arc::new(Supervisor::new(Arc::clone(&metrics), stop.clone()));
        let (traces, tracing) = traces(&config, &supervisor, &metrics)?;
        let core_config = CoreConfig {
            traces: traces.clone(),
            ..core_config(&config, &metrics, &boards)
        };
        let core = open(core_config).await?;
        let sinks = Sinks::new(&config, &core, &metrics, Arc::clone(&supervisor), traces);
        for sink in &config.sinks {
            sinks.start(sink).await?;
        }
        let listener = bind("admin.listen", config.admin.listen).await?;
        let admin_address = listener.local_addr()?;
        let state = SharedState::new(config, files, &core, sinks, boards, metrics);
        let admin = admin::start(&supervisor, listener, Arc::clone(&state));
        listening("admin", admin_address);
        Ok(Self {
            core,
            state,
            supervisor,
            admin,
            admin_address,
            tracing,
            stop,
        })
    }

    /// Where the admin server listens.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where a sink listens, if it does.
    #[cfg(feature = "demo")]
    pub(crate) async fn sink_address(&self, name: &str) -> Option<SocketAddr> {
        let rows = self.state.sinks.rows().await;
        rows.into_iter().find_map(|row| match row {
            SinkRow::Listener {
                name: other,
                address,
                ..
            } => (other == name).then_some(address),
            SinkRow::Worker(_) => None,
        })
    }

    /// What the relay shows of itself.
    pub(crate) fn state(&self) -> &Arc<SharedState> {
        &self.state
    }

    /// Subscribes, and runs until told to stop; then drains.
    pub(crate) async fn run(self, mut signals: Signals) -> Result<(), Failure> {
        let upstream = self.subscribe();
        self.state.subscribed(upstream.clone());
        systemd::ready();
        systemd::watch(&self.supervisor, &self.state);
        self.until_stopped(&mut signals).await;
        systemd::stopping();
        self.state.stop();
        tokio::select! {
            drained = self.drain(upstream) => drained,
            () = signals.stop_at_once() => {
                let error = anyhow::anyhow!("stopped by a second signal, before everything was in order");
                Err(Failure::new(SOFTWARE, error))
            }
        }
    }

    /// Returns when a signal says so, or when nothing can be committed any more.
    async fn until_stopped(&self, signals: &mut Signals) {
        let mut reload = pin!(OptionFuture::default());
        let mut once_more = false;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    signals::Signal::Reload if reload.is_terminated() => {
                        reload.set(Some(reload::reload(&self.state).fuse()).into());
                    }
                    signals::Signal::Reload => once_more = true,
                    // A reload under way waits for destinations: a stop does not wait for it.
                    signals::Signal::Stop => return,
                },
                Some(()) = &mut reload, if !reload.is_terminated() => {
                    let next = std::mem::take(&mut once_more).then(|| reload::reload(&self.state).fuse());
                    reload.set(next.into());
                }
                () = self.core.intake.ended() => {
                    // Draining says what it was, and how the program ends: see `Core::close`.
                    tracing::error!("intake has ended by itself, nothing can be journaled any more: the relay stops, to be started again");
                    return;
                }
            }
        }
    }

    fn subscribe(&self) -> Handle {
        let config = Arc::clone(&self.state.config().upstream);
        let intake = self.core.intake.clone();
        let context = relay_upstream::Context {
            gate: self.core.intake.gate(),
            boards: self.state.boards.clone(),
            metrics: Arc::clone(&self.state.metrics),
            path_memory: shared::path_memory(&self.core.store, &config),
            stop: self.stop.clone(),
        };
        self.supervisor.spawn("upstream", move |stop| {
            let context = relay_upstream::Context {
                stop,
                ..context.clone()
            };
            relay_upstream::run(Arc::clone(&config), intake.clone(), context)
        })
    }

    /// Close upstream, read on, commit, drain the sinks: all within `shutdown.timeout`.
    async fn drain(self, upstream: Handle) -> Result<(), Failure> {
        let limit = self.state.config().shutdown_timeout;
        let until = Instant::now() + limit;
        tracing::info!(
            ?limit,
            "stopping: closing the subscriptions, then draining the sinks"
        );
        upstream.stop();
        if timeout_at(until, upstream.ended()).await.is_err() {
            tracing::warn!("the upstream did not close within shutdown.timeout");
        }
        // What was admitted is committed even if time is up: it exists nowhere else.
        let committed = timeout(Duration::from_secs(5), self.core.intake.flush());
        if committed.await.is_err() {
            tracing::error!("what was received last could not be committed yet");
        }
        // A quarter of the time is left for closing.
        timeout_at(until - limit / 4, self.state.sinks.caught_up())
            .await
            .ok();
        // A sink that can't drain is closed all the same: its peer may hold something open for it.
        let left = until.saturating_duration_since(Instant::now());
        let drained = until - CLOSING.min(left / 2);
        if timeout_at(until, self.state.sinks.stop_all(drained))
            .await
            .is_err()
        {
            tracing::warn!(
                "the sinks did not drain within shutdown.timeout: they go on from their cursors at the next start"
            );
        }
        if let Some(tracing) = &self.tracing {
            tracing.stop();
            timeout(Duration::from_secs(1), tracing.ended()).await.ok();
        }
        self.admin.stop();
        timeout(Duration::from_secs(1), self.admin.ended())
            .await
            .ok();
        self.stop.cancel();
        let closed = self.core.close().await;
        closed
            .context("committing what was received last")
            .map_err(|error| {
                tracing::error!("{error:#}");
                Failure::from(error)
            })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Who is told of sampled events, and the task that sends what they make of it.
#[cfg(feature = "traces")]
fn traces(
    config: &Config,
    supervisor: &Supervisor,
    metrics: &Metrics,
) -> Result<(Traces, Option<Handle>), Failure> {
    let Some(traces) = &config.traces else {
        return Ok((Traces::default(), None));
    };
    let tenant = &config.upstream.tenant_id;
    let running = crate::traces::start(traces, tenant, supervisor, metrics)?;
    Ok((running.traces, Some(running.task)))
}

#[cfg(not(feature = "traces"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn traces(
    _config: &Config,
    _supervisor: &Supervisor,
    _metrics: &Metrics,
) -> Result<(Traces, Option<Handle>), Failure> {
    Ok((Traces::default(), None))
}

fn core_config(
    config: &Config,
    metrics: &Arc<Metrics>,
    boards: &[Arc<SubscriptionBoard>],
) -> CoreConfig {
    CoreConfig {
        tenant: config.upstream.tenant_id.clone(),
        dir: config.journal.dir.clone(),
        subs_ids: config.upstream.subs_ids.clone(),
        cache_horizon: config.upstream.cache_horizon,
        dedup: config.dedup,
        journal: config.journal.keep,
        bus_memory: config.bus_memory,
        dead_letters: config.dead_letters,
        metrics: Arc::clone(metrics),
        traces: Traces::default(),
        boards: boards.to_vec(),
    }
}

async fn open(config: CoreConfig) -> Result<Core, Failure> {
    let dir = config.dir.clone();
    let opened = tokio::task::spawn_blocking(move || Core::open(config)).await;
    let opened = opened.context("opening the journal")?;
    let core = opened.map_err(|error| refused(&dir, error))?;
    let recovery = &core.recovery;
    if let Some(torn) = &recovery.torn {
        let bytes = torn.bytes;
        tracing::info!(
            bytes,
            "a write was interrupted when the relay ended last: cut off, nothing committed is lost"
        );
    }
    tracing::info!(dir = %dir.display(), created = recovery.created, last = %core.bus.last(), "journal open");
    Ok(core)
}

/// What to do about a journal that can't be opened.
fn refused(dir: &std::path::Path, error: OpenError) -> Failure {
    use std::io::ErrorKind as Kind;
    let denied = is_of(&error, &[Kind::PermissionDenied, Kind::ReadOnlyFilesystem]);
    let full = is_of(&error, &[Kind::StorageFull, Kind::QuotaExceeded]);
    let code = match &error {
        OpenError::Locked { .. } => LOCKED,
        OpenError::ForeignTenant { .. } | OpenError::TooManySubscriptions { .. } => CONFIG,
        OpenError::Log { .. } | OpenError::State(_) | OpenError::Io { .. } => SOFTWARE,
    };
    let remedy = match &error {
        OpenError::Log { .. } | OpenError::State(_) | OpenError::Io { .. } if !dir.is_dir() => {
            "set journal.dir to a folder that can be made: a journal is begun there".to_owned()
        }
        OpenError::Locked { .. } => "stop the other relay, or give this one a journal.dir of its own (and upstream.subs_ids of its own)".to_owned(),
        OpenError::ForeignTenant { .. } => "a journal holds one tenant's events: set journal.dir to another folder".to_owned(),
        OpenError::TooManySubscriptions { .. } => "8x8 counts an id for hours after its last use".to_owned(),
        OpenError::Log { .. } | OpenError::State(_) | OpenError::Io { .. } if denied => format!(
            "the relay's user has to own {0}: `install -d -o USER {0}`, or set journal.dir to a folder it may write",
            dir.display()
        ),
        OpenError::Log { .. } | OpenError::State(_) | OpenError::Io { .. } if full => format!(
            "the volume of {} is full, and there is no journal.reserve to start in: make room, some 16 MiB at least, or set journal.dir to another volume",
            dir.display()
        ),
        OpenError::Log { .. } | OpenError::State(_) | OpenError::Io { .. } => {
            format!(
                "`sapi-relay journal verify --dir {0}` names what is damaged",
                dir.display()
            )
        }
    };
    Failure::new(
        code,
        anyhow::Error::from(error).context(format!("journal.dir = {}", dir.display())),
    )
    .remedy(remedy)
}

/// Whether the operating system's answer below an error is one of these.
fn is_of(error: &OpenError, kinds: &[std::io::ErrorKind]) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        let kind = io.map(std::io::Error::kind);
        if kind.is_some_and(|kind| kinds.contains(&kind)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Binds, or says which key is to be changed.
async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| unbound(key, address, error))
}

/// What to do about an address that can't be bound.
fn unbound(key: &str, address: SocketAddr, error: std::io::Error) -> Failure {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let kind = error.kind();
    let (code, remedy) = if kind == AddrInUse {
        let port = address.port();
        (
            SOFTWARE,
            format!(
                "another program listens there (`ss -ltnp 'sport = {port}'` names it): stop it, or change {key}"
            ),
        )
    } else if kind == PermissionDenied {
        (
            CONFIG,
            format!("ports below 1024 need CAP_NET_BIND_SERVICE: set {key} to a higher one"),
        )
    } else if kind == AddrNotAvailable {
        // It may come yet, as one of a VPN or of DHCP does: whoever supervises tries again.
        (
            SOFTWARE,
            format!(
                "this machine has no such address now: if it comes later, the next start finds it; else set {key} to one of its own, or to 0.0.0.0"
            ),
        )
    } else {
        (SOFTWARE, format!("see {key}"))
    };
    let error = anyhow::Error::from(error).context(format!("{key} = \"{address}\""));
    Failure::new(code, error).remedy(remedy)
}

/// Says where something listens; whoever starts a relay on port 0 learns the port here.
fn listening(listener: &str, address: SocketAddr) {
    tracing::info!(listener, %address, "listening");
}

//! One connection to a server, used once: how it is made, and how its end is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{AuthError, Client, ConnectOptions, Event, ServerAddr};
use relay_core::sink::Failure;
use tokio::sync::watch;

use super::Config;
use super::failure;

/// How long a server may take to answer: a connect, a request, an acknowledgement.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// An idle connection is looked after so often; the third silence ends it.
const PING: Duration = Duration::from_secs(10);
/// Acknowledgements awaited at once. The worker's bounds are well below: a limit that is met would
/// wait for acknowledgements that nobody reads meanwhile.
const IN_FLIGHT: usize = 1 << 17;

/// Why a connection is not to be used any more; `None`: it is good.
type End = Option<Failure>;

/// A connection. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub(super) struct Link {
    client: Client,
    /// `None`: core NATS.
    pub(super) context: Option<Context>,
    /// The stream that has to take what is published, where it is named.
    pub(super) stream: Option<Arc<str>>,
    end: Arc<watch::Sender<End>>,
}

/// Connects to one of the servers.
pub(super) async fn connect(config: &Config) -> Result<Link, Failure> {
    let mut servers = Vec::with_capacity(config.servers.len());
    for server in &config.servers {
        let parsed = server.parse::<ServerAddr>();
        servers.push(parsed.map_err(|error| failure::bad_server(server, &error))?);
    }
    let end = Arc::new(watch::Sender::new(None));
    let used = Arc::new(AtomicBool::new(false));
    let options = options(config, servers.len(), &used, &end).await?;
    let connecting = tokio::time::timeout(PATIENCE * 2, options.connect(servers));
    let client = match connecting.await {
        Ok(connected) => connected.map_err(|error| failure::connect(&error, config))?,
        Err(_elapsed) => return Err(failure::no_answer("the connection", config)),
    };
    used.store(true, Relaxed);
    let context = config.jetstream.is_some().then(|| {
        let builder = ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE);
        builder.max_ack_inflight(IN_FLIGHT).build(client.clone())
    });
    Ok(Link {
        client,
        context,
        stream: None,
        end,
    })
}

async fn options(
    config: &Config,
    servers: usize,
    used: &Arc<AtomicBool>,
    end: &Arc<watch::Sender<End>>,
) -> Result<ConnectOptions, Failure> {
    let auth = config.auth.clone();
    let read = tokio::task::spawn_blocking(move || auth.read()).await;
    let ready = read
        .map_err(|error| error.to_string())
        .and_then(std::convert::identity);
    let ready = ready.map_err(|error| failure::no_credentials(&error, config))?;
    let (used, end) = (Arc::clone(used), Arc::clone(end));
    // Asked at every connect of the client, and also at those that it makes by itself once it was in use: the
    // module above says why these are refused.
    let mut options = ConnectOptions::with_auth_callback(move |nonce| {
        let answer = if used.load(Relaxed) {
            Err(AuthError::new("a connection is used once"))
        } else {
            ready.answer(&nonce)
        };
        std::future::ready(answer)
    });
    if let Some(tls) = &config.tls {
        let files = tls.files.clone();
        let loaded = tokio::task::spawn_blocking(move || files.trusting_platform()).await;
        let loaded = match loaded {
            Ok(loaded) => loaded.map_err(|error| failure::tls_files(&error))?,
            Err(error) => return Err(failure::no_credentials(&error.to_string(), config)),
        };
        options = options.tls_client_config(loaded);
        if tls.handshake_first {
            options = options.tls_first();
        }
        options = options.require_tls(true);
    }
    let (auth, subject) = (config.auth.keys(), config.subject.pattern(&config.tenant));
    Ok(options
        .name(format!("sapi-relay {}", config.name))
        .connection_timeout(PATIENCE / 2)
        .request_timeout(Some(PATIENCE))
        .ping_interval(PING)
        .no_echo()
        .ignore_discovered_servers()
        .max_reconnects(servers)
        .event_callback(move |event| {
            if let Some(failure) = heard(&event, auth, &subject) {
                end.send_if_modified(|end| {
                    let first = end.is_none();
                    end.get_or_insert(failure);
                    first
                });
            }
            std::future::ready(())
        }))
}

/// What an event of the client means for the connection. The first word counts.
fn heard(event: &Event, auth: &str, subject: &str) -> Option<Failure> {
    match event {
        Event::ServerError(error) => Some(failure::server(&error.to_string(), auth, subject)),
        Event::Disconnected | Event::Closed => Some(failure::disconnected()),
        Event::Connected
        | Event::LameDuckMode
        | Event::Draining
        | Event::SlowConsumer(_)
        | Event::ClientError(_) => None,
    }
}

impl Link {
    /// The server, for people.
    pub(super) fn server(&self) -> String {
        let info = self.client.server_info();
        format!("{} ({}:{})", info.server_name, info.host, info.port)
    }

    /// The connection's client.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it may be used.
    pub(super) fn healthy(&self) -> Result<(), Failure> {
        self.end.borrow().clone().map_or(Ok(()), Err)
    }

    /// Waits for something, or for the end of the connection.
    pub(super) async fn alive<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = future => Ok(done),
            failure = self.ended() => Err(failure),
        }
    }

    /// Returns at the end of the connection.
    pub(super) async fn ended(&self) -> Failure {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(failure::disconnected),
            Err(_closed) => failure::disconnected(),
        }
    }

    /// Sends what is still held, then closes.
    pub(super) async fn close(self) {
        let closing = async {
            let flushed = self.client.flush().await.is_ok();
            flushed && self.client.drain().await.is_ok()
        };
        if !tokio::time::timeout(PATIENCE / 5, closing)
            .await
            .unwrap_or(false)
        {
            tracing::debug!("the connection to NATS had ended already");
        }
    }
}

//! Owns the command line: every documented limit of SAPI as a flag.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use sapi_sim::{Burst, Config, DEMO_TOKEN, FaultSpec, Numbering};

/// Simulates 8x8's Streaming API (SAPI).
#[derive(Debug, Parser)]
#[command(name = "sapi-sim", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List every fault with the open question it answers, and the questions that have none.
    Faults,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9700")]
    listen: SocketAddr,
    /// The tenant.
    #[arg(long, default_value = "acmecorp01")]
    tenant: String,
    /// The Data Request Token.
    #[arg(long, default_value = DEMO_TOKEN)]
    token: String,
    /// The Basic user name [default: the tenant].
    #[arg(long)]
    username: Option<String>,
    /// The same seed gives the same documents, times apart.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fix the times too: RFC 3339 time of the first event.
    #[arg(long, value_name = "TIME")]
    start_time: Option<jiff::Timestamp>,
    /// Events a second; 0 emits only on command. With --burst: documents a second, 0 unlimited.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Stop emitting after so many events.
    #[arg(long)]
    events: Option<u64>,
    /// Emit nothing before so many clients are connected.
    #[arg(long, default_value_t = 0)]
    wait_clients: usize,
    /// Agents of the contact centre.
    #[arg(long, default_value_t = 40)]
    agents: usize,
    /// Pad events to about so many bytes; exact with --burst, where 1024 is the default.
    #[arg(long)]
    event_bytes: Option<usize>,
    /// Sessions are cut at this age.
    #[arg(long, default_value = "60m", value_parser = duration)]
    session_length: Duration,
    /// Disconnected subscriptions store events for so long.
    #[arg(long, default_value = "2h", value_parser = duration)]
    cache: Duration,
    /// Period of heartbeats.
    #[arg(long, default_value = "60s", value_parser = duration)]
    heartbeat: Duration,
    /// Clients connected at once.
    #[arg(long, default_value_t = 3)]
    max_clients: usize,
    /// Write the last N written events again after a reconnect.
    #[arg(long, default_value_t = 0, value_name = "N")]
    overlap: usize,
    /// What shares a series of sequence numbers: tenant, subscription or instance.
    #[arg(long, default_value = "tenant")]
    numbering: Numbering,
    /// The instance id to begin with.
    #[arg(long)]
    instance: Option<String>,
    /// Serve TLS: PEM certificate chain.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Serve TLS: PEM private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Switch a fault on; may be given several times. `sapi-sim faults` lists them.
    #[arg(long = "fault", value_name = "NAME[=ARG]")]
    faults: Vec<FaultSpec>,
    /// Events emitted and stored for --preload-subs before anyone connects.
    #[arg(long, default_value_t = 0)]
    preload: u64,
    /// A subscription that exists from the start; may be given several times.
    #[arg(long, value_name = "SUBSID")]
    preload_subs: Vec<String>,
    /// Documents the ledger keeps, in memory.
    #[arg(long, default_value_t = 500_000)]
    ledger_events: usize,
    /// Instead of all this: N pre-encoded documents for each subscription, without a ledger.
    #[arg(long, value_name = "N")]
    burst: Option<u64>,
    /// Documents a write, with --burst.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// What to log (a tracing filter), to standard error.
    #[arg(long, default_value = "info")]
    pub(crate) log: String,
}

/// `60m`, `1h 30m`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).map_err(|error| error.to_string())
}

impl Run {
    /// The configuration of the library.
    pub(crate) fn config(self) -> Config {
        let defaults = Config::default();
        let burst = self.burst.map(|events| Burst {
            events,
            batch: self.batch,
            rate: self.rate,
            event_bytes: self.event_bytes.unwrap_or(1024),
        });
        let start_time = self
            .start_time
            .map(|time| u64::try_from(time.as_millisecond()).unwrap_or(0));
        Config {
            listen: self.listen,
            tenant: self.tenant,
            token: self.token,
            username: self.username,
            rate: if burst.is_some() { 0.0 } else { self.rate },
            events: self.events,
            wait_clients: self.wait_clients,
            agents: self.agents,
            event_bytes: self.event_bytes,
            session_length: self.session_length,
            cache: self.cache,
            heartbeat: self.heartbeat,
            max_clients: self.max_clients,
            overlap: self.overlap,
            numbering: self.numbering,
            instance: self.instance.unwrap_or(defaults.instance),
            tls: self.tls_cert.zip(self.tls_key),
            faults: self.faults,
            seed: self.seed,
            start_time,
            preload_subs: self.preload_subs,
            preload: self.preload,
            ledger_events: self.ledger_events,
            burst,
        }
    }
}

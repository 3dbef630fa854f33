//! Owns `check`: is a configuration right, and, if asked, can the upstream and the sinks be reached.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use relay_upstream::UpstreamConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cli::Check;
use crate::config::{Config, Problem, Sink};
use crate::environment;
use crate::failure::{CONFIG, Failure};
use crate::http::Peer;
use crate::output::{say, stdout};
use crate::relay::probe;

/// How long each step towards the upstream may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a sink may take.
const SINK_PATIENCE: Duration = Duration::from_secs(20);

/// Says what is wrong, or that nothing is.
pub(crate) async fn run(args: Check) -> Result<(), Failure> {
    let config = Config::load(&args.config.files, &environment())?;
    warn(&config.warnings);
    let mut out = stdout();
    let sinks: Vec<_> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let sinks = if sinks.is_empty() {
        "none".to_owned()
    } else {
        sinks.join(", ")
    };
    let (tenant, ids) = (
        &config.upstream.tenant_id,
        config.upstream.subs_ids.join(", "),
    );
    writeln!(
        out,
        "the configuration is right: tenant {tenant}, subscriptions {ids}, sinks {sinks}"
    )?;
    out.flush()?;
    if args.connect {
        try_all(&config).await?;
    }
    Ok(())
}

/// Tries the upstream and every sink at once; says of each how that went.
async fn try_all(config: &Config) -> Result<(), Failure> {
    let upstream = async {
        let found = connect(&config.upstream).await;
        found.map_err(|error| {
            let remedy = "check upstream.platform (or url), upstream.tls and upstream.proxy, and firewalls on the way";
            (format!("upstream: {error:#}"), remedy.to_owned())
        })
    };
    let tenant = &config.upstream.tenant_id;
    let running = runs(config).await;
    let sinks = config
        .sinks
        .iter()
        .map(|sink| try_sink(sink, tenant, running));
    let (upstream, sinks) = tokio::join!(upstream, join_all(sinks));
    let tried: Vec<_> = std::iter::once(upstream).chain(sinks).collect();
    let count = tried.len();
    let mut out = stdout();
    let mut failed = 0;
    for result in tried {
        match result {
            Ok(text) => writeln!(out, "{text}")?,
            Err((text, remedy)) => {
                failed += 1;
                say(&format!("{text}\n    {remedy}"));
            }
        }
    }
    out.flush()?;
    if failed == 0 {
        return Ok(());
    }
    let error = anyhow!("{failed} of {count} can't be reached as configured");
    Err(Failure::new(CONFIG, error))
}

/// Whether a relay answers where this configuration has its admin server.
async fn runs(config: &Config) -> bool {
    let Ok(peer) = Peer::new(&format!("http://{}", config.admin.listen), None) else {
        return false;
    };
    let asked = timeout(PATIENCE, peer.get("/livez")).await;
    asked.is_ok_and(|answer| answer.is_ok())
}

async fn try_sink(sink: &Sink, tenant: &str, running: bool) -> Result<String, (String, String)> {
    let name = format!("sinks.{}", sink.name);
    match timeout(SINK_PATIENCE, probe(sink.clone(), tenant, running)).await {
        Ok(Ok(how)) => Ok(format!("{name} {how}")),
        Ok(Err(failure)) => Err((format!("{name}: {}", failure.text), failure.remedy)),
        Err(_late) => {
            let remedy = "is its address right, and does no firewall swallow what is sent there?";
            let text = format!("{name} did not answer within {SINK_PATIENCE:?}");
            Err((text, remedy.to_owned()))
        }
    }
}

/// Prints what works, but hardly as intended.
pub(crate) fn warn(warnings: &[Problem]) {
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
}

/// DNS, TCP and TLS to the upstream; nothing is subscribed to.
async fn connect(upstream: &UpstreamConfig) -> anyhow::Result<String> {
    let origin = &upstream.origin;
    if upstream.proxy.is_some() {
        return Ok(format!("{origin} is reached through a proxy: not tried"));
    }
    let host = origin.host().trim_matches(['[', ']']);
    let addresses = timeout(PATIENCE, lookup_host((host, origin.port()))).await;
    let addresses = addresses.map_err(|_late| anyhow!("DNS did not answer within {PATIENCE:?}"))?;
    let addresses: Vec<_> = addresses
        .with_context(|| format!("looking {host} up"))?
        .collect();
    let stream = timeout(PATIENCE, TcpStream::connect(addresses.as_slice())).await;
    let stream = stream.map_err(|_late| anyhow!("{origin} did not answer within {PATIENCE:?}"))?;
    let stream = stream.with_context(|| format!("connecting to {origin}"))?;
    let address = stream.peer_addr()?;
    if !origin.is_secure() {
        return Ok(format!("{origin} ({address}) is reachable, without TLS"));
    }
    let config = relay_upstream::tls_config(&upstream.tls)?;
    let name = ServerName::try_from(host.to_owned()).with_context(|| format!("the name {host}"))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let handshake = timeout(PATIENCE, handshake).await;
    let handshake = handshake.map_err(|_late| anyhow!("{origin}: no TLS within {PATIENCE:?}"))?;
    handshake.with_context(|| format!("TLS with {origin}"))?;
    Ok(format!(
        "{origin} ({address}) is reachable, and its certificate is trusted"
    ))
}

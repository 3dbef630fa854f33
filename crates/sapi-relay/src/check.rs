//! Owns `check`: is a configuration right, and, if asked, can the upstream be reached.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use relay_upstream::UpstreamConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::cli::Check;
use crate::config::{Config, Problem};
use crate::environment;
use crate::failure::{CONFIG, Failure};
use crate::output::{say, stdout};

/// How long each step towards the upstream may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let found = connect(&config.upstream).await;
        let found = found.map_err(|error| {
            Failure::new(CONFIG, error).remedy("check upstream.platform (or url), upstream.tls and upstream.proxy, and firewalls on the way")
        })?;
        writeln!(out, "{found}")?;
        out.flush()?;
    }
    Ok(())
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

//! From a configuration to an open WebSocket: DNS, TCP, proxy, TLS, upgrade, each anew at each attempt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use relay_core::status::BackOffCause;
use rustls::pki_types::ServerName;
use sapi_protocol::{Origin, PathStyle, basic_header};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::UpstreamConfig;
use crate::failure::Failure;
use crate::handshake::{tunnel, upgrade};
use crate::tls::tls_config;

/// From the first DNS question to the answered upgrade.
const ATTEMPT: Duration = Duration::from_secs(30);
/// One address of several.
const ONE_ADDRESS: Duration = Duration::from_secs(10);
/// The kernel asks an idle peer whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection's two directions, whatever it runs through.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// An open WebSocket, and what was read behind the handshake.
pub(crate) struct Opened {
    pub(crate) wire: Box<dyn Wire>,
    pub(crate) buffer: BytesMut,
}

/// Connects one subscription. Dropped midway, it leaves nothing open. `asked` is set once the request
/// is on its way: from then on the upstream may take the subscription for made.
pub(crate) async fn dial(
    config: &UpstreamConfig,
    subs_id: &str,
    style: PathStyle,
    token: &str,
    asked: &AtomicBool,
) -> Result<Opened, Failure> {
    let authorization = basic_header(&config.username, token);
    let attempt = async {
        let mut wire = reach(config).await?;
        let target = config.target(subs_id);
        let (url, origin) = (target.url(style), target.origin.to_string());
        let path = url.strip_prefix(&origin).unwrap_or(&url);
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let mut buffer = BytesMut::new();
        asked.store(true, Relaxed);
        upgrade(&mut wire, &mut buffer, host, path, &authorization).await?;
        Ok(Opened { wire, buffer })
    };
    let late = |_elapsed| Failure::Network(format!("no answer within {} s", ATTEMPT.as_secs()));
    timeout(ATTEMPT, attempt).await.map_err(late)?
}

/// The upstream can't be reached.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ProbeError {
    text: String,
    /// Whether waiting does not cure it.
    pub is_configuration: bool,
}

/// Tries DNS, TCP, the proxy and TLS, and subscribes to nothing.
pub async fn probe(config: &UpstreamConfig) -> Result<(), ProbeError> {
    let late = |_elapsed| Failure::Network(format!("no answer within {} s", ATTEMPT.as_secs()));
    let reached = timeout(ATTEMPT, reach(config)).await.map_err(late);
    match reached.and_then(|reached| reached) {
        Ok(_wire) => Ok(()),
        Err(failure) => Err(ProbeError {
            text: failure.to_string(),
            is_configuration: failure.cause() == BackOffCause::Refused,
        }),
    }
}

async fn reach(config: &UpstreamConfig) -> Result<Box<dyn Wire>, Failure> {
    let origin = &config.origin;
    let stream = match &config.proxy {
        None => connect(bare(origin), origin.port(), config.receive_buffer).await?,
        Some(proxy) => {
            let connected = connect(&proxy.host, proxy.port, config.receive_buffer).await;
            let mut stream = connected.map_err(|error| match error {
                Failure::Network(text) => Failure::Network(format!("proxy: {text}")),
                other @ (Failure::Answer(_) | Failure::Token(_) | Failure::Refused(_)) => other,
            })?;
            let target = format!("{}:{}", origin.host(), origin.port());
            tunnel(&mut stream, proxy, &target).await?;
            stream
        }
    };
    if !origin.is_secure() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(bare(origin).to_owned());
    let name = name.map_err(|error| Failure::Refused(format!("upstream host: {error}")))?;
    let files = config.tls.clone();
    let tls = tokio::task::spawn_blocking(move || tls_config(&files)).await;
    let tls = tls.map_err(|error| Failure::Network(format!("TLS set-up: {error}")))?;
    let tls = tls.map_err(|error| Failure::Refused(format!("upstream.{}", chain(&error))))?;
    let secured = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await;
    let secured = secured.map_err(|error| Failure::Network(format!("TLS: {error}")))?;
    Ok(Box::new(secured))
}

/// An IPv6 host without its brackets.
fn bare(origin: &Origin) -> &str {
    origin.host().trim_start_matches('[').trim_end_matches(']')
}

async fn connect(host: &str, port: u16, receive_buffer: usize) -> Result<TcpStream, Failure> {
    let network = |what: &str, error: std::io::Error| {
        Failure::Network(format!("{what} {host}:{port}: {error}"))
    };
    let addresses = lookup_host((host, port)).await;
    let addresses = addresses.map_err(|error| network("DNS for", error))?;
    let mut last = Failure::Network(format!("DNS has no address for {host}"));
    for address in addresses {
        match timeout(ONE_ADDRESS, connect_to(address, receive_buffer)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = network("connecting to", error),
            Err(_elapsed) => last = Failure::Network(format!("no answer from {address}")),
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, receive_buffer: usize) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Before connecting: the window is agreed upon in the handshake.
    socket.set_recv_buffer_size(u32::try_from(receive_buffer).unwrap_or(u32::MAX))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// An error and its source, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

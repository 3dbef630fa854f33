//! What a subscription is made of: the `[upstream]` section as plain values; reads no file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sapi_protocol::{Origin, OutputType, PathStyle, SubscribeTarget};

use crate::Secret;

/// The `[upstream]` section. [`UpstreamConfig::new`] gives the documented defaults.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Scheme, host and port of the platform.
    pub origin: Origin,
    /// The API version.
    pub version: u32,
    /// Which of the two documented paths is asked for.
    pub path_style: PathChoice,
    /// The tenant.
    pub tenant_id: String,
    /// The user of the Basic credentials: usually the tenant.
    pub username: String,
    /// The Data Request Token, a password or a ready `base64(user:password)`; read again at each connect.
    pub token: Secret,
    /// One to three subscription ids. Each has one socket at most, ever.
    pub subs_ids: Vec<Arc<str>>,
    /// The format that documents are asked for in.
    pub output_type: OutputType,
    /// No byte for so long: the connection is dead.
    pub silence_timeout: Duration,
    /// When the upstream is expected to cut a session: a cut near it is a rotation, not an error.
    pub session_length: Duration,
    /// What the upstream keeps for an absent subscription: longer away than this is certain loss.
    pub cache_horizon: Duration,
    /// Bytes of a document; a larger one is malformed.
    pub max_document: usize,
    /// Bytes of a WebSocket message; a larger one fails the connection. It is never held whole.
    pub max_message: u64,
    /// `SO_RCVBUF`: what the kernel may hold unread.
    pub receive_buffer: usize,
    /// An HTTP proxy to go through with CONNECT.
    pub proxy: Option<Proxy>,
    /// Own certificate authority and client certificate.
    pub tls: TlsFiles,
    /// How long to wait after a failure, by its cause.
    pub backoff: Backoffs,
}

/// `path_style`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathChoice {
    /// Bare first, suffixed on 404; what was accepted is remembered.
    #[default]
    Auto,
    /// Only this one.
    Only(PathStyle),
}

/// PEM files. All are read again at each connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates to trust besides the platform's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// The client's key.
    pub key_file: Option<PathBuf>,
}

/// Waiting times by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoffs {
    /// Network trouble, or a server that fails.
    pub network: Bounds,
    /// 401, 403, and answers that only a changed configuration cures.
    pub auth: Bounds,
    /// The upstream's limit of clients.
    pub quota: Bounds,
}

/// The shortest wait, which always passes, and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for Backoffs {
    fn default() -> Self {
        let bounds = |min_ms, max_s| Bounds {
            min: Duration::from_millis(min_ms),
            max: Duration::from_secs(max_s),
        };
        Self {
            network: bounds(500, 60),
            auth: bounds(30_000, 600),
            quota: bounds(15_000, 300),
        }
    }
}

impl UpstreamConfig {
    /// The documented defaults for a tenant; its user name is the tenant's.
    pub fn new(origin: Origin, tenant_id: &str, token: Secret, subs_ids: &[&str]) -> Self {
        Self {
            origin,
            version: 1,
            path_style: PathChoice::Auto,
            tenant_id: tenant_id.to_owned(),
            username: tenant_id.to_owned(),
            token,
            subs_ids: subs_ids.iter().map(|id| Arc::from(*id)).collect(),
            output_type: OutputType::Json,
            silence_timeout: Duration::from_secs(150),
            session_length: Duration::from_hours(1),
            cache_horizon: Duration::from_hours(2),
            max_document: 16 << 20,
            max_message: 256 << 20,
            receive_buffer: 256 << 10,
            proxy: None,
            tls: TlsFiles::default(),
            backoff: Backoffs::default(),
        }
    }

    /// What one of the subscriptions asks for.
    pub(crate) fn target(&self, subs_id: &str) -> SubscribeTarget {
        SubscribeTarget {
            origin: self.origin.clone(),
            version: self.version,
            tenant: self.tenant_id.clone(),
            subs_id: subs_id.to_owned(),
            output: self.output_type,
        }
    }
}

/// An HTTP proxy, `http://[user:password@]host:port`. Its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(crate) credentials: Option<String>,
}

/// A text that is no proxy. It does not show the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy: expected http://[user:password@]host[:port]")]
pub struct ProxyError;

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        use base64::Engine as _;
        let url = url::Url::parse(text).map_err(|_shows_it| ProxyError)?;
        let host = url.host_str().ok_or(ProxyError)?.to_owned();
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        if url.scheme() != "http" || !bare || host.is_empty() {
            return Err(ProxyError);
        }
        let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        let credentials = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let (user, password) = (url.username(), url.password().unwrap_or_default());
            let pair = format!("{}:{}", decode(user), decode(password));
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {pair}")
        });
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            credentials,
        })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.credentials.is_some() {
            "(secret)@"
        } else {
            ""
        };
        write!(f, "http://{user}{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_never_shows_its_password() {
        let proxy: Proxy = "http://user:hun%74er2@proxy:3128".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
        assert!(!format!("{proxy:?} {proxy}").contains("hunter2"));
        let credentials = sapi_protocol::parse_basic(proxy.credentials.as_ref().unwrap()).unwrap();
        assert_eq!(credentials.password, "hunter2");
        for bad in ["proxy:3128", "https://proxy", "http://proxy/x", "http://"] {
            assert_eq!(bad.parse::<Proxy>(), Err(ProxyError), "{bad}");
        }
    }
}

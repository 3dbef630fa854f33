//! Where the broker is and who the relay is there, out of one URL. Pure.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};

/// So often both sides say that they are there, in seconds; after twice as long without a word the other side is
/// dead. RabbitMQ's guide warns of less.
const HEARTBEAT: u16 = 5;

/// The largest frame the relay asks for: lapin holds 64 of them.
const FRAME_MAX: u32 = 64 << 10;

/// A broker's address. It holds the password, and never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// Text that is no address of a broker. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `amqp` or `amqps`.
    #[error("it does not begin with amqp:// or amqps://")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    Host,
    /// It can't be read for another cause.
    #[error("it is no URL: a character of user or password may have to be percent-encoded")]
    Url,
}

impl Address {
    /// Reads `amqp[s]://[user[:password]@]host[:port][/vhost]`. Without a virtual host, or with nothing behind the
    /// slash, it is `/`, the default one. Without a user it is guest, with the password guest.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(AddressError::Scheme)?;
        if !matches!(scheme, "amqp" | "amqps") {
            return Err(AddressError::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        if host.is_empty() {
            return Err(AddressError::Host);
        }
        let mut uri: AMQPUri = url.trim().parse().map_err(|_text| AddressError::Url)?;
        // lapin's parser takes an IPv6 address for localhost.
        host.clone_into(&mut uri.authority.host);
        if uri.vhost.is_empty() {
            uri.vhost.push('/');
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self(uri))
    }

    /// Whether TLS comes first.
    pub fn is_secure(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.authority.port
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// With the password, for the connection.
    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (&self.0.scheme, self.host());
        let (open, close) = if host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{scheme}://{open}{host}{close}:{}", self.port())?;
        if self.vhost() == "/" {
            return Ok(());
        }
        write!(f, " vhost {:?}", self.vhost())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

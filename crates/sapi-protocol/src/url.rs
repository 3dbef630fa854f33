//! The subscribe URL of SAPI: written for a client, read for a server; opens no connection.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::output::OutputType;

/// Everything but RFC 3986's unreserved characters is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const BEFORE_VERSION: &str = "/api/streaming/v";
const AFTER_VERSION: &str = "/clientconnect/subscribe/TenantUpdates";
/// A tenant name longer than this is refused.
const MAX_TENANT: usize = 128;

/// Which of the two documented forms the path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathStyle {
    /// `.../subscribe/TenantUpdates`, as the overview page has it.
    Bare,
    /// `.../subscribe/TenantUpdates-{tenant}-{subsId}`, as the sample client has it.
    Suffixed,
}

/// Scheme, host and port of a SAPI server: `ws` or `wss`, and nothing but these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    secure: bool,
    /// As it stands in a URL: an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
}

/// Why a text is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a URL.
    #[error("{0:?} is no URL: expected ws://host[:port] or wss://host[:port]")]
    NotAUrl(String),
    /// Another scheme.
    #[error("scheme {0:?}: expected ws or wss")]
    Scheme(String),
    /// More than an origin.
    #[error("{0:?} has more than scheme, host and port")]
    MoreThanOrigin(String),
    /// A platform name with other characters.
    #[error("platform {0:?}: expected letters, digits and inner hyphens, such as na12")]
    Platform(String),
}

impl Origin {
    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host as it stands in a URL; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 80 or 443 if none is given.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let parsed = url::Url::parse(text).map_err(|_bad| OriginError::NotAUrl(text.to_owned()))?;
        let secure = match parsed.scheme() {
            "wss" => true,
            "ws" => false,
            other => return Err(OriginError::Scheme(other.to_owned())),
        };
        let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) else {
            return Err(OriginError::NotAUrl(text.to_owned()));
        };
        let bare = matches!(parsed.path(), "" | "/")
            && parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        if !bare {
            // A user or password may stand in the text: it is not shown.
            return Err(OriginError::MoreThanOrigin(format!(
                "{}://{host}/..",
                parsed.scheme()
            )));
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: parsed.port(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.secure { "wss" } else { "ws" },
            self.host
        )?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The origin of a platform: `na12` is `wss://vcc-na12.8x8.com`.
pub fn platform_origin(platform: &str) -> Result<String, OriginError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let edges = !platform.starts_with('-') && !platform.ends_with('-');
    if platform.is_empty() || platform.len() > 40 || !edges || !platform.bytes().all(inner) {
        return Err(OriginError::Platform(platform.to_owned()));
    }
    Ok(format!(
        "wss://vcc-{}.8x8.com",
        platform.to_ascii_lowercase()
    ))
}

/// Whether a subsId has only `[A-Za-z0-9_.-]`, one to 64 of them.
pub fn valid_subs_id(id: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(inside)
}

/// What to subscribe to, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeTarget {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The API version, 1 today.
    pub version: u32,
    /// The tenant.
    pub tenant: String,
    /// The subscription id.
    pub subs_id: String,
    /// The format asked for.
    pub output: OutputType,
}

impl SubscribeTarget {
    /// The URL; what is not unreserved is percent-encoded. It holds no secret.
    pub fn url(&self, style: PathStyle) -> String {
        let tenant = utf8_percent_encode(&self.tenant, ENCODED);
        let subs_id = utf8_percent_encode(&self.subs_id, ENCODED);
        let (origin, version, output) = (&self.origin, self.version, self.output);
        let suffix = match style {
            PathStyle::Bare => String::new(),
            PathStyle::Suffixed => format!("-{tenant}-{subs_id}"),
        };
        format!(
            "{origin}{BEFORE_VERSION}{version}{AFTER_VERSION}{suffix}\
             ?desiredOutputType={output}&tenantId={tenant}&subsId={subs_id}"
        )
    }
}

/// A subscribe request as a server reads it. Which tenants, versions and ids it serves is the server's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// The API version of the path.
    pub version: u32,
    /// What follows `TenantUpdates-`, decoded; it agrees with the query.
    pub suffix: Option<String>,
    /// `tenantId`, decoded.
    pub tenant_id: String,
    /// `subsId`: `[A-Za-z0-9_.-]{1,64}`.
    pub subs_id: String,
    /// `desiredOutputType`; the vendor's default is not documented.
    pub output: Option<OutputType>,
}

impl SubscribeRequest {
    /// The form of its path.
    pub fn style(&self) -> PathStyle {
        if self.suffix.is_some() {
            PathStyle::Suffixed
        } else {
            PathStyle::Bare
        }
    }
}

/// Why a request is no subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Another path: 404.
    #[error("not a subscribe path")]
    NotThisPath,
    /// The path, but a missing or wrong parameter: 400 with this text.
    #[error("{0}")]
    BadParameter(String),
}

/// Reads path and query of a request. Letter case of names counts; unknown parameters are ignored.
pub fn parse_subscribe_path(
    path: &str,
    query: Option<&str>,
) -> Result<SubscribeRequest, SubscribeError> {
    let (version, suffix) = split_path(path).ok_or(SubscribeError::NotThisPath)?;
    let suffix = match suffix {
        None => None,
        Some(encoded) => Some(decoded("path", encoded)?),
    };
    let query = Query::read(query.unwrap_or_default())?;
    let tenant_id = required("tenantId", query.tenant_id)?;
    if tenant_id.len() > MAX_TENANT || tenant_id.chars().any(char::is_control) {
        return Err(bad("tenantId is too long or has control characters"));
    }
    let subs_id = required("subsId", query.subs_id)?;
    if !valid_subs_id(&subs_id) {
        return Err(bad("subsId: one to 64 of A-Z a-z 0-9 _ . -"));
    }
    let output = match query.output {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|unknown| bad(&format!("desiredOutputType: {unknown}")))?,
        ),
    };
    if suffix
        .as_ref()
        .is_some_and(|suffix| *suffix != format!("{tenant_id}-{subs_id}"))
    {
        return Err(bad(
            "the path's suffix is not {tenantId}-{subsId} of the query",
        ));
    }
    Ok(SubscribeRequest {
        version,
        suffix,
        tenant_id,
        subs_id,
        output,
    })
}

/// Version and suffix, if it is this path at all.
fn split_path(path: &str) -> Option<(u32, Option<&str>)> {
    let (digits, rest) = path.strip_prefix(BEFORE_VERSION)?.split_once('/')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let version = digits.parse().ok()?;
    let rest = rest.strip_prefix(AFTER_VERSION.strip_prefix('/')?)?;
    if rest.is_empty() {
        return Some((version, None));
    }
    let suffix = rest
        .strip_prefix('-')
        .filter(|suffix| !suffix.contains('/'))?;
    Some((version, Some(suffix)))
}

#[derive(Default)]
struct Query {
    tenant_id: Option<String>,
    subs_id: Option<String>,
    output: Option<String>,
}

impl Query {
    fn read(text: &str) -> Result<Self, SubscribeError> {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "tenantId" => &mut query.tenant_id,
                "subsId" => &mut query.subs_id,
                "desiredOutputType" => &mut query.output,
                _ => continue,
            };
            if place
                .replace(decoded(name, &value.replace('+', " "))?)
                .is_some()
            {
                return Err(bad(&format!("{name} is given twice")));
            }
        }
        Ok(query)
    }
}

fn required(name: &str, value: Option<String>) -> Result<String, SubscribeError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| bad(&format!("{name} is missing")))
}

fn decoded(name: &str, text: &str) -> Result<String, SubscribeError> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text
        .map_err(|_bad| bad(&format!("{name} is not UTF-8")))?
        .into_owned())
}

fn bad(reason: &str) -> SubscribeError {
    SubscribeError::BadParameter(reason.to_owned())
}

#[cfg(test)]
mod tests;

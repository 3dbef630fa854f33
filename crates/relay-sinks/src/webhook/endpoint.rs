//! The endpoint: a client set up from the configuration, one request at a time sent and judged. It knows
//! neither order nor retries.

use std::error::Error as _;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use relay_core::sink::{Failure, Next};
use reqwest::{Client, Method, Request, Response, Url};
use tokio::time::timeout;

use super::Config;
use super::answer::{Answer, Said, judge};
use super::body;
use super::hidden::Hidden;
use super::request::Content;
use super::signature::Keys;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// HTTP/2 connections are asked for a sign of life so often while requests are under way.
const PING: Duration = Duration::from_secs(10);

/// An endpoint, with the secrets as they were when it was opened.
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    keys: Keys,
    headers: HeaderMap,
    /// Never shown, not even when the endpoint sends them back.
    hidden: Hidden,
    timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("at", &self.url.origin().ascii_serialization())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A failure that an operator has to cure.
fn blocked(text: String, remedy: &str) -> Failure {
    Failure {
        next: Next::Blocked,
        text,
        remedy: remedy.to_owned(),
    }
}

impl Endpoint {
    /// Reads secrets and certificates, and sets the client up. Blocks on files.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let url = Url::parse(&config.url)
            .map_err(|error| blocked(format!("url is not a URL: {error}"), "correct url"))?;
        let mut hidden = Hidden::default();
        hidden.url(&url);
        let keys = match &config.secret {
            None => Keys::default(),
            Some(secret) => {
                let text = secret.read().map_err(|error| {
                    let remedy =
                        "see that the file is there, and that the relay's user may read it";
                    blocked(format!("the signing secret can't be read: {error}"), remedy)
                })?;
                hidden.signing(&text);
                Keys::parse(&text).map_err(|error| {
                    let remedy = "write it as the endpoint shows it: whsec_ and base64, one a line while rotating";
                    blocked(format!("the signing secret can't be used: {error}"), remedy)
                })?
            }
        };
        let headers = headers(config, &mut hidden)?;
        Ok(Self {
            client: client(config)?,
            url,
            keys,
            headers,
            hidden,
            timeout: config.timeout,
        })
    }

    /// Sends a request.
    pub(super) async fn post(&self, content: Content) -> Answer {
        let now = Timestamp::now().as_second();
        let Some(request) = self.request(content, now) else {
            return Answer::Rejected("it can't be put into a request".to_owned());
        };
        let asked = timeout(self.timeout, self.client.execute(request)).await;
        match asked {
            Err(_) => Answer::Failed(self.late()),
            Ok(Err(error)) if error.is_timeout() && !error.is_connect() => {
                Answer::Failed(self.late())
            }
            Ok(Err(error)) => Answer::Failed(unreachable(&error)),
            Ok(Ok(response)) => self.judge(response).await,
        }
    }

    fn request(&self, content: Content, timestamp: i64) -> Option<Request> {
        let mut request = Request::new(Method::POST, self.url.clone());
        let signature = self.keys.sign(&content.id, timestamp, &content.body);
        let headers = request.headers_mut();
        *headers = content.headers;
        let own = self.headers.iter();
        headers.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        headers.insert("webhook-id", HeaderValue::try_from(content.id).ok()?);
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        if let Some(signature) = signature {
            headers.insert("webhook-signature", HeaderValue::try_from(signature).ok()?);
        }
        *request.body_mut() = Some(content.body.into());
        Some(request)
    }

    async fn judge(&self, mut response: Response) -> Answer {
        let status = response.status();
        // Also of a good answer: a connection can be used again once its answer was read.
        let body = body::beginning(&mut response).await;
        let said = Said {
            headers: response.headers(),
            body: &String::from_utf8_lossy(&body),
            hidden: &self.hidden,
        };
        judge(status, &said, Timestamp::now())
    }

    fn late(&self) -> Failure {
        Failure {
            next: Next::Retry,
            text: format!("the endpoint did not answer within {:?}", self.timeout),
            remedy: "if it needs longer, raise timeout".to_owned(),
        }
    }
}

/// What went wrong on the way, without the url.
fn unreachable(error: &reqwest::Error) -> Failure {
    let mut text = if error.is_connect() {
        "no connection to the endpoint".to_owned()
    } else {
        "the connection to the endpoint was lost".to_owned()
    };
    // The innermost cause says it; those around it name the address or repeat it.
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    if let Some(cause) = cause {
        text = format!("{text}: {cause}");
    }
    let remedy = if text.contains("certificate") {
        "check the endpoint's certificate, and tls.ca_file if its CA is your own"
    } else {
        ""
    };
    Failure {
        next: Next::Retry,
        text,
        remedy: remedy.to_owned(),
    }
}

fn headers(config: &Config, hidden: &mut Hidden) -> Result<HeaderMap, Failure> {
    let agent = concat!("sapi-relay/", env!("CARGO_PKG_VERSION"));
    let mut headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(agent))]);
    for (name, secret) in &config.headers {
        let text = secret.read().map_err(|error| {
            let remedy = "see that the file is there, and that the relay's user may read it";
            blocked(format!("headers.{name} can't be read: {error}"), remedy)
        })?;
        let (parsed, value) = (HeaderName::try_from(name), HeaderValue::try_from(&text));
        let (Ok(parsed), Ok(mut value)) = (parsed, value) else {
            let remedy = "a header's value is one line of printable characters";
            return Err(blocked(format!("headers.{name} is no header"), remedy));
        };
        value.set_sensitive(true);
        headers.insert(parsed, value);
        hidden.header(&text);
    }
    Ok(headers)
}

fn client(config: &Config) -> Result<Client, Failure> {
    let mut tls = config.tls.trusting_platform().map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        blocked(
            format!("TLS can't be set up: {error}: {cause}"),
            "check tls.*",
        )
    })?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let built = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Only what is configured decides where events go.
        .no_proxy()
        .connect_timeout(config.timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.concurrency)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(config.timeout)
        .tcp_nodelay(true)
        .build();
    built.map_err(|error| {
        blocked(
            format!("the client can't be set up: {error}"),
            "check tls.*",
        )
    })
}

/// Asks the endpoint whether it is there: `OPTIONS`, which changes nothing and carries no event. Whatever
/// it answers, below 500, counts: endpoints need to know `POST` only.
///
/// # Errors
/// Secrets or certificates can't be used, or the endpoint can't be reached.
pub async fn probe(config: &Config) -> Result<(), Failure> {
    let own = config.clone();
    let opened = tokio::task::spawn_blocking(move || Endpoint::open(&own)).await;
    let endpoint = opened.unwrap_or_else(|error| {
        Err(blocked(
            format!("setting up the endpoint was interrupted: {error}"),
            "",
        ))
    })?;
    let mut request = Request::new(Method::OPTIONS, endpoint.url.clone());
    *request.headers_mut() = endpoint.headers.clone();
    let answered = timeout(endpoint.timeout, endpoint.client.execute(request)).await;
    let Ok(response) = answered else {
        return Err(endpoint.late());
    };
    let response = response.map_err(|error| unreachable(&error))?;
    if !response.status().is_server_error() {
        return Ok(());
    }
    match endpoint.judge(response).await {
        Answer::Failed(failure) => Err(failure),
        Answer::Delivered | Answer::Rejected(_) => Ok(()),
    }
}

//! Owns plain HTTP requests to a relay's own servers, for the commands that ask one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for what is to be done: a sink that is to stop may wait twice for its destination.
const PATIENCE_TO_DO: Duration = Duration::from_mins(2);

/// The server answered, and said no.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}: {text}")]
pub(crate) struct Refused {
    url: Url,
    pub(crate) status: StatusCode,
    text: String,
}

/// A server of a relay, and what to show it.
#[derive(Debug)]
pub(crate) struct Peer {
    base: Url,
    token: Option<String>,
}

impl Peer {
    /// The server at `url`, with the token that a file holds.
    pub(crate) fn new(url: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let base = Url::parse(url)
            .with_context(|| format!("{url:?} is no URL such as http://127.0.0.1:9464"))?;
        if base.scheme() != "http" {
            bail!("{url}: only http:// is supported here");
        }
        Ok(Self {
            base,
            token: token(token_file)?,
        })
    }

    /// GET, and the body of a 200.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// POST of JSON, and the body of a 200.
    pub(crate) async fn post(&self, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let url = self.base.join(path).context("the path")?;
        let (patience, but) = if method == Method::POST {
            (PATIENCE_TO_DO, "; it may still be carried out")
        } else {
            (PATIENCE, "")
        };
        let answer = tokio::time::timeout(patience, self.exchange(method, &url, body)).await;
        let answer = answer.map_err(|_late| anyhow!("no answer within {patience:?}{but}"));
        let (status, body) = answer
            .and_then(|answer| answer)
            .with_context(|| format!("asking {url}"))?;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).trim().to_owned();
        Err(Refused { url, status, text }.into())
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let host = url.host_str().context("a URL without a host")?;
        let port = url.port_or_known_default().unwrap_or(80);
        let host = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await?;
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let target = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, url.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body))?;
        let answer = async {
            let answer = send.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            closed = connection => {
                closed?;
                answer.await
            }
        }
    }
}

/// The token in a file, without blanks around it.
pub(crate) fn token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading the token file {}", file.display()))?;
    match text.trim() {
        "" => bail!("the token file {} is empty", file.display()),
        text => Ok(Some(text.to_owned())),
    }
}

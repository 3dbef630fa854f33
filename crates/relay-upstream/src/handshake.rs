//! HTTP/1.1 as far as a client's handshakes need it: the upgrade to WebSocket and a proxy's CONNECT.
//!
//! Written here, since tungstenite's own logs the request with its credentials at trace level and takes
//! `Connection: keep-alive, Upgrade` for an error. It knows no socket's address and no subscription.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::config::Proxy;
use crate::failure::{Answer, Failure};

const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 100;
/// What is read of an answer's body, and for how long.
const MAX_BODY: usize = 2 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// What is shown of it, in characters.
const MAX_TEXT: usize = 160;

/// Upgrades a stream to WebSocket. What the peer has sent beyond its answer stays in the buffer.
pub(crate) async fn upgrade<S>(
    stream: &mut S,
    buffer: &mut BytesMut,
    host: &str,
    path: &str,
    authorization: &str,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
         Authorization: {authorization}\r\nUser-Agent: sapi-relay/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
    );
    let head = exchange(stream, buffer, request.as_bytes()).await?;
    if head.status == 101 {
        return head.check_upgrade(&derive_accept_key(key.as_bytes()));
    }
    let body = body(stream, buffer, &head).await;
    Err(Failure::Answer(head.answer(&body, authorization)))
}

/// Asks a proxy for a tunnel.
pub(crate) async fn tunnel<S>(stream: &mut S, proxy: &Proxy, target: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let credentials = proxy.credentials.as_ref();
    let credentials = credentials.map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
        credentials.unwrap_or_default()
    );
    let mut buffer = BytesMut::new();
    let head = exchange(stream, &mut buffer, request.as_bytes()).await?;
    match head.status {
        200..=299 if buffer.is_empty() => Ok(()),
        200..=299 => Err(Failure::Network(
            "the proxy spoke before the upstream".to_owned(),
        )),
        407 => Err(Failure::Refused(
            "the proxy answered 407: check the user and password in upstream.proxy".to_owned(),
        )),
        status => Err(Failure::Network(format!("the proxy answered {status}"))),
    }
}

/// The status line and headers of an answer.
#[derive(Debug)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head and its length, if it is complete.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes)? else {
            return Ok(None);
        };
        let headers = response.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_owned(), value)
        });
        let head = Self {
            status: response.code.unwrap_or_default(),
            headers: headers.collect(),
        };
        Ok(Some((head, length)))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.get(name).unwrap_or_default().split(',');
        values
            .into_iter()
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    }

    fn check_upgrade(&self, accept: &str) -> Result<(), Failure> {
        let is_upgrade = self.has_token("upgrade", "websocket")
            && self.has_token("connection", "upgrade")
            && self.get("sec-websocket-accept") == Some(accept);
        let wants_more = self
            .get("sec-websocket-extensions")
            .is_some_and(|it| !it.is_empty())
            || self.get("sec-websocket-protocol").is_some();
        match (is_upgrade, wants_more) {
            (true, false) => Ok(()),
            (false, _) => Err(Failure::Refused(
                "the upstream answered 101 but did not upgrade to WebSocket".to_owned(),
            )),
            (true, true) => Err(Failure::Refused(
                "the upstream chose a WebSocket extension or protocol that was not offered"
                    .to_owned(),
            )),
        }
    }

    fn answer(&self, body: &[u8], authorization: &str) -> Answer {
        let kind = self
            .get("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let text = String::from_utf8_lossy(body);
        let begins = text
            .trim_start()
            .get(..9)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let is_html = kind.contains("html") || begins == "<!doctype" || begins.starts_with("<html");
        let retry_after = self.get("retry-after").and_then(|text| text.parse().ok());
        Answer {
            status: self.status,
            is_html,
            redirect: (300..400).contains(&self.status).then(|| self.redirect()),
            retry_after: retry_after.map(Duration::from_secs),
            text: clean(&text, authorization),
        }
    }

    /// Only the host: a path or query might carry anything.
    fn redirect(&self) -> String {
        let location = self.get("location").unwrap_or_default();
        let url = url::Url::parse(location).ok();
        let host = url.as_ref().and_then(url::Url::host_str);
        host.unwrap_or("another path").to_owned()
    }
}

/// A body as one short line, without what the server might echo of the credentials.
fn clean(text: &str, authorization: &str) -> String {
    let secret = authorization.trim_start_matches("Basic ");
    let echoes = |text: &str| {
        let password = sapi_protocol::parse_basic(authorization).map(|basic| basic.password);
        let password = password.filter(|password| !password.is_empty());
        text.contains(secret) || password.is_some_and(|password| text.contains(&password))
    };
    if echoes(text) {
        return "a body that holds the credentials".to_owned();
    }
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let line = words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(MAX_TEXT).collect()
}

/// Sends a request and reads the final answer's head.
async fn exchange<S>(stream: &mut S, buffer: &mut BytesMut, request: &[u8]) -> Result<Head, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: std::io::Error| Failure::Network(format!("handshake: {error}"));
    stream.write_all(request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    loop {
        let parsed = Head::parse(buffer);
        let parsed =
            parsed.map_err(|error| Failure::Refused(format!("not an HTTP answer: {error}")))?;
        if let Some((head, length)) = parsed {
            buffer.advance(length);
            // 100 and 103 come before the answer.
            if head.status == 101 || head.status >= 200 {
                return Ok(head);
            }
            continue;
        }
        if buffer.len() > MAX_HEAD {
            return Err(Failure::Refused("an HTTP answer without end".to_owned()));
        }
        if stream.read_buf(buffer).await.map_err(broken)? == 0 {
            let text = "the connection ended before the handshake was answered";
            return Err(Failure::Network(text.to_owned()));
        }
    }
}

/// The beginning of an answer's body, as far as it comes soon.
async fn body<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut, head: &Head) -> Vec<u8> {
    let length = head
        .get("content-length")
        .and_then(|text| text.parse().ok());
    let wanted = length.unwrap_or(MAX_BODY).min(MAX_BODY);
    let rest = async {
        while buffer.len() < wanted && stream.read_buf(buffer).await.is_ok_and(|count| count > 0) {}
    };
    // Late or broken, what is there is shown.
    drop(timeout(BODY_TIMEOUT, rest).await);
    buffer.truncate(wanted);
    buffer.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(response: &str) -> Result<(), Failure> {
        let (mut client, mut server) = tokio::io::duplex(1 << 16);
        let response = response.to_owned();
        let peer = async move {
            let mut request = BytesMut::new();
            while !request.ends_with(b"\r\n\r\n") {
                server.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request.to_vec()).unwrap();
            let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
            let accept = derive_accept_key(key.split("\r\n").next().unwrap().as_bytes());
            let response = response.replace("ACCEPT", &accept);
            server.write_all(response.as_bytes()).await.unwrap();
        };
        let mut buffer = BytesMut::new();
        let basic = "Basic dTpodW50ZXIy";
        let upgraded = upgrade(&mut client, &mut buffer, "h", "/p?q=1", basic);
        tokio::join!(upgraded, peer).0
    }

    #[tokio::test]
    async fn an_upgrade_may_be_spelt_in_several_ways() {
        let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n";
        answered(plain).await.unwrap();
        let other = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 OK\r\n\
                     upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n\
                     sec-websocket-accept: ACCEPT\r\n\r\n";
        answered(other).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_upgrade_is_refused() {
        for wrong in [
            plain_with("Sec-WebSocket-Accept: other"),
            plain_with(
                "Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Extensions: permessage-deflate",
            ),
            "SSH-2.0-OpenSSH\r\n".to_owned(),
        ] {
            let failure = answered(&wrong).await.unwrap_err();
            assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
        }
    }

    fn plain_with(header: &str) -> String {
        format!("HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{header}\r\n\r\n")
    }

    #[tokio::test]
    async fn an_answer_tells_what_it_was_but_never_the_credentials() {
        let busy = "HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\ntoo\n many";
        let Failure::Answer(answer) = answered(busy).await.unwrap_err() else {
            panic!()
        };
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(answer.text, "too many");
        let echo = "HTTP/1.1 401 No\r\nContent-Length: 15\r\n\r\nwrong: hunter2!";
        assert!(
            !answered(echo)
                .await
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
        let login = "HTTP/1.1 302 Found\r\nLocation: https://login.example/?t=hunter2\r\n\
                     Content-Length: 0\r\n\r\n";
        let text = answered(login).await.unwrap_err().to_string();
        assert!(
            text.contains("login.example") && !text.contains("hunter2"),
            "{text}"
        );
        let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
        assert!(
            answered(page)
                .await
                .unwrap_err()
                .to_string()
                .contains("HTML")
        );
    }
}

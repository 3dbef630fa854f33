//! Owns the tail of a running relay: its `/v1/stream`, reconnected with the last cursor.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use relay_core::From;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use url::Url;

use super::print::{Envelope, Printer};
use crate::cli::Tail;
use crate::failure::{Failure, USAGE};
use crate::http::token;
use crate::output::say;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The waits between attempts to come back.
const WAITS: [u64; 5] = [1, 1, 2, 5, 10];

/// Prints until interrupted; comes back by itself once it was connected.
pub(super) async fn run(args: Tail, printer: Printer) -> Result<(), Failure> {
    let url = stream_url(&args.url).map_err(|error| Failure::usage(format!("--url: {error:#}")))?;
    let mut tail = Stream {
        url,
        args,
        printer,
        cursor: None,
    };
    tokio::select! {
        result = tail.run() => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(())
        }
    }
}

struct Stream {
    url: Url,
    args: Tail,
    printer: Printer,
    cursor: Option<String>,
}

/// Why a connection ended or was not made.
enum End {
    /// Trouble that may pass.
    Trouble(anyhow::Error),
    /// Nothing that waiting cures.
    Fatal(Failure),
}

impl Stream {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut socket = match self.connect().await {
            Ok(socket) => socket,
            Err(End::Fatal(failure)) => return Err(failure),
            Err(End::Trouble(error)) => {
                let remedy =
                    "is the relay running, and is --url the `listen` of its websocket sink?";
                return Err(Failure::from(error).remedy(remedy));
            }
        };
        loop {
            let error = match self.follow(&mut socket).await {
                End::Trouble(error) => error,
                End::Fatal(failure) => return Err(failure),
            };
            say(&format!("sapi-relay: {error:#}; reconnecting"));
            socket = self.reconnect().await?;
            let from = self.cursor.as_deref().unwrap_or("where it began");
            say(&format!(
                "sapi-relay: connected again, going on after {from}"
            ));
        }
    }

    async fn reconnect(&self) -> Result<Socket, Failure> {
        let mut waits = WAITS.iter();
        let mut wait = Duration::from_secs(1);
        loop {
            wait = waits
                .next()
                .map_or(wait, |seconds| Duration::from_secs(*seconds));
            tokio::time::sleep(wait).await;
            match self.connect().await {
                Ok(socket) => return Ok(socket),
                Err(End::Fatal(failure)) => return Err(failure),
                Err(End::Trouble(_)) => {}
            }
        }
    }

    async fn connect(&self) -> Result<Socket, End> {
        let fatal = |error: anyhow::Error| End::Fatal(error.into());
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("format", "cloudevents")
                .append_pair("progress", "true");
            query.append_pair("notices", "true");
            query.append_pair("from", &self.from());
            if !self.args.types.is_empty() {
                query.append_pair("types", &self.args.types.join(","));
            }
        }
        let request = url.as_str().into_client_request().context("the URL");
        let mut request = request.map_err(fatal)?;
        if let Some(token) = token(self.args.token_file.as_deref()).map_err(fatal)? {
            let value = HeaderValue::try_from(format!("Bearer {token}")).context("the token");
            request
                .headers_mut()
                .insert(AUTHORIZATION, value.map_err(fatal)?);
        }
        // A relay is trusted with what it sends: an event may be as large as it allows.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        match connect_async_with_config(request, Some(config), true).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(self.refused(&answer)),
            // Its text is its cause's, which would stand there twice.
            Err(Error::Io(error)) => Err(End::Trouble(
                anyhow!(error).context(format!("connecting to {}", self.args.url)),
            )),
            Err(error) => Err(End::Trouble(
                anyhow!(error).context(format!("connecting to {}", self.args.url)),
            )),
        }
    }

    fn refused(&self, answer: &http::Response<Option<Vec<u8>>>) -> End {
        let status = answer.status();
        let body = answer
            .body()
            .as_deref()
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        let error = anyhow!("{} answered {status}: {}", self.args.url, body.trim());
        let failure = |code| Failure::new(code, anyhow!("{error:#}"));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let remedy = "give the token of one of the sink's clients: --token-file FILE";
                End::Fatal(failure(crate::failure::SOFTWARE).remedy(remedy))
            }
            StatusCode::BAD_REQUEST => End::Fatal(failure(USAGE)),
            StatusCode::NOT_FOUND => {
                let remedy =
                    "is --url the `listen` of a websocket sink? (admin.listen is another server)";
                End::Fatal(failure(crate::failure::SOFTWARE).remedy(remedy))
            }
            _ => End::Trouble(error),
        }
    }

    fn from(&self) -> String {
        if let Some(cursor) = &self.cursor {
            return cursor.clone();
        }
        match self.args.from {
            From::Now => "now".to_owned(),
            From::Earliest => "earliest".to_owned(),
            From::After(cursor) => cursor.to_string(),
            From::Time(ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                let time = jiff::Timestamp::from_millisecond(ms);
                time.unwrap_or(jiff::Timestamp::MAX).to_string()
            }
        }
    }

    /// Prints what comes, until the connection ends.
    async fn follow(&mut self, socket: &mut Socket) -> End {
        loop {
            let ready = futures_util::FutureExt::now_or_never(socket.next());
            let message = if let Some(message) = ready {
                message
            } else {
                if let Err(error) = self.printer.flush() {
                    return End::Fatal(error.into());
                }
                socket.next().await
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    if let Err(error) = self.print(text.as_str()) {
                        return End::Fatal(error.into());
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the Close goes out with the flush; the peer may be gone already.
                    socket.flush().await.ok();
                    let why = frame.map(|frame| format!(" ({} {})", frame.code, frame.reason));
                    return End::Trouble(anyhow!(
                        "the relay closed the connection{}",
                        why.unwrap_or_default()
                    ));
                }
                Some(Ok(
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                )) => {}
                Some(Err(error)) => {
                    return End::Trouble(anyhow!(error).context("the connection failed"));
                }
                None => return End::Trouble(anyhow!("the connection ended")),
            }
        }
    }

    fn print(&mut self, text: &str) -> std::io::Result<()> {
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
            say("sapi-relay: what the relay sent is no CloudEvent; is it of another version?");
            return Ok(());
        };
        if envelope.kind.is_some() {
            self.printer.event(text, &envelope)?;
        }
        if envelope.relaycursor.is_some() {
            self.cursor = envelope.relaycursor;
        }
        Ok(())
    }
}

/// `/v1/stream` of a relay that is named by `http(s)://` or `ws(s)://`.
fn stream_url(text: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(text)
        .with_context(|| format!("{text:?} is no URL such as http://127.0.0.1:8080"))?;
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        other => return Err(anyhow!("{other}:// is none of http, https, ws, wss")),
    };
    url.set_scheme(scheme).ok().context("the scheme")?;
    if url.path() == "/" {
        url.set_path("/v1/stream");
    }
    Ok(url)
}

//! Clients of the websocket sink: the stream over WebSocket, and history as lines.

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{http, soon};

/// A CloudEvent as the relay sends it, its data verbatim.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// The event's id.
    pub id: String,
    /// The CloudEvents type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The cursor behind it.
    pub relaycursor: String,
    /// The event itself.
    pub data: Box<RawValue>,
}

impl StreamEvent {
    /// Whether it is a notice of the relay.
    pub fn is_notice(&self) -> bool {
        self.event_type.starts_with("io.sapi-relay.notice.")
    }
}

/// A connected client of `/v1/stream`.
#[derive(Debug)]
pub struct Stream(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Stream {
    /// Connects to `http://host:port/v1/stream?...`.
    ///
    /// # Panics
    /// If the relay refuses.
    pub async fn connect(url: &str) -> Self {
        let url = url.replacen("http", "ws", 1);
        let (socket, _) = soon("a connection", connect_async(&url))
            .await
            .expect("it is accepted");
        Self(socket)
    }

    /// The next text frame; `None` once the relay has closed.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            match soon("a frame", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next CloudEvent.
    ///
    /// # Panics
    /// If the relay closes, or sends something else.
    pub async fn next_event(&mut self) -> StreamEvent {
        let text = self.next_text().await.expect("the stream goes on");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Closes cleanly.
    pub async fn close(mut self) {
        let _ = self.0.send(Message::Close(None)).await;
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// All of `/v1/history?...`.
///
/// # Panics
/// If the answer is not NDJSON of CloudEvents.
pub async fn history(url: &str) -> Vec<StreamEvent> {
    let answer = http::get(url).await.expect("an answer");
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    let text = answer.text().await.expect("the whole answer");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a CloudEvent"))
        .collect()
}

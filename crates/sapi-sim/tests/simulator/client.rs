//! A client of the simulator, and what tests ask of it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use sapi_protocol::{Document, Framed, Framer, basic_header};
use sapi_sim::{Config, LedgerEntry, Simulator};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// Longer than anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A Close with this code; 1005 if it has none.
    Closed(u16),
    /// The socket ended, with a FIN or a reset.
    Dropped,
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    framer: Framer,
    /// Messages received, as they were.
    pub(crate) messages: Vec<Message>,
    pub(crate) malformed: Vec<Bytes>,
}

/// What a subscribe request asks for.
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

impl Ask {
    pub(crate) fn new(subs_id: &str) -> Self {
        Self::output(subs_id, Some("JSON"))
    }

    pub(crate) fn output(subs_id: &str, output: Option<&str>) -> Self {
        let output = output.map_or(String::new(), |output| {
            format!("&desiredOutputType={output}")
        });
        Self {
            path: format!(
                "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId={subs_id}{output}"
            ),
            authorization: Some(basic_header("acmecorp01", sapi_sim::DEMO_TOKEN)),
        }
    }

    pub(crate) fn token(mut self, token: &str) -> Self {
        self.authorization = Some(basic_header("acmecorp01", token));
        self
    }

    pub(crate) fn suffixed(subs_id: &str) -> Self {
        let mut ask = Self::new(subs_id);
        ask.path = ask.path.replace(
            "TenantUpdates?",
            &format!("TenantUpdates-acmecorp01-{subs_id}?"),
        );
        ask
    }

    pub(crate) fn path(mut self, from: &str, to: &str) -> Self {
        assert!(self.path.contains(from), "{} has no {from}", self.path);
        self.path = self.path.replace(from, to);
        self
    }

    /// Connects, or says with which status it was refused; `None` is no HTTP answer at all.
    pub(crate) async fn go(&self, sim: &Simulator) -> Result<Client, Option<StatusCode>> {
        let mut request = format!("{}{}", sim.ws_url(), self.path)
            .into_client_request()
            .unwrap();
        if let Some(authorization) = &self.authorization {
            request
                .headers_mut()
                .insert("authorization", authorization.parse().unwrap());
        }
        match within(Box::pin(connect_async(request))).await {
            Ok((socket, _)) => Ok(Client {
                socket,
                framer: Framer::new(64 << 20),
                messages: Vec::new(),
                malformed: Vec::new(),
            }),
            Err(tungstenite::Error::Http(response)) => Err(Some(response.status())),
            Err(_) => Err(None),
        }
    }
}

/// Starts a simulator with some faults.
pub(crate) async fn start(config: Config, faults: &[&str]) -> Simulator {
    let sim = Simulator::start(config).await.unwrap();
    for fault in faults {
        sim.set_fault(fault).unwrap();
    }
    sim
}

/// Connects with good credentials.
pub(crate) async fn connect(sim: &Simulator, subs_id: &str) -> Client {
    Ask::new(subs_id).go(sim).await.expect("connected")
}

/// Bounds a wait.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

impl Client {
    /// The next document or malformed bytes; how the connection ended after the last.
    pub(crate) async fn next(&mut self) -> Result<Document, Ended> {
        loop {
            match self.framer.next() {
                Some(Framed::Document(document)) => return Ok(document),
                Some(Framed::Malformed(malformed)) => {
                    self.malformed.push(malformed.bytes);
                    continue;
                }
                None => {}
            }
            match within(self.socket.next()).await {
                Some(Ok(message)) => {
                    self.messages.push(message.clone());
                    match message {
                        Message::Text(text) => self.framer.push(Bytes::from(text)),
                        Message::Binary(bytes) => self.framer.push(bytes),
                        Message::Close(close) => {
                            let code = close.map_or(1005, |close| u16::from(close.code));
                            // Answers the Close, so that the server need not wait.
                            while let Some(Ok(_)) = self.socket.next().await {}
                            return Err(Ended::Closed(code));
                        }
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                None | Some(Err(_)) => return Err(Ended::Dropped),
            }
        }
    }

    /// The next `count` events, heartbeats left out.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Bytes> {
        let mut events = Vec::new();
        while events.len() < count {
            let document = self.next().await.expect("an event");
            if !document.is_heartbeat() {
                events.push(document.into_bytes());
            }
        }
        events
    }

    /// Whether nothing comes for as long as it takes to be sure.
    pub(crate) async fn is_silent(&mut self, millis: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(millis), self.next())
            .await
            .is_err()
    }

    /// Reads until the connection ends.
    pub(crate) async fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    /// Closes in good order and reads on to the server's answer; what still came on the way.
    pub(crate) async fn close(mut self) -> Vec<Document> {
        self.socket.close(None).await.unwrap();
        let mut rest = Vec::new();
        while let Ok(document) = self.next().await {
            rest.push(document);
        }
        rest
    }
}

impl Client {
    /// Sends a text message.
    pub(crate) async fn say(&mut self, text: &str) {
        self.socket
            .send(Message::text(text.to_owned()))
            .await
            .unwrap();
    }
}

/// The events of the ledger, in order.
pub(crate) fn made(sim: &Simulator) -> Vec<LedgerEntry> {
    sim.ledger()
        .into_iter()
        .filter(|entry| entry.kind == sapi_sim::Kind::Event)
        .collect()
}

/// Their bytes.
pub(crate) fn bytes(entries: &[LedgerEntry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.bytes.clone()).collect()
}

/// Waits until nobody is connected.
pub(crate) async fn gone(sim: &Simulator) {
    within(sim.wait_until(|sim| sim.connected() == 0)).await;
}

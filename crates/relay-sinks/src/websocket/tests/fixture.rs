//! A websocket sink over a real core, and clients of every kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use relay_core::admit::{Admit, Received};
use relay_core::dead_letters::DeadLetterConfig;
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::metrics::Metrics;
use relay_core::sink::Listener;
use sapi_protocol::{Document, Framed};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use crate::Secret;
use crate::websocket::hub::Hub;
use crate::websocket::{Client, Clients, Config, Context, Websocket};

/// Everything that a test waits for comes long before this.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(in crate::websocket) struct Fixture {
    pub(in crate::websocket) core: Core,
    pub(in crate::websocket) metrics: Arc<Metrics>,
    pub(super) addr: SocketAddr,
    pub(super) clients: Clients,
    pub(super) tls: Option<crate::tls::Acceptor>,
    pub(super) stop: CancellationToken,
    serving: JoinSet<std::io::Result<()>>,
    sequence: u64,
    pub(super) dir: TempDir,
}

pub(in crate::websocket) fn config() -> Config {
    Config::new("downstream", "acmecorp01", "127.0.0.1:0".parse().unwrap())
}

pub(super) fn client(name: &str, token: &str, types: &[&str]) -> Client {
    Client {
        name: name.into(),
        token: Secret::Literal(token.to_owned()),
        types: types.iter().map(ToString::to_string).collect(),
    }
}

impl Fixture {
    pub(in crate::websocket) async fn new() -> Self {
        Self::with(config(), 64 << 20).await
    }

    /// A sink of this configuration over a bus of so much memory.
    pub(super) async fn with(config: Config, memory: usize) -> Self {
        Self::over(tempfile::tempdir().unwrap(), config, memory).await
    }

    pub(super) async fn over(dir: TempDir, config: Config, memory: usize) -> Self {
        Self::retaining(dir, config, memory, 1 << 30).await
    }

    /// The same over a journal that keeps no more than so many bytes.
    pub(super) async fn retaining(
        dir: TempDir,
        config: Config,
        memory: usize,
        retention: u64,
    ) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let core = Core::open(core_config(&dir, memory, retention, &metrics)).unwrap();
        let context = Context {
            store: core.store.clone(),
            metrics: Arc::clone(&metrics),
        };
        let sink = Websocket::bind(config, context).await.unwrap();
        let tls = sink.tls();
        let (addr, clients, stop) = (sink.local_addr(), sink.clients(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(sink.serve(core.bus.clone(), stop.clone()));
        Self {
            core,
            metrics,
            addr,
            clients,
            tls,
            stop,
            serving,
            sequence: 0,
            dir,
        }
    }

    /// Numbers events on from here, after a restart.
    pub(super) fn numbered_after(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Stops the sink and the core; what is left is the journal.
    pub(super) async fn close(mut self) -> TempDir {
        self.drain().await;
        self.core.close().await.unwrap();
        self.dir
    }

    /// Stops the sink and waits until all its clients have gone.
    pub(super) async fn drain(&mut self) {
        self.stop.cancel();
        soon("the drain", self.serving.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// Commits so many events of a type, numbered on; returns the number of the last.
    pub(in crate::websocket) async fn commit(&mut self, class: &str, count: u64) -> u64 {
        self.commit_padded(class, count, 10).await
    }

    /// The same, each padded to about so many bytes.
    pub(in crate::websocket) async fn commit_padded(
        &mut self,
        class: &str,
        count: u64,
        pad: usize,
    ) -> u64 {
        let padding = "x".repeat(pad);
        let documents = (0..count).map(|_| {
            self.sequence += 1;
            let n = self.sequence;
            Framed::Document(Document::parse(document(class, n, &padding)).unwrap())
        });
        let documents = documents.collect();
        let received = Received {
            subscription: "relay_a".into(),
            at_ms: 1_700_000_000_000,
            documents,
        };
        self.core.intake.documents(received).await.unwrap();
        self.core.intake.flush().await;
        self.sequence
    }

    pub(super) async fn connect(&self, path: &str) -> Peer {
        self.connect_with(path, &[]).await.unwrap()
    }

    pub(super) async fn connect_with(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Peer, Error> {
        let url = format!("ws://{}{path}", self.addr);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = soon("a connection", Box::pin(connect_async(request))).await?;
        Ok(Peer(socket))
    }

    /// Sends a request as it is and reads the answer to its end.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut socket = self.tcp(request).await;
        let mut answer = Vec::new();
        soon("an answer", socket.read_to_end(&mut answer))
            .await
            .ok();
        String::from_utf8(answer).unwrap()
    }

    /// Sends a request as it is.
    pub(super) async fn tcp(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    pub(super) async fn get(&self, path: &str) -> String {
        self.get_with(path, "").await
    }

    pub(super) async fn get_with(&self, path: &str, headers: &str) -> String {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.addr
        );
        self.raw(&request).await
    }

    /// The lines of `/v1/history`.
    pub(super) async fn history(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/history{query}")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        dechunk(body)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What the connections of another sink over the same bus would share.
    pub(in crate::websocket) fn hub(&self) -> Arc<Hub> {
        let root = CancellationToken::new();
        let clients = Clients::new(config(), root.clone()).unwrap();
        let store = (self.core.store.clone(), &*self.metrics);
        Hub::new(config(), self.core.bus.clone(), clients, root, store)
    }

    pub(super) fn left(&self, reason: &str) -> u64 {
        let left = &self.metrics.clients_disconnected_total;
        left.with_label_values(&["downstream", reason]).get()
    }

    /// Waits until so many clients are being served.
    pub(super) async fn until_connected(&self, count: usize) {
        let arrived = async {
            while self.clients.connected() != count {
                tokio::task::yield_now().await;
            }
        };
        soon("clients to come or go", arrived).await;
    }
}

fn core_config(dir: &TempDir, memory: usize, retention: u64, metrics: &Arc<Metrics>) -> CoreConfig {
    CoreConfig {
        tenant: "acmecorp01".to_owned(),
        dir: dir.path().to_owned(),
        subs_ids: vec!["relay_a".into()],
        cache_horizon: Duration::from_hours(2),
        dedup: DedupConfig {
            horizon: Duration::from_mins(150),
            memory: 16 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: Duration::from_hours(72),
            retention_bytes: retention,
            commit_window: Duration::from_millis(2),
            reserve: 0,
        },
        bus_memory: memory,
        dead_letters: DeadLetterConfig {
            retention_age: Duration::from_hours(720),
            retention_bytes: 1 << 20,
        },
        metrics: Arc::clone(metrics),
        traces: relay_core::traces::Traces::default(),
        boards: Vec::new(),
    }
}

fn document(class: &str, n: u64, padding: &str) -> Bytes {
    let body = format!(
        r#"{{"{class}":{{"n":{n},"agentId":"agent{}","pad":"{padding}","msgInfo":{{"instanceId":"i","sequenceId":{n},"timestamp":1669235836708}}}}}}"#,
        n % 3
    );
    Bytes::from(body)
}

/// The number that a document carries.
pub(super) fn number(document: &Value) -> u64 {
    let (_class, inner) = document.as_object().unwrap().iter().next().unwrap();
    inner["n"].as_u64().unwrap()
}

pub(super) fn dechunk(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    text
}

/// A WebSocket client.
pub(super) struct Peer(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Peer {
    /// The next text frame; `None` once the relay has closed.
    pub(super) async fn text(&mut self) -> Option<String> {
        loop {
            match soon("a frame", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(super) async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await.expect("the stream goes on")).unwrap()
    }

    /// The number of the next event.
    pub(super) async fn number(&mut self) -> u64 {
        number(&self.json().await["data"])
    }

    /// The numbers of the next events.
    pub(super) async fn numbers(&mut self, count: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.number().await);
        }
        numbers
    }

    /// The relay's Close, events before it passed over.
    pub(super) async fn close_frame(&mut self) -> Option<CloseFrame> {
        loop {
            match soon("Close", self.0.next()).await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
                None => return None,
            }
        }
    }

    pub(super) async fn say(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// Closes and waits for the relay's answer.
    pub(super) async fn close(mut self) {
        self.0.close(None).await.ok();
        while soon("the answer to Close", self.0.next())
            .await
            .is_some_and(|said| said.is_ok())
        {}
    }
}

/// The status that a WebSocket handshake was refused with.
pub(super) fn refused(outcome: Result<Peer, Error>) -> u16 {
    match outcome {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

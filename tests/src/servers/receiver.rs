//! A scriptable receiver of webhooks: HTTP/1.1 and HTTP/2, with or without TLS, on real sockets. It knows
//! CloudEvents and Standard Webhooks by their specifications, and nothing of the relay.
//!
//! ```ignore
//! let receiver = Receiver::start().await;
//! receiver.answers(|request| match request.holds("poison") {
//!     true => Answer::status(422).body("no such field"),
//!     false => Answer::ok(),
//! });
//! receiver.accepted(100).await;
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Method, Response, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tally::Tally;
use crate::{PATIENCE, within};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Said,
    delay: Duration,
    waits: Waits,
    cuts: bool,
}

#[derive(Clone, Debug)]
enum Said {
    Text(String),
    /// Without end, as fast as it is read.
    Endless,
    /// A byte, and nothing after it.
    Stuck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    No,
    /// Takes the request when the script has changed, by the new one.
    Untaken,
    /// Takes the request at once, and answers when the script has changed.
    Taken,
}

impl Answer {
    /// 200, without a body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A status, without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Said::Text(String::new()),
            delay: Duration::ZERO,
            waits: Waits::No,
            cuts: false,
        }
    }

    /// Neither takes the request nor answers, until the script changes.
    pub fn hang() -> Self {
        Self {
            waits: Waits::Untaken,
            ..Self::ok()
        }
    }

    /// Takes the request, and says so when the script changes.
    pub fn late() -> Self {
        Self {
            waits: Waits::Taken,
            ..Self::ok()
        }
    }

    /// Ends the connection instead.
    pub fn cut() -> Self {
        Self {
            cuts: true,
            ..Self::status(0)
        }
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Said::Text(text.to_owned());
        self
    }

    /// With a body that never ends.
    pub fn endless(mut self) -> Self {
        self.body = Said::Endless;
        self
    }

    /// With a body that begins and never goes on.
    pub fn stuck(mut self) -> Self {
        self.body = Said::Stuck;
        self
    }

    /// After so long.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was complete.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How it was answered, once it is.
    pub status: Option<u16>,
}

/// A CloudEvent of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `id`.
    pub id: String,
    /// `partitionkey`.
    pub key: String,
    /// `sapisequence`; 0 where it is absent.
    pub number: u64,
    /// The event's bytes.
    pub data: Vec<u8>,
}

impl Request {
    /// A header's value; empty where it is absent.
    ///
    /// # Panics
    /// If it is not text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("a header of text"))
    }

    /// Whether its body holds a word.
    pub fn holds(&self, word: &str) -> bool {
        memchr::memmem::find(&self.body, word.as_bytes()).is_some()
    }

    /// Whether its signature is a secret's, by the library of Standard Webhooks.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).expect("a secret");
        webhook.verify(&self.body, &self.headers).is_ok()
    }

    /// Its events: by the binary, the structured or the batch form of CloudEvents.
    ///
    /// # Panics
    /// If it holds none.
    pub fn events(&self) -> Vec<Received> {
        let json = || serde_json::from_slice::<Value>(&self.body).expect("JSON");
        let content_type = self.header("content-type");
        if content_type.starts_with("application/cloudevents-batch+json") {
            let batch = json();
            let batch = batch.as_array().expect("a batch");
            return batch.iter().map(structured).collect();
        }
        if content_type.starts_with("application/cloudevents+json") {
            return vec![structured(&json())];
        }
        let attribute = |name: &str| {
            let value = percent_decode_str(self.header(name));
            value.decode_utf8().expect("UTF-8").into_owned()
        };
        assert_eq!(
            attribute("ce-specversion"),
            "1.0",
            "no CloudEvent: {self:?}"
        );
        vec![Received {
            id: attribute("ce-id"),
            key: attribute("ce-partitionkey"),
            number: attribute("ce-sapisequence").parse().unwrap_or(0),
            data: self.body.to_vec(),
        }]
    }
}

fn structured(event: &Value) -> Received {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Received {
        id: text("id"),
        key: text("partitionkey"),
        number: text("sapisequence").parse().unwrap_or(0),
        data: event["data"].to_string().into_bytes(),
    }
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    /// Indices of the requests that were taken, in their order.
    taken: Vec<usize>,
    open: usize,
    most_open: usize,
    open_keys: HashMap<String, usize>,
    clashes: usize,
}

struct Shared {
    script: watch::Sender<Script>,
    log: Mutex<Log>,
    counts: watch::Sender<Counts>,
    memory: Memory,
}

/// What a receiver remembers.
enum Memory {
    Requests,
    Counts,
    Tally(Mutex<Tally>),
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: usize,
    /// Requests that were answered with 2xx.
    pub taken: usize,
    /// Events in them, where the receiver remembers no requests; where it keeps a tally, each once.
    pub events: usize,
    /// Connections.
    pub connections: usize,
}

/// A running receiver. It ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Takes everything, over HTTP.
    pub async fn start() -> Self {
        Self::open(None, Memory::Requests).await
    }

    /// Takes everything, remembers nothing but how much.
    pub async fn counting() -> Self {
        Self::open(None, Memory::Counts).await
    }

    /// Takes everything, remembers how much, and whether it came in order: what is sent to it is structured.
    pub async fn tallying() -> Self {
        Self::open(None, Memory::Tally(Mutex::default())).await
    }

    /// What it remembers, if that is a tally.
    ///
    /// # Panics
    /// If it is not.
    pub fn tally(&self) -> Tally {
        match &self.shared.memory {
            Memory::Tally(tally) => *tally.lock().expect("nobody panicked"),
            Memory::Requests | Memory::Counts => panic!("it keeps no tally"),
        }
    }

    /// Takes everything, over HTTPS, as `localhost`; writes its certificate to `cert.pem` in a folder.
    ///
    /// # Panics
    /// If the certificate can't be made.
    pub async fn start_tls(folder: &Path) -> Self {
        crate::install_crypto();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("a certificate");
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("it is written");
        let key = made.signing_key.serialize_der().try_into().expect("a key");
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::open(Some(TlsAcceptor::from(Arc::new(config))), Memory::Requests).await
    }

    async fn open(tls: Option<TlsAcceptor>, memory: Memory) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let script: Script = Arc::new(|_| Answer::ok());
        let shared = Arc::new(Shared {
            script: watch::Sender::new(script),
            log: Mutex::default(),
            counts: watch::Sender::default(),
            memory,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            address,
            scheme,
            shared,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.url_through(self.address, path)
    }

    /// The URL of a path, by way of a proxy.
    pub fn url_through(&self, proxy: SocketAddr, path: &str) -> String {
        let host = if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}{path}", self.scheme, proxy.port())
    }

    /// How it answers from now on. What waits is answered by it too.
    pub fn answers(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        self.shared.script.send_replace(Arc::new(script));
    }

    /// Answers everything in one way from now on.
    pub fn answers_all(&self, answer: Answer) {
        self.answers(move |_| answer.clone());
    }

    /// What has come so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log().requests.clone()
    }

    /// The requests that it took, in the order in which it took them.
    pub fn taken(&self) -> Vec<Request> {
        let log = self.shared.log();
        let taken = log.taken.iter();
        taken.map(|index| log.requests[*index].clone()).collect()
    }

    /// The events that it took, in the order in which it took them.
    pub fn events(&self) -> Vec<Received> {
        self.taken().iter().flat_map(Request::events).collect()
    }

    /// The most requests that it had open at once.
    pub fn most_open(&self) -> usize {
        self.shared.log().most_open
    }

    /// How often a request came while another of the same key was open.
    pub fn clashes(&self) -> usize {
        self.shared.log().clashes
    }

    /// Waits until it has taken so many requests.
    pub async fn accepted(&self, count: usize) {
        self.until("requests to take", |counts| counts.taken >= count)
            .await;
    }

    /// Waits until so many requests have come.
    pub async fn asked(&self, count: usize) {
        self.until("requests", |counts| counts.requests >= count)
            .await;
    }

    /// Waits until what has come is as wanted.
    ///
    /// # Panics
    /// If it never is.
    pub async fn until(&self, what: &str, wanted: impl FnMut(&Counts) -> bool) {
        self.until_within(PATIENCE, what, wanted).await;
    }

    /// The same, for as long as it may take.
    ///
    /// # Panics
    /// If it takes longer.
    pub async fn until_within(
        &self,
        limit: Duration,
        what: &str,
        mut wanted: impl FnMut(&Counts) -> bool,
    ) {
        let mut counts = self.shared.counts.subscribe();
        let waited = within(limit, what, counts.wait_for(|counts| wanted(counts))).await;
        waited.expect("it runs");
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receiver({})", self.url("/"))
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                stream.set_nodelay(true).expect("an option of TCP");
                shared.count(|counts| counts.connections += 1);
                let (tls, shared) = (tls.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, shared).await;
                        },
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let builder = auto::Builder::new(TokioExecutor::new());
    // A peer that goes, and a connection that is cut, are no error here.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> std::io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    if let Memory::Tally(tally) = &shared.memory {
        let body = body.to_bytes();
        let mut tally = tally.lock().expect("nobody panicked");
        let events = tally.take(&body, Instant::now());
        drop(tally);
        shared.took(events);
        return Ok(Response::new(Empty::new().boxed_unsync()));
    }
    if matches!(shared.memory, Memory::Counts) {
        let batch = head.headers.get("content-type").is_some_and(|value| {
            value
                .as_bytes()
                .starts_with(b"application/cloudevents-batch")
        });
        let events = if batch {
            memchr::memmem::find_iter(&body.to_bytes(), br#""specversion":"#).count()
        } else {
            1
        };
        shared.took(events);
        return Ok(Response::new(Empty::new().boxed_unsync()));
    }
    let request = Request {
        at: Instant::now(),
        method: head.method,
        path: head
            .uri
            .path_and_query()
            .map_or("", |path| path.as_str())
            .to_owned(),
        version: head.version,
        headers: head.headers,
        body: body.to_bytes(),
        status: None,
    };
    let open = Open::new(&shared, request.clone());
    let mut script = shared.script.subscribe();
    let mut answer = script.borrow_and_update()(&request);
    while answer.waits == Waits::Untaken {
        script.changed().await.map_err(std::io::Error::other)?;
        answer = script.borrow_and_update()(&request);
    }
    tokio::time::sleep(answer.delay).await;
    open.answered(answer.status);
    if answer.waits == Waits::Taken {
        script.changed().await.map_err(std::io::Error::other)?;
    }
    drop(open);
    if answer.cuts {
        return Err(std::io::Error::other("cut"));
    }
    respond(&answer)
}

fn respond(answer: &Answer) -> std::io::Result<Response<Body>> {
    let body = match &answer.body {
        Said::Text(text) => Full::new(Bytes::from(text.clone())).boxed_unsync(),
        Said::Endless => {
            let chunk = Bytes::from(vec![b'x'; 1 << 16]);
            let frame = move || Ok(Frame::data(chunk.clone()));
            StreamBody::new(stream::repeat_with(frame)).boxed_unsync()
        }
        Said::Stuck => {
            let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"x")))]);
            StreamBody::new(first.chain(stream::pending())).boxed_unsync()
        }
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(std::io::Error::other)
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panicked")
    }

    /// A request was taken of which nothing but its events is counted.
    fn took(&self, events: usize) {
        self.count(|counts| {
            counts.requests += 1;
            counts.taken += 1;
            counts.events += events;
        });
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }
}

/// A request that is not answered yet.
struct Open<'a> {
    shared: &'a Shared,
    index: usize,
    key: Option<String>,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, request: Request) -> Self {
        let key = request.headers.get("ce-partitionkey");
        let key = key.and_then(|key| key.to_str().ok()).map(ToOwned::to_owned);
        let mut log = shared.log();
        log.requests.push(request);
        log.open += 1;
        log.most_open = log.most_open.max(log.open);
        if let Some(key) = &key {
            let open = log.open_keys.entry(key.clone()).or_default();
            *open += 1;
            log.clashes += usize::from(*open > 1);
        }
        let index = log.requests.len() - 1;
        drop(log);
        shared.count(|counts| counts.requests += 1);
        Self { shared, index, key }
    }

    fn answered(&self, status: u16) {
        let mut log = self.shared.log();
        log.requests[self.index].status = Some(status);
        let taken = (200..300).contains(&status);
        if taken {
            log.taken.push(self.index);
        }
        drop(log);
        self.shared
            .count(|counts| counts.taken += usize::from(taken));
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut log = self.shared.log();
        log.open -= 1;
        if let Some(key) = &self.key {
            let open = log.open_keys.get_mut(key).expect("it was counted");
            *open -= 1;
        }
    }
}

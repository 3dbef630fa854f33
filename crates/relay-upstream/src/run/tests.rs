mod peer;

use relay_core::status::{BackOffCause, SubscriptionState};
use sapi_protocol::{PathStyle, parse_basic};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::*;
use crate::{Bounds, Secret, TlsFiles};
use peer::{Heard, Peer, Recorder, Talk, Told, Trouble, frame, soon};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Everything at once, so that a test waits for nothing.
fn config(url: &str) -> UpstreamConfig {
    let token = Secret::literal(TOKEN);
    let mut config = UpstreamConfig::new(url.parse().unwrap(), "acmecorp01", token, &["relay_a"]);
    let at_once = Bounds {
        min: Duration::from_millis(1),
        max: Duration::from_millis(2),
    };
    config.backoff.network = at_once;
    config.backoff.auth = at_once;
    config.backoff.quota = at_once;
    config
}

/// A run, and all that surrounds it.
struct Relay {
    recorder: Recorder,
    gate: watch::Sender<Gate>,
    boards: Vec<Arc<SubscriptionBoard>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Stopped>>,
}

impl Relay {
    fn start(config: UpstreamConfig) -> Self {
        Self::remembering(config, PathMemory::none())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own task, awaited in `stopped`"
    )]
    fn remembering(config: UpstreamConfig, path_memory: PathMemory) -> Self {
        let recorder = Recorder::new();
        let (gate, gate_seen) = watch::channel(Gate::Open);
        let ids = config.subs_ids.iter();
        let boards: Vec<_> = ids
            .map(|id| SubscriptionBoard::new(Arc::clone(id)))
            .collect();
        let metrics = Arc::new(Metrics::new().unwrap());
        let stop = CancellationToken::new();
        let context = Context {
            gate: gate_seen,
            boards: boards.clone(),
            metrics: Arc::clone(&metrics),
            path_memory,
            stop: stop.clone(),
        };
        let task = tokio::spawn(run(Arc::new(config), recorder.clone(), context));
        Self {
            recorder,
            gate,
            boards,
            metrics,
            stop,
            task,
        }
    }

    fn state(&self) -> SubscriptionState {
        self.boards[0].snapshot().state
    }

    async fn stopped(self) -> Vec<Told> {
        self.stop.cancel();
        soon(self.task).await.unwrap().unwrap();
        self.recorder.told()
    }
}

async fn start() -> (Peer, Relay) {
    let peer = Peer::bind().await;
    let relay = Relay::start(config(&format!("ws://{}", peer.address())));
    (peer, relay)
}

fn event(n: usize) -> String {
    format!("{{\"AgentStatusChange\":{{\"agentId\":\"a{n}\"}}}}")
}

fn document(n: usize) -> Told {
    Told::Document(event(n))
}

#[tokio::test]
async fn it_asks_as_documented_and_admits_what_comes() {
    let (peer, relay) = start().await;
    let mut talk = peer.request().await;
    let query = "desiredOutputType=JSON&tenantId=acmecorp01&subsId=relay_a";
    let path = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates";
    assert!(
        talk.request
            .starts_with(&format!("GET {path}?{query} HTTP/1.1\r\n")),
        "{}",
        talk.request
    );
    assert_eq!(
        talk.header("Host"),
        Some(peer.address().to_string().as_str())
    );
    let basic = parse_basic(talk.header("Authorization").unwrap()).unwrap();
    assert_eq!(
        (basic.user.as_str(), basic.password.as_str()),
        ("acmecorp01", TOKEN)
    );
    talk.upgrade().await;
    talk.text(&event(1)).await;
    talk.frame(OpCode::Control(Control::Ping), b"hello").await;
    talk.frame(OpCode::Data(Data::Binary), event(2).as_bytes())
        .await;
    assert_eq!(talk.heard().await, Heard::Pong(b"hello".to_vec()));
    relay.recorder.document(&event(2)).await;
    assert_eq!(relay.state(), SubscriptionState::Streaming);
    let row = relay.boards[0].snapshot();
    assert!(row.connected_at_ms.is_some() && row.last_event_at_ms.is_some());
    assert_eq!(
        row.expected_cut_at_ms,
        row.connected_at_ms.map(|at| at + 3_600_000)
    );
    let events = &relay.metrics.upstream_events_total;
    assert_eq!(
        events
            .with_label_values(&["relay_a", "AgentStatusChange"])
            .get(),
        2
    );
    assert_eq!(
        relay
            .metrics
            .upstream_connected
            .with_label_values(&["relay_a"])
            .get(),
        1
    );
    relay.stop.cancel();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.close(1000).await;
    let told = relay.stopped().await;
    assert_eq!(
        told[..3],
        [Told::Connected("relay_a".into()), document(1), document(2)]
    );
}

#[tokio::test]
async fn bytes_that_come_with_the_handshake_count() {
    let (peer, relay) = start().await;
    let mut talk = peer.request().await;
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(
        talk.header("Sec-WebSocket-Key").unwrap().as_bytes(),
    );
    let head = format!(
        "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let both = [
        head.into_bytes(),
        frame(OpCode::Data(Data::Text), event(1).as_bytes()),
    ]
    .concat();
    talk.raw(&both).await;
    relay.recorder.document(&event(1)).await;
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn on_stop_it_reads_on_until_the_peers_close() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    relay.stop.cancel();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    for n in 2..500 {
        talk.text(&event(n)).await;
    }
    talk.close(1000).await;
    assert_eq!(talk.heard().await, Heard::End);
    let told = relay.stopped().await;
    let expected: Vec<_> = (1..500).map(document).collect();
    assert_eq!(told[1..500], expected);
    assert!(matches!(
        told[500],
        Told::Disconnected(DisconnectReason::Shutdown, _)
    ));
    assert_eq!(told.len(), 501);
}

#[tokio::test]
async fn a_full_disk_closes_reads_on_and_stays_away_until_there_is_room() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    relay.gate.send(Gate::Full).unwrap();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.text(&event(2)).await;
    talk.close(1000).await;
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::DiskFull);
    assert!(relay.recorder.told().contains(&document(2)));
    assert_eq!(relay.state(), SubscriptionState::Stopped);
    // The old socket is closed before another is opened.
    assert_eq!(talk.heard().await, Heard::End);
    relay.gate.send(Gate::Open).unwrap();
    let mut again = peer.upgraded().await;
    again.text(&event(3)).await;
    relay.recorder.document(&event(3)).await;
    assert_eq!(relay.boards[0].snapshot().reconnects, 1);
    drop(again);
    relay.stopped().await;
}

#[tokio::test]
async fn it_comes_back_after_every_kind_of_end() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    talk.close(1011).await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(talk.heard().await, Heard::End);
    let (reason, text) = relay.recorder.end(0).await;
    assert_eq!(reason, DisconnectReason::ClosedByPeer);
    assert!(text.contains("1011"), "{text}");
    drop(peer.upgraded().await);
    assert_eq!(relay.recorder.end(1).await.0, DisconnectReason::Network);
    // For the third time soon after connecting: a loop.
    drop(peer.upgraded().await);
    assert_eq!(relay.recorder.end(2).await.0, DisconnectReason::Quota);
    let mut talk = peer.upgraded().await;
    talk.text(&event(2)).await;
    relay.recorder.document(&event(2)).await;
    let ends = &relay.metrics.upstream_disconnects_total;
    assert_eq!(
        ends.with_label_values(&["relay_a", "closed_by_peer"]).get(),
        1
    );
    assert_eq!(ends.with_label_values(&["relay_a", "quota"]).get(), 1);
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn invalid_utf8_in_text_fails_the_connection_after_what_came_before() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    let good = frame(OpCode::Data(Data::Text), event(1).as_bytes());
    let bad = frame(OpCode::Data(Data::Text), b"{\"a\":\"\xFF\"}");
    talk.raw(&[good, bad].concat()).await;
    assert_eq!(talk.heard().await, Heard::Close(1007));
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::Protocol);
    assert_eq!(relay.recorder.told()[1], document(1));
    let mut talk = peer.upgraded().await;
    // In binary it costs its own document.
    talk.frame(OpCode::Data(Data::Binary), b"{\"a\":\"\xFF\"}")
        .await;
    talk.text(&event(2)).await;
    let told = relay
        .recorder
        .until(|told| told.contains(&document(2)))
        .await;
    assert!(told.contains(&Told::Malformed("invalid_utf8")), "{told:?}");
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn half_a_document_at_the_end_is_malformed_and_told_before_the_end() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    talk.text("{\"AgentStatusChange\":").await;
    drop(talk);
    relay.recorder.end(0).await;
    let told = relay.recorder.told();
    assert_eq!(told[1], Told::Malformed("truncated"));
    assert!(matches!(told[2], Told::Disconnected(..)));
    relay.stopped().await;
}

#[tokio::test]
async fn a_huge_message_is_admitted_while_it_arrives() {
    let (peer, relay) = start().await;
    let mut talk = peer.upgraded().await;
    let documents: String = (0..100_000).map(event).collect();
    let message = frame(OpCode::Data(Data::Text), documents.as_bytes());
    let (first, rest) = message.split_at(message.len() / 2);
    talk.raw(first).await;
    // The message is not complete, its documents are there.
    relay.recorder.until(|told| told.len() > 45_000).await;
    talk.raw(rest).await;
    relay.recorder.document(&event(99_999)).await;
    let told = relay.recorder.told();
    assert_eq!(told.len(), 100_001);
    assert!(
        told[1..]
            .iter()
            .enumerate()
            .all(|(n, told)| *told == document(n))
    );
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let peer = Peer::bind().await;
    let mut config = config(&format!("ws://{}", peer.address()));
    config.silence_timeout = Duration::from_millis(50);
    let relay = Relay::start(config);
    let mut talk = peer.upgraded().await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(relay.recorder.end(0).await.0, DisconnectReason::Silence);
    drop(peer.upgraded().await);
    relay.stopped().await;
}

#[tokio::test]
async fn the_suffixed_path_is_found_and_remembered() {
    let peer = Peer::bind().await;
    let found = Arc::new(Mutex::new(None));
    let save = Arc::clone(&found);
    let memory = PathMemory::new(|| None, move |style| *save.lock().unwrap() = Some(style));
    let relay = Relay::remembering(config(&format!("ws://{}", peer.address())), memory);
    let talk = peer.request().await;
    assert!(talk.request.contains("/TenantUpdates?"));
    talk.answer(404, "").await;
    let mut talk = peer.request().await;
    assert!(talk.request.contains("/TenantUpdates-acmecorp01-relay_a?"));
    talk.upgrade().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    assert_eq!(*found.lock().unwrap(), Some(PathStyle::Suffixed));
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn a_changed_token_file_is_tried_at_once() {
    let (peer, dir) = (Peer::bind().await, tempfile::tempdir().unwrap());
    let path = dir.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let mut config = config(&format!("ws://{}", peer.address()));
    config.token = Secret::file(&path);
    config.backoff.auth = crate::Backoffs::default().auth;
    let relay = Relay::start(config);
    peer.request()
        .await
        .answer(401, "WWW-Authenticate: Basic\r\n")
        .await;
    while relay.state() != SubscriptionState::BackingOff(BackOffCause::Auth) {
        tokio::task::yield_now().await;
    }
    let text = relay.boards[0].snapshot().last_error.unwrap();
    assert!(text.contains("401") && !text.contains("old"), "{text}");
    std::fs::write(&path, "new\n").unwrap();
    // Half a minute at least would pass without it, and a peer is patient for twenty seconds.
    let mut talk = peer.request().await;
    let basic = parse_basic(talk.header("Authorization").unwrap()).unwrap();
    assert_eq!(basic.password, "new");
    talk.upgrade().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    assert_eq!(relay.boards[0].snapshot().last_error, None);
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (peer, elsewhere) = (Peer::bind().await, Peer::bind().await);
    let relay = Relay::start(config(&format!("ws://{}", peer.address())));
    let location = format!("Location: http://{}/\r\n", elsewhere.address());
    peer.request().await.answer(302, &location).await;
    peer.request().await.answer(307, &location).await;
    let text = loop {
        if let Some(text) = relay.boards[0].snapshot().last_error {
            break text;
        }
        tokio::task::yield_now().await;
    };
    assert!(text.contains("redirect to 127.0.0.1"), "{text}");
    tokio::select! {
        biased;
        _leaked = elsewhere.stream() => panic!("it was followed"),
        _again = peer.request() => {}
    }
    let refused = relay.metrics.upstream_disconnects_total.clone();
    assert!(refused.with_label_values(&["relay_a", "refused"]).get() >= 2);
    relay.stopped().await;
}

#[tokio::test]
async fn stopping_during_a_handshake_is_immediate() {
    let (peer, relay) = start().await;
    let talk = peer.request().await;
    assert!(relay.stopped().await.is_empty());
    drop(talk);
}

#[tokio::test]
async fn a_panic_is_survived_and_the_lost_connection_is_told() {
    let (peer, relay) = start().await;
    relay.recorder.next(Trouble::Panic);
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    let (reason, text) = relay.recorder.end(0).await;
    assert_eq!(reason, DisconnectReason::Network);
    assert!(text.contains("panicked"), "{text}");
    assert_eq!(talk.heard().await, Heard::End);
    let mut talk = peer.upgraded().await;
    talk.text(&event(2)).await;
    relay.recorder.document(&event(2)).await;
    let restarts = &relay.metrics.task_restarts_total;
    assert_eq!(restarts.with_label_values(&["upstream", "panic"]).get(), 1);
    drop(talk);
    relay.stopped().await;
}

#[tokio::test]
async fn without_an_intake_it_leaves() {
    let (peer, relay) = start().await;
    relay.recorder.next(Trouble::Stopped);
    let mut talk = peer.upgraded().await;
    talk.text(&event(1)).await;
    assert_eq!(talk.heard().await, Heard::Close(1000));
    assert_eq!(soon(relay.task).await.unwrap(), Err(Stopped));
}

#[tokio::test]
async fn it_goes_through_a_proxy() {
    let (proxy, peer) = (Peer::bind().await, Peer::bind().await);
    let mut config = config(&format!("ws://{}", peer.address()));
    config.proxy = Some(
        format!("http://me:pass@{}", proxy.address())
            .parse()
            .unwrap(),
    );
    let relay = Relay::start(config);
    let refused = Talk::read(proxy.stream().await).await;
    refused.answer(407, "").await;
    let mut talk = Talk::read(proxy.stream().await).await;
    let target = peer.address();
    assert!(
        talk.request
            .starts_with(&format!("CONNECT {target} HTTP/1.1\r\n"))
    );
    assert!(!talk.request.contains(TOKEN) && talk.header("Authorization").is_none());
    let basic = parse_basic(talk.header("Proxy-Authorization").unwrap()).unwrap();
    assert_eq!(basic.password, "pass");
    talk.raw(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await;
    // The proxy is the peer now.
    let mut talk = Talk::read(talk.stream).await;
    talk.upgrade().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    drop(talk);
    relay.stopped().await;
}

/// A throwaway authority's certificate and key for `localhost`, and the authority's file.
fn authority(dir: &std::path::Path) -> (rustls::ServerConfig, TlsFiles) {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap();
    let ca_file = dir.join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let leaf = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec![name.to_owned()];
        let cert = rcgen::CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        (cert, key)
    };
    let (client, client_key) = leaf("relay");
    let (cert_file, key_file) = (dir.join("client.pem"), dir.join("client.key"));
    std::fs::write(&cert_file, client.pem()).unwrap();
    std::fs::write(&key_file, client_key.serialize_pem()).unwrap();
    let (server, server_key) = leaf("localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let server_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![server.der().clone()], server_key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let files = TlsFiles {
        ca_file: Some(ca_file),
        cert_file: Some(cert_file),
        key_file: Some(key_file),
    };
    (config, files)
}

#[tokio::test]
async fn tls_with_an_own_authority_and_a_client_certificate() {
    let (peer, dir) = (Peer::bind().await, tempfile::tempdir().unwrap());
    let (server, files) = authority(dir.path());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let mut config = config(&format!("wss://localhost:{}", peer.address().port()));
    config.tls = files;
    crate::probe(&config)
        .await
        .expect_err("nobody answers its TLS")
        .to_string();
    drop(peer.stream().await);
    let relay = Relay::start(config);
    let stream = soon(acceptor.accept(peer.stream().await)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(stream.get_ref().1.peer_certificates().is_some());
    let mut talk = Talk::read(stream).await;
    talk.upgrade().await;
    for n in 0..2000 {
        talk.text(&event(n)).await;
    }
    relay.recorder.document(&event(1999)).await;
    assert_eq!(relay.recorder.told().len(), 2001);
    relay.stop.cancel();
    assert_eq!(talk.heard().await, Heard::Close(1000));
    talk.close(1000).await;
    talk.stream.shutdown().await.ok();
    relay.stopped().await;
}

#[tokio::test]
async fn a_foreign_certificate_gets_no_token() {
    let (peer, dir) = (Peer::bind().await, tempfile::tempdir().unwrap());
    let (server, mut files) = authority(dir.path());
    let other = tempfile::tempdir().unwrap();
    files.ca_file = authority(other.path()).1.ca_file;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let mut config = config(&format!("wss://localhost:{}", peer.address().port()));
    config.tls = files;
    let relay = Relay::start(config);
    assert!(soon(acceptor.accept(peer.stream().await)).await.is_err());
    drop(peer.stream().await);
    let text = relay.boards[0].snapshot().last_error.unwrap();
    assert!(text.contains("TLS"), "{text}");
    assert!(relay.stopped().await.is_empty());
}

#[tokio::test]
async fn a_wrong_certificate_file_is_a_refusal_that_says_which() {
    let mut config = config("wss://localhost:1");
    let peer = Peer::bind().await;
    config.origin = format!("wss://localhost:{}", peer.address().port())
        .parse()
        .unwrap();
    config.tls.ca_file = Some("/nonexistent/ca.pem".into());
    let error = crate::probe(&config).await.unwrap_err();
    assert!(error.is_configuration);
    assert!(error.to_string().contains("ca_file"), "{error}");
}

#[tokio::test]
async fn several_subscriptions_have_one_socket_each() {
    let peer = Peer::bind().await;
    let mut config = config(&format!("ws://{}", peer.address()));
    config.subs_ids = vec!["a".into(), "b".into()];
    let relay = Relay::start(config);
    let mut first = peer.upgraded().await;
    assert!(first.request.contains("subsId=a"));
    let mut second = peer.upgraded().await;
    assert!(second.request.contains("subsId=b"));
    relay.recorder.until(|told| told.len() == 2).await;
    relay.stop.cancel();
    assert_eq!(first.heard().await, Heard::Close(1000));
    assert_eq!(second.heard().await, Heard::Close(1000));
    first.close(1000).await;
    second.close(1000).await;
    relay.stopped().await;
}

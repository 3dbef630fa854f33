//! What stands between a subscription and its upstream: paths, tokens, redirects, proxies.

use std::sync::{Arc, Mutex};

use relay_core::status::{BackOffCause, SubscriptionState};
use sapi_protocol::{PathStyle, parse_basic};

use super::harness::{Relay, TOKEN, config, event};
use super::peer::{Peer, Talk};
use crate::{PathMemory, Secret};

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
async fn a_token_of_a_reloaded_configuration_is_tried_at_once() {
    let peer = Peer::bind().await;
    let mut config = config(&format!("ws://{}", peer.address()));
    config.backoff.auth = crate::Backoffs::default().auth;
    let token = config.token.clone();
    let relay = Relay::start(config);
    peer.request().await.answer(403, "").await;
    token.replace(&Secret::literal("fresh"));
    let talk = peer.request().await;
    let basic = parse_basic(talk.header("Authorization").unwrap()).unwrap();
    assert_eq!(basic.password, "fresh");
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

/// What is logged, as bytes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_level_of_the_log_and_no_text_shows_a_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For all threads: the log of the tests beside this one has to keep secrets as well.
    tracing::subscriber::set_global_default(log).unwrap();
    let (proxy, peer) = (Peer::bind().await, Peer::bind().await);
    let mut config = config(&format!("ws://{}", peer.address()));
    let url = format!("http://me:proxypass@{}", proxy.address());
    config.proxy = Some(url.parse().unwrap());
    let shown = format!("{config:?}");
    let relay = Relay::start(config);
    for status in [401, 404, 404, 302, 503] {
        let mut talk = Talk::read(proxy.stream().await).await;
        talk.raw(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let talk = Talk::read(talk.stream).await;
        // A server that sends back what it was sent.
        let echo = talk.header("Authorization").unwrap().to_owned();
        let headers = format!("Location: http://x/?{TOKEN}\r\nX-Echo: {echo}\r\n");
        talk.answer(status, &headers).await;
    }
    let mut talk = Talk::read(proxy.stream().await).await;
    talk.raw(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let mut talk = Talk::read(talk.stream).await;
    let basic = talk.header("Authorization").unwrap().to_owned();
    talk.upgrade().await;
    talk.text(&event(1)).await;
    relay.recorder.document(&event(1)).await;
    talk.close(1008).await;
    relay.recorder.end(0).await;
    let told = relay.stopped().await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("401") && log.contains("connected upstream"),
        "{log}"
    );
    let basic = basic.trim_start_matches("Basic ");
    for secret in [TOKEN, basic, "proxypass"] {
        for text in [&log, &shown, &format!("{told:?}")] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

//! TLS: a certificate of the test's own.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use sapi_sim::{Config, Simulator};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::client::{Ask, bytes, made, start, within};

struct Served {
    sim: Simulator,
    trusted: CertificateDer<'static>,
    _dir: tempfile::TempDir,
}

async fn served(faults: &[&str]) -> Served {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = Config {
        tls: Some((cert, key)),
        ..Config::default()
    };
    Served {
        sim: start(config, faults).await,
        trusted: made.cert.der().clone(),
        _dir: dir,
    }
}

async fn handshake(served: &Served) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(served.trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(served.sim.addr()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn events_come_through_tls() {
    use futures_util::StreamExt;
    let served = served(&[]).await;
    let sim = &served.sim;
    assert!(sim.ws_url().starts_with("wss://"));
    let stream = handshake(&served).await.unwrap();
    let ask = Ask::new("a");
    let mut request = format!("wss://localhost{}", ask.path)
        .into_client_request()
        .unwrap();
    let authorization = ask.authorization.unwrap().parse().unwrap();
    request.headers_mut().insert("authorization", authorization);
    let (mut socket, _) = within(Box::pin(client_async(request, stream)))
        .await
        .unwrap();
    sim.emit(50);
    let mut received = Vec::new();
    while received.len() < 50 {
        received.push(within(socket.next()).await.unwrap().unwrap().into_data());
    }
    assert_eq!(received, bytes(&made(sim)));
}

#[tokio::test]
async fn a_reset_instead_of_a_server_hello() {
    let served = served(&["tls-reset"]).await;
    assert!(handshake(&served).await.is_err());
    assert_eq!(served.sim.fired("tls-reset"), 1);
}

#[tokio::test]
async fn a_certificate_that_is_none_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.pem");
    let config = Config {
        tls: Some((path.clone(), path.clone())),
        ..Config::default()
    };
    assert!(Simulator::start(config.clone()).await.is_err());
    std::fs::write(&path, "nonsense").unwrap();
    assert!(Simulator::start(config).await.is_err());
}

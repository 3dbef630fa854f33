//! The same faces over TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::fixture::{Fixture, config, number, soon};
use crate::tls::{ClientTls, ServerTls};

/// Writes a fresh certificate, its own CA.
fn certify(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn files(dir: &Path) -> ServerTls {
    ServerTls {
        cert_file: dir.join("cert.pem"),
        key_file: dir.join("key.pem"),
        ca_file: None,
    }
}

fn trusting(dir: &Path) -> TlsConnector {
    let tls = ClientTls {
        ca_file: Some(dir.join("cert.pem")),
        ..ClientTls::default()
    };
    TlsConnector::from(Arc::new(tls.load(RootCertStore::empty()).unwrap()))
}

async fn dial(relay: &Fixture, by: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(relay.addr).await.unwrap();
    soon(
        "a TLS handshake",
        by.connect(ServerName::try_from("localhost").unwrap(), tcp),
    )
    .await
}

async fn subscribe(
    relay: &Fixture,
    by: &TlsConnector,
    path: &str,
) -> WebSocketStream<TlsStream<TcpStream>> {
    let tls = dial(relay, by).await.unwrap();
    soon(
        "an upgrade",
        Box::pin(client_async(format!("wss://localhost{path}"), tls)),
    )
    .await
    .unwrap()
    .0
}

async fn json(peer: &mut WebSocketStream<TlsStream<TcpStream>>) -> serde_json::Value {
    let said = soon("a frame", futures_util::StreamExt::next(peer))
        .await
        .unwrap()
        .unwrap();
    serde_json::from_str(said.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn every_face_is_served_over_tls_and_a_reload_changes_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let mut config = config();
    config.tls = Some(files(dir.path()));
    let mut relay = Fixture::with(config, 1 << 20).await;
    let old = trusting(dir.path());
    let mut stream = subscribe(&relay, &old, "/v1/stream").await;
    let sapi =
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a";
    let mut first = subscribe(&relay, &old, sapi).await;
    relay.until_connected(2).await;
    relay.commit_padded("AgentStatusChange", 200, 3000).await;
    for n in 1..=200 {
        assert_eq!(number(&json(&mut stream).await["data"]), n);
        assert_eq!(number(&json(&mut first).await), n);
    }
    first.close(None).await.unwrap();
    drop(first);
    relay.until_connected(1).await;
    relay.commit("AgentStatusChange", 1).await;
    let mut second = subscribe(&relay, &old, sapi).await;
    assert_eq!(
        number(&json(&mut second).await),
        201,
        "the cursor counts what TLS has handed on"
    );
    let mut history = dial(&relay, &old).await.unwrap();
    history
        .write_all(
            b"GET /v1/history?limit=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answer = String::new();
    soon("history", history.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.contains("\"n\":1,"), "{answer}");

    certify(dir.path());
    dial(&relay, &old).await.unwrap();
    relay.tls.clone().unwrap().reload().unwrap();
    assert!(
        dial(&relay, &old).await.is_err(),
        "the old certificate is not shown any more"
    );
    dial(&relay, &trusting(dir.path())).await.unwrap();
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(number(&json(&mut stream).await["data"]), 201);
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    let text = relay.tls.clone().unwrap().reload().unwrap_err().to_string();
    assert!(text.contains("key.pem"), "{text}");
    dial(&relay, &trusting(dir.path())).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_where_a_ca_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let mut config = config();
    config.tls = Some(ServerTls {
        ca_file: Some(dir.path().join("cert.pem")),
        ..files(dir.path())
    });
    let relay = Fixture::with(config, 1 << 20).await;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let get = async |by: &TlsConnector| {
        let mut tls = dial(&relay, by).await?;
        tls.write_all(request).await?;
        let mut answer = String::new();
        soon("an answer", tls.read_to_string(&mut answer)).await?;
        Ok::<_, std::io::Error>(answer)
    };
    assert!(
        get(&trusting(dir.path())).await.is_err(),
        "no certificate was shown"
    );
    let showing = ClientTls {
        ca_file: Some(dir.path().join("cert.pem")),
        cert_file: Some(dir.path().join("cert.pem")),
        key_file: Some(dir.path().join("key.pem")),
    };
    let showing = TlsConnector::from(Arc::new(showing.load(RootCertStore::empty()).unwrap()));
    assert!(get(&showing).await.unwrap().contains("sapi-relay"));
    let half = ClientTls {
        key_file: Some(dir.path().join("key.pem")),
        ..ClientTls::default()
    };
    assert!(half.load(RootCertStore::empty()).is_err());
}

//! TLS against a throwaway authority.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;

use super::harness::{Relay, config, event};
use super::peer::{Heard, Peer, Talk, soon};
use crate::TlsFiles;

/// A throwaway authority's certificate and key for `localhost`, and the authority's file.
fn authority(dir: &Path) -> (rustls::ServerConfig, TlsFiles) {
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
    let accept = async { acceptor.accept(peer.stream().await).await };
    let (probed, accepted) = tokio::join!(crate::probe(&config), soon(accept));
    probed.unwrap();
    drop(accepted.unwrap());
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

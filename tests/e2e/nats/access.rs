//! Who the relay is, and TLS, each against the real server.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use relay_core::contract::Relay;
use relay_core::sink::Next;
use relay_core::status::SinkState;
use relay_sinks::Secret;
use relay_sinks::nats::{Auth, Config, Tls, probe};
use relay_sinks::tls::ClientTls;
use relay_tests::servers::certificates::Certificates;
use relay_tests::servers::nats::NatsServer;
use relay_tests::{install_crypto, soon};
use serde_json::{Value, json};

use super::fixture::{Plain, config};

/// The sink delivers, and the probe is content.
async fn delivers(config: &Config) {
    install_crypto();
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone(), relay.source()));
    relay.commit_many(20).await;
    soon("every acknowledgement", relay.settled(&sink)).await;
    sink.stop().await;
    soon("a probe", probe(config)).await.unwrap();
}

/// The sink is blocked, and the probe says why; both name what to do.
async fn refused(config: &Config, words: &str, remedy: &str) {
    install_crypto();
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone(), relay.source()));
    relay.commit(&["ada"]).await;
    soon(
        "a block",
        sink.wait_for(|status| status.state == SinkState::Blocked),
    )
    .await;
    let error = sink.status().last_error.unwrap();
    let failure = soon("a probe", probe(config)).await.unwrap_err();
    assert_eq!(failure.next, Next::Blocked);
    for (text, todo) in [(error.text, error.remedy), (failure.text, failure.remedy)] {
        assert!(text.contains(words), "{words:?} in {text:?}");
        assert!(todo.contains(remedy), "{remedy:?} in {todo:?}");
    }
}

fn literal(text: &str) -> Secret {
    Secret::Literal(text.to_owned())
}

#[tokio::test]
async fn a_user_with_a_password() {
    let server =
        NatsServer::start_with("authorization { user: relay, password: \"s3cret\" }").await;
    let mut config = config(&server);
    refused(&config, "uthorization", "user and password, token").await;
    config.auth = Auth::User("relay".to_owned(), literal("s3cret"));
    delivers(&config).await;
    config.auth = Auth::User("relay".to_owned(), literal("wrong"));
    refused(&config, "uthorization", "user and password").await;
    config.auth = Auth::User("relay".to_owned(), Secret::File("/nowhere/password".into()));
    refused(&config, "/nowhere/password", "password_file").await;
}

#[tokio::test]
async fn a_token() {
    let server = NatsServer::start_with("authorization { token: \"t0ken\" }").await;
    let mut config = config(&server);
    config.auth = Auth::Token(literal("t0ken"));
    delivers(&config).await;
    config.auth = Auth::Token(literal("other"));
    refused(&config, "uthorization", "token_file").await;
}

#[tokio::test]
async fn an_nkey() {
    let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
    let settings = format!(
        "authorization {{ users = [{{ nkey: {} }}] }}",
        key.public_key()
    );
    let server = NatsServer::start_with(&settings).await;
    let mut config = config(&server);
    config.auth = Auth::Nkey(literal(&key.seed().unwrap()));
    delivers(&config).await;
    config.auth = Auth::Nkey(literal(&other.seed().unwrap()));
    refused(&config, "uthorization", "nkey_file").await;
    config.auth = Auth::Nkey(literal("SUNOSEED"));
    refused(&config, "no seed", "nkey_file").await;
}

/// A JWT as NATS signs them.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": "relay-tests", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "relay",
        "sub": subject.public_key(), "nats": nats,
    });
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&head), encode(&claims));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_credentials_file() {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let limits = |jetstream: i32| {
        json!({
            "type": "account", "version": 2,
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
                "leaf": -1, "mem_storage": jetstream, "disk_storage": jetstream, "streams": jetstream,
                "consumer": jetstream,
            },
        })
    };
    let operator_jwt = jwt(
        &operator,
        &operator,
        &json!({"type": "operator", "version": 2}),
    );
    let settings = format!(
        "operator: {operator_jwt}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        system.public_key(),
        system.public_key(),
        jwt(&operator, &system, &limits(0)),
        account.public_key(),
        jwt(&operator, &account, &limits(-1)),
    );
    let server = NatsServer::start_with(&settings).await;
    let grants = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let file = |seed: &KeyPair| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(&account, &user, &grants),
            seed.seed().unwrap()
        )
    };
    let path = server.home().join("relay.creds");
    std::fs::write(&path, file(&user)).unwrap();
    let mut config = config(&server);
    config.auth = Auth::Creds(path.clone());
    delivers(&config).await;
    std::fs::write(&path, file(&KeyPair::new_user())).unwrap();
    refused(&config, "uthorization", "creds_file").await;
    std::fs::write(&path, "nothing").unwrap();
    refused(&config, "no credentials file", "creds_file").await;
}

/// The server's `tls` section.
fn settings(certificates: &Certificates, more: &str) -> String {
    let file = |name: &str| Path::display(&certificates.file(name)).to_string();
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, {more} }}",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    )
}

fn tls(files: ClientTls, handshake_first: bool) -> Option<Tls> {
    Some(Tls {
        files,
        handshake_first,
    })
}

#[tokio::test]
async fn tls_with_an_own_ca() {
    let certificates = Certificates::new();
    let server = NatsServer::start_with(&settings(&certificates, "")).await;
    let mut config = config(&server);
    refused(&config, "certificate", "tls.ca_file").await;
    config.tls = tls(certificates.client(false), false);
    delivers(&config).await;
    let others = Certificates::new();
    config.tls = tls(others.client(false), false);
    refused(&config, "certificate", "tls.ca_file").await;
}

#[tokio::test]
async fn tls_with_a_client_certificate() {
    let certificates = Certificates::new();
    let server = NatsServer::start_with(&settings(&certificates, "verify: true")).await;
    let mut config = config(&server);
    config.servers = vec![format!("tls://{}", server.address())];
    config.tls = tls(certificates.client(true), false);
    delivers(&config).await;
    config.tls = tls(certificates.client(false), false);
    refused(&config, "ertificate", "tls.cert_file").await;
}

#[tokio::test]
async fn tls_before_the_first_line() {
    let certificates = Certificates::new();
    let server = NatsServer::start_with(&settings(&certificates, "handshake_first: true")).await;
    let mut config = config(&server);
    config.tls = tls(certificates.client(false), true);
    delivers(&config).await;
}

//! Who the relay is, what it may do, TLS, and an exchange that is not as it should be.

use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use relay_core::contract::{Peer as _, Relay};
use relay_core::sink::{Delivery, Next, Outcomes, Sink as _};
use relay_core::status::SinkState;
use relay_core::{Limit, Offset};
use relay_sinks::Secret;
use relay_sinks::rabbitmq::{Config, probe};
use relay_sinks::tls::ClientTls;
use relay_tests::servers::certificates::Certificates;
use relay_tests::servers::rabbitmq::{Client, url};
use relay_tests::soon;

use super::fixture::{Place, Plain, config, name, shared};

/// The sink delivers, and the probe is content.
async fn delivers(config: &Config) {
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone()));
    relay.commit_many(20).await;
    soon("every confirmation", relay.settled(&sink)).await;
    sink.stop().await;
    soon("a probe", probe(config)).await.unwrap();
}

/// The sink is blocked, with what happened and what to do.
async fn blocked(config: &Config, words: &str, remedy: &str) {
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone()));
    relay.commit(&["ada"]).await;
    let stopped = sink.wait_for(|status| status.state == SinkState::Blocked);
    let error = soon("a block", stopped).await.last_error.unwrap();
    assert!(error.text.contains(words), "{words:?} in {error:?}");
    assert!(error.remedy.contains(remedy), "{remedy:?} in {error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// The same, and the probe says it too.
async fn refused(config: &Config, words: &str, remedy: &str) {
    blocked(config, words, remedy).await;
    let failure = soon("a probe", probe(config)).await.unwrap_err();
    assert_eq!(failure.next, Next::Blocked);
    assert!(failure.text.contains(words), "{words:?} in {failure:?}");
    assert!(failure.remedy.contains(remedy), "{remedy:?} in {failure:?}");
}

#[tokio::test]
async fn wrong_credentials_and_a_missing_virtual_host() {
    let place = Place::new(&["#"]).await;
    let (right, server) = (place.config().await, &shared().await.server);
    let at = |url: String| Config {
        url: Secret::Literal(url),
        ..right.clone()
    };
    let wrong = at(server.url("guest", "hunter2", ""));
    refused(&wrong, "refuses user \"guest\"", "user and password in url").await;
    let nowhere = at(server.url("guest", "guest", "nowhere"));
    refused(&nowhere, "virtual host \"nowhere\"", "add_vhost").await;
    // The URL is read again at each connect: a password that is mended is taken up.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("url");
    std::fs::write(&file, server.url("guest", "hunter2", "")).unwrap();
    let relay = Relay::new();
    let sink = relay.start(&Plain(Config {
        url: Secret::File(file.clone()),
        ..right.clone()
    }));
    relay.commit_many(5).await;
    let stopped = sink.wait_for(|status| status.state == SinkState::Blocked);
    soon("a block", stopped).await;
    std::fs::write(&file, server.url("guest", "guest", "")).unwrap();
    soon("every confirmation", relay.settled(&sink)).await;
    assert_eq!(place.client.depth(&place.name).await, 5);
}

#[tokio::test]
async fn a_user_who_may_not_write_or_declare() {
    let place = Place::new(&["#"]).await;
    let (right, server) = (place.config().await, &shared().await.server);
    server.ctl(&["add_user", "reader", "hunter2"]).await;
    server
        .ctl(&["set_permissions", "reader", "", "", ".*"])
        .await;
    let reader = Config {
        url: Secret::Literal(server.url("reader", "hunter2", "")),
        ..right
    };
    // Only an event shows it: the probe publishes none.
    blocked(&reader, "may not publish to exchange", "set_permissions").await;
    let declaring = Config {
        declare: true,
        exchange: name(),
        ..reader
    };
    blocked(&declaring, "may not make exchange", "set declare = false").await;
}

async fn fanout(client: &Client, exchange: &str) {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let fanout = ExchangeKind::Fanout;
    let made =
        client
            .channel
            .exchange_declare(exchange.into(), fanout, options, FieldTable::default());
    made.await.unwrap();
}

#[tokio::test]
async fn an_exchange_that_is_missing_or_of_another_kind() {
    let server = &shared().await.server;
    let client = server.client().await;
    let exchange = name();
    let found = Config {
        exchange: exchange.clone(),
        declare: false,
        ..config(server.url("guest", "guest", ""))
    };
    let missing = format!("there is no exchange {exchange:?}");
    refused(&found, &missing, "set declare = true").await;
    let declared = Config {
        declare: true,
        ..found.clone()
    };
    // The probe makes nothing, and takes what the sink would make for right.
    soon("a probe", probe(&declared)).await.unwrap();
    refused(&found, &missing, "set declare = true").await;

    fanout(&client, &exchange).await;
    client.queue(&exchange, &exchange, &[""]).await;
    blocked(
        &declared,
        "is no durable topic exchange",
        "set declare = false",
    )
    .await;
    delivers(&found).await;
    assert_eq!(client.depth(&exchange).await, 20);
}

#[tokio::test]
async fn tls_with_an_own_authority() {
    let place = Place::new(&["#"]).await;
    let (right, shared) = (place.config().await, shared().await);
    let (plain, secure) = (shared.server.address(), shared.server.tls_address());
    let at = |address, tls| Config {
        url: Secret::Literal(url(address, "guest", "guest", "").replacen("amqp", "amqps", 1)),
        tls,
        ..right.clone()
    };
    delivers(&at(secure, shared.certificates.client(false))).await;
    assert_eq!(place.contents().await.len(), 20);
    // With a certificate of its own, where the broker asks for none.
    delivers(&at(secure, shared.certificates.client(true))).await;
    let strange = Certificates::new();
    let distrust = at(secure, strange.client(false));
    refused(&distrust, "certificate", "check tls.ca_file").await;
    let platform = at(secure, ClientTls::default());
    refused(&platform, "certificate", "check tls.ca_file").await;
    let nothing = ClientTls {
        ca_file: Some(strange.file("nothing.pem")),
        ..ClientTls::default()
    };
    refused(&at(secure, nothing), "nothing.pem", "check tls.ca_file").await;
    let plain = at(plain, shared.certificates.client(false));
    refused(&plain, "TLS", "that the port speaks TLS").await;
}

/// A delivery of everything there is.
async fn whole(relay: &Relay) -> Delivery {
    let mut reader = relay.core.bus.reader_after(Offset(0));
    let limit = Limit {
        events: usize::MAX,
        bytes: usize::MAX,
    };
    let batch = reader.next_batch(limit).await.unwrap();
    let upto = batch.upto();
    Delivery {
        selected: (0..).zip(batch.events()).map(|(index, _)| index).collect(),
        batch,
        upto,
        again: false,
    }
}

/// The broker closes the channel while most of the delivery is still to be published.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_delivery_of_a_user_who_may_not_write() {
    let place = Place::new(&["#"]).await;
    let (right, server) = (place.config().await, &shared().await.server);
    server.ctl(&["add_user", "looker", "hunter2"]).await;
    server
        .ctl(&["set_permissions", "looker", "", "", ".*"])
        .await;
    let looker = Config {
        url: Secret::Literal(server.url("looker", "hunter2", "")),
        ..right
    };
    let relay = Relay::roomy();
    relay.commit_many(2_000).await;
    let delivery = whole(&relay).await;
    assert!(delivery.len() > 100, "{} events", delivery.len());
    let mut sink = Plain(looker).sink()();
    for _attempt in 0..20 {
        sink.connect().await.unwrap();
        let failure = match sink.deliver(delivery.clone()).await {
            Err(failure) => failure,
            Ok(answer) => match soon("an answer", answer).await {
                Outcomes::Partly(_, failure) | Outcomes::Failed(failure) => failure,
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(failure.next, Next::Blocked, "{failure:?}");
        assert!(failure.remedy.contains("set_permissions"), "{failure:?}");
    }
}

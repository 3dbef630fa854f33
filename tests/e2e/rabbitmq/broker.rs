//! What only a broker of one's own shows: alarms, limits, credentials, a kill with its data.

use lapin::options::BasicGetOptions;
use relay_core::contract::{Fault, Peer, Relay, Seen};
use relay_core::status::SinkState;
use relay_sinks::rabbitmq::{Config, RabbitMq, Unroutable};
use relay_sinks::template::Template;
use relay_sinks::tls::ClientTls;
use relay_sinks::{Format, Secret};
use relay_tests::servers::rabbitmq::{Client, RabbitServer};
use relay_tests::soon;

/// A sink of a broker; the test looks for itself.
struct Broker(Config);

impl Broker {
    fn new(url: String) -> Self {
        Self(Config {
            name: "lake".to_owned(),
            tenant: "acme".to_owned(),
            url: Secret::Literal(url),
            exchange: "sapi".to_owned(),
            declare: true,
            routing_key: Template::confined("{class}.{type}").unwrap(),
            unroutable: Unroutable::Reject,
            tls: ClientTls::default(),
            format: Format::Binary,
        })
    }
}

impl Peer for Broker {
    type Sink = RabbitMq;

    fn sink(&self) -> impl FnMut() -> RabbitMq + Send + 'static {
        let (config, source) = (self.0.clone(), Relay::new().source());
        move || RabbitMq::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        Vec::new()
    }

    async fn inject(&self, _fault: Fault) -> bool {
        false
    }

    async fn mend(&self) {}
}

async fn reasons(relay: &Relay) -> Vec<String> {
    let letters = relay.core.dead_letters.list(None, None, 100).await.unwrap();
    letters
        .items
        .iter()
        .map(|letter| letter.reason.clone())
        .collect()
}

/// How many bodies wait in the queue, and how they are kept.
async fn bodies(client: &Client, queue: &str) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let take = BasicGetOptions { no_ack: true };
    while let Some(message) = client.channel.basic_get(queue.into(), take).await.unwrap() {
        assert_eq!(*message.properties.delivery_mode(), Some(2), "persistent");
        bodies.push(message.delivery.data.clone());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_too_large_is_found_and_the_rest_delivered() {
    let server = RabbitServer::start_with("max_message_size = 4000").await;
    let client = server.client().await;
    client.exchange("sapi").await;
    client.queue("all", "sapi", &["#"]).await;
    let relay = Relay::new();
    let sink = relay.start(&Broker::new(server.url("guest", "guest", "")));
    let large = "x".repeat(5_000);
    let keys = ["ada", "ben", &large, "cleo", "ada", &large, "dan"];
    relay.commit(&keys).await;
    soon("the rest", relay.settled(&sink)).await;
    let reasons = reasons(&relay).await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons
            .iter()
            .all(|reason| reason.contains("max_message_size of 4000")),
        "{reasons:?}"
    );
    let bodies = bodies(&client, "all").await;
    assert!(bodies.len() >= 5, "five events, perhaps repeated");
    assert!(bodies.iter().all(|body| body.len() < 4_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_said_and_waited_for() {
    let server = RabbitServer::start().await;
    let client = server.client().await;
    client.exchange("sapi").await;
    client.queue("all", "sapi", &["#"]).await;
    let relay = Relay::new();
    let sink = relay.start(&Broker::new(server.url("guest", "guest", "")));
    relay.commit_many(10).await;
    soon("the first events", relay.settled(&sink)).await;
    server
        .ctl(&["set_vm_memory_high_watermark", "0.0000001"])
        .await;
    let said = |status: &relay_core::worker::SinkStatus| {
        let error = status.last_error.as_ref();
        error.is_some_and(|error| error.text.contains("connection.blocked"))
            && status.state == SinkState::Retrying
    };
    // The broker tells a publisher only when it publishes.
    let telling = async {
        loop {
            relay.commit_many(5).await;
            tokio::task::yield_now().await;
            if said(&sink.status()) {
                return;
            }
        }
    };
    soon("the alarm in the status", telling).await;
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    soon("the rest", relay.settled(&sink)).await;
    sink.wait_for(|status| status.state == SinkState::Running)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "beside the other tests the broker does not come back in a minute: see why"]
async fn a_killed_broker_and_wrong_credentials() {
    let mut server = RabbitServer::start().await;
    let relay = Relay::new();
    let wrong = relay.start(&Broker::new(server.url("guest", "hunter2", "")));
    let status = soon(
        "the refusal",
        wrong.wait_for(|status| status.state == SinkState::Blocked),
    )
    .await;
    let error = status.last_error.unwrap();
    assert!(error.text.contains("refuses user \"guest\""), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    wrong.stop().await;

    let client = server.client().await;
    client.exchange("sapi").await;
    client.queue("all", "sapi", &["#"]).await;
    drop(client);
    let sink = relay.start(&Broker::new(server.url("guest", "guest", "")));
    let mut sent = relay.commit_many(50).await.len();
    soon("the first events", relay.settled(&sink)).await;
    let client = server.client().await;
    assert_eq!(client.depth("all").await, 50);
    assert_eq!(reasons(&relay).await, Vec::<String>::new());
    server.kill();
    sent += relay.commit_many(50).await.len();
    soon(
        "the absence in the status",
        sink.wait_for(|status| status.state == SinkState::Retrying),
    )
    .await;
    server.restart().await;
    soon("the rest", relay.settled(&sink)).await;
    let bodies = bodies(&server.client().await, "all").await;
    let refused = reasons(&relay).await;
    assert!(
        bodies.len() >= sent,
        "{} of {sent}, refused {refused:?}",
        bodies.len()
    );
}

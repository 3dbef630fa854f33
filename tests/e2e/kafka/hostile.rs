//! What events from elsewhere can do to topics and keys: nothing to the first, anything to the second.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::consumer::{BaseConsumer, Consumer};
use relay_tests::Relay;
use relay_tests::ledger::emitted;
use relay_tests::relay::{Setup, offset};
use relay_tests::servers::kafka::{self, KafkaServer};
use serde_json::Value;

use super::records;

/// As JSON writes them.
const HOSTILE: [&str; 10] = [
    "a.b.c",
    "..",
    "../x",
    " ",
    "\\r\\nx",
    "\\u0000",
    "ä→𝄞",
    "\\\"",
    "{key}",
    "__consumer_offsets",
];

async fn quiet() -> sapi_sim::Simulator {
    let config = sapi_sim::Config {
        rate: 0.0,
        wait_clients: 1,
        ..sapi_sim::Config::default()
    };
    sapi_sim::Simulator::start(config).await.unwrap()
}

/// The topics that there are, save Kafka's own.
async fn topics(server: &KafkaServer) -> BTreeSet<String> {
    let config = server.client();
    let asking = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer
            .fetch_metadata(None, relay_tests::PATIENCE)
            .unwrap();
        let names = metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned());
        names.filter(|name| !name.starts_with("__")).collect()
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

fn sink<'a>(status: &'a Value, name: &str) -> &'a Value {
    let sinks = status["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_confined_and_keys_are_not() {
    if !kafka::is_there() {
        return;
    }
    let server = KafkaServer::start_with("num.partitions=1").await;
    let simulator = quiet().await;
    let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    let common = format!(
        "type = \"kafka\"\nbrokers = [\"{}\"]\nstart_from = \"earliest\"\nretry_max = \"500ms\"\n",
        server.address()
    );
    // In the second, which names its topics as badly as it may, an event can even name that of cursors.
    setup.more = format!(
        "[sinks.lake]\n{common}topic = \"sapi.{{tenant}}.{{class}}.{{type}}\"\n\
         [sinks.bare]\n{common}topic = \"{{class}}\"\nexactly_once = true\n",
    );
    let relay = Relay::start(&setup).await;
    // A new subscription starts at now.
    relay
        .status_where("a subscription", |status| {
            status["subscriptions"][0]["state"] == "streaming"
        })
        .await;
    let mut keys = Vec::new();
    for value in HOSTILE {
        let event = format!(
            "{{\"Interaction\":{{\"event\":\"{value}\",\"interactionGUID\":\"{value}\"}}}}"
        );
        simulator.emit_raw("Interaction", event);
        let key: String = serde_json::from_str(&format!("\"{value}\"")).unwrap();
        keys.push(key);
    }
    let long = "x".repeat(300);
    for class in [
        "__consumer_offsets",
        "sapi-relay-cursors",
        long.as_str(),
        "a.b",
    ] {
        let event = format!("{{\"{class}\":{{\"agentId\":\"ada\"}}}}");
        simulator.emit_raw("Other", event);
    }
    let count = emitted(&simulator).len();
    assert_eq!(count, HOSTILE.len() + 4);
    relay
        .status_where("everything delivered", |status| {
            // The first is the notice of the connection.
            let all = offset(&status["journal"]["last"]) > count as u64;
            let done = |name| sink(status, name)["lag_events"] == 0;
            all && done("lake") && done("bare")
        })
        .await;

    let found = topics(&server).await;
    let mut of_lake = BTreeMap::new();
    let tame = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !part.is_empty() && part.chars().all(fits)
    };
    for topic in &found {
        if let Some(rest) = topic.strip_prefix("sapi.acmecorp01.") {
            let parts: Vec<_> = rest.split('.').collect();
            assert!(
                parts.len() == 2 && parts.iter().all(|part| tame(part)),
                "{topic}"
            );
            of_lake.insert(topic, records::all(&server, topic).await);
        } else {
            assert!(tame(topic), "{topic}");
        }
    }
    let delivered: Vec<_> = of_lake.values().flatten().collect();
    // The long one has no topic; of the other classes, each has one.
    assert_eq!(delivered.len(), count - 1, "{:?}", of_lake.keys());
    let mut found_keys: Vec<_> = delivered.iter().map(|record| record.key.as_str()).collect();
    found_keys.retain(|key| *key != "ada");
    found_keys.sort_unstable();
    keys.sort_unstable();
    assert_eq!(found_keys, keys);
    for record in delivered {
        assert!(
            emitted(&simulator)
                .iter()
                .any(|event| *event == record.value)
        );
    }

    // What would have gone to Kafka's own topic, or among the cursors, went nowhere.
    let rejected = async |name: &str| {
        let series = format!("sapi_relay_sink_rejected_total{{sink=\"{name}\"}}");
        relay.metric(&series).await
    };
    assert_eq!(rejected("lake").await, Some(1.0));
    assert_eq!(rejected("bare").await, Some(3.0));
    let url = relay.admin("/v1/dead-letters?sink=bare").await;
    let letters = relay_tests::http::get(&url).await.unwrap();
    let letters: Value = letters.json().await.unwrap();
    let letters = letters["items"].as_array().unwrap().iter();
    let reasons: Vec<_> = letters.map(|one| one["reason"].as_str().unwrap()).collect();
    for words in ["are Kafka's own", "holds the cursors", "300 characters"] {
        assert!(
            reasons.iter().any(|reason| reason.contains(words)),
            "{reasons:?}"
        );
    }
    for record in records::all(&server, "sapi-relay-cursors").await {
        assert_eq!(record.key, "acmecorp01/bare");
    }
    assert_eq!(records::all(&server, "a_b").await.len(), 1);
    assert!(relay.terminate().await.success());
}

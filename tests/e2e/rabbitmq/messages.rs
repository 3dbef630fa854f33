//! What an event looks like in RabbitMQ, where it may go, and which ones are refused.

use std::collections::BTreeSet;

use relay_core::contract::Relay;
use relay_sinks::Format;
use relay_sinks::rabbitmq::{Config, Unroutable};
use relay_sinks::template::Template;
use relay_tests::soon;

use super::fixture::{LARGEST, Place, Plain, header, reasons};

/// Delivers events of keys until all are settled, and tells why some were refused.
async fn deliver(config: Config, keys: &[&str]) -> Vec<String> {
    let relay = Relay::new();
    let sink = relay.start(&Plain(config));
    relay.commit(keys).await;
    soon("everything settled", relay.settled(&sink)).await;
    reasons(&relay).await
}

#[tokio::test]
async fn binary_events_have_their_attributes_in_headers() {
    let place = Place::new(&["#"]).await;
    let refused = deliver(place.config().await, &["ada ä"]).await;
    assert_eq!(refused, Vec::<String>::new());
    let found = place.contents().await;
    let event = &found[0];
    let id = "acme:i:1:1000001";
    // The values stand as they are: AMQP's strings are UTF-8.
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", id),
        ("source", "urn:8x8:cc:acme"),
        ("type", "com.8x8.cc.AgentStatusChange"),
        ("subject", "ada ä"),
        ("partitionkey", "ada ä"),
        ("sequence", "00000000000000000001"),
        ("sapisequence", "1"),
        ("sapiinstance", "i"),
    ] {
        let name = format!("cloudEvents:{name}");
        let found = header(&event.properties, &name);
        assert_eq!(found, Some(value.as_bytes()), "{name}");
    }
    for name in ["cloudEvents:time", "cloudEvents:relaycursor"] {
        assert!(header(&event.properties, name).is_some(), "{name}");
    }
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let properties = &event.properties;
    assert_eq!(text(properties.message_id()).as_deref(), Some(id));
    let kind = text(properties.content_type());
    assert_eq!(kind.as_deref(), Some("application/json"));
    let kind = text(properties.kind());
    assert_eq!(kind.as_deref(), Some("com.8x8.cc.AgentStatusChange"));
    assert_eq!(text(properties.app_id()).as_deref(), Some("sapi-relay"));
    // Seconds, as AMQP counts.
    assert!(
        properties
            .timestamp()
            .is_some_and(|time| time < 100_000_000_000)
    );
    assert_eq!(
        event.routing_key.as_str(),
        "AgentStatusChange.AgentStatusChange"
    );
    assert!(event.data.starts_with(b"{\"AgentStatusChange\""));
}

#[tokio::test]
async fn structured_events_are_whole_in_the_body() {
    let place = Place::new(&["#"]).await;
    let config = Config {
        format: Format::Structured,
        ..place.config().await
    };
    deliver(config, &["ada"]).await;
    let found = place.contents().await;
    let properties = &found[0].properties;
    let kind = properties.content_type().as_ref().unwrap();
    assert_eq!(kind.as_str(), "application/cloudevents+json; charset=UTF-8");
    assert!(properties.headers().is_none(), "{properties:?}");
    let id = properties.message_id().as_ref().unwrap();
    assert_eq!(id.as_str(), "acme:i:1:1000001");
    let event: serde_json::Value = serde_json::from_slice(&found[0].data).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], "acme:i:1:1000001");
    assert_eq!(event["data"]["AgentStatusChange"]["agentId"], "ada");
}

#[tokio::test]
async fn hostile_values_stay_in_their_word_of_the_routing_key() {
    let place = Place::new(&["sapi.#"]).await;
    let trap = format!("{}.trap", place.name);
    for key in [
        "admin.#",
        "*.admin.#",
        "*.*.admin.#",
        "*.*.*.*.#",
        "*",
        "*.*",
    ] {
        place.client.queue(&trap, &place.name, &[key]).await;
    }
    let config = Config {
        routing_key: Template::confined("sapi.{key}.{class}").unwrap(),
        ..place.config().await
    };
    let keys = [
        "admin.x", "a.admin", "#", "*", ".", "a b", "ключ", "x/../y", "a\u{1f}b", "\u{2024}",
    ];
    // As JSON has them.
    let escaped = keys.map(|key| serde_json::to_string(key).unwrap());
    let escaped: Vec<_> = escaped.iter().map(|key| key.trim_matches('"')).collect();
    assert_eq!(deliver(config, &escaped).await, Vec::<String>::new());
    let found = place.contents().await;
    let routing: Vec<_> = found.iter().map(|one| one.routing_key.as_str()).collect();
    let words = [
        "admin_x", "a_admin", "_", "_", "_", "a_b", "____", "x____y", "a_b", "_",
    ];
    let wanted = words.map(|word| format!("sapi.{word}.AgentStatusChange"));
    assert_eq!(routing, wanted);
    assert_eq!(
        place.client.depth(&trap).await,
        0,
        "nothing leads elsewhere"
    );
}

/// Nothing goes to the broker for them, and the cursor passes them all the same.
#[tokio::test]
async fn events_whose_routing_key_is_too_long_are_refused_alone() {
    let place = Place::new(&["#"]).await;
    let config = Config {
        routing_key: Template::confined("{key}").unwrap(),
        ..place.config().await
    };
    let (long, longest) = ("x".repeat(256), "y".repeat(255));
    let relay = Relay::new();
    let sink = relay.start(&Plain(config));
    // A round of its own each, the last one too.
    for key in [&*long, "ada", &longest, &long] {
        relay.commit(&[key]).await;
        soon("an event settled", relay.settled(&sink)).await;
    }
    let refused = reasons(&relay).await;
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[0].contains("routing key has 256 bytes"),
        "{refused:?}"
    );
    let found = place.contents().await;
    let routing: Vec<_> = found.iter().map(|one| one.routing_key.as_str()).collect();
    assert_eq!(routing, ["ada", &longest]);
}

/// Those and no others, however the broker groups its confirmations.
#[tokio::test]
async fn an_event_that_leads_to_no_queue_is_refused_or_dropped_as_configured() {
    let place = Place::new(&["ada", "ben"]).await;
    let keys: Vec<_> = ["ada", "nobody", "ben", "ben", "nobody"]
        .into_iter()
        .cycle()
        .take(300)
        .collect();
    for unroutable in [Unroutable::Reject, Unroutable::Ignore] {
        let config = Config {
            routing_key: Template::confined("{key}").unwrap(),
            unroutable,
            ..place.config().await
        };
        let relay = Relay::new();
        let sink = relay.start(&Plain(config));
        let sent = relay.commit(&keys).await;
        soon("everything settled", relay.settled(&sink)).await;
        let letters = relay
            .core
            .dead_letters
            .list(None, None, 1000)
            .await
            .unwrap();
        // Rounds that are confirmed together land in any order.
        let refused: BTreeSet<_> = letters
            .items
            .iter()
            .map(|letter| letter.event_id.clone().unwrap())
            .collect();
        assert_eq!(refused.len(), letters.items.len(), "each once");
        let nobodies = sent.iter().zip(&keys).filter(|(_, key)| **key == "nobody");
        let ids = nobodies.map(|(number, _)| format!("acme:i:{number}:{}", 1_000_000 + number));
        match unroutable {
            Unroutable::Reject => assert_eq!(refused, ids.collect()),
            Unroutable::Ignore => assert_eq!(refused, BTreeSet::new()),
        }
        for letter in &letters.items {
            let words = [&*place.name, "\"nobody\"", "NO_ROUTE", "alternate-exchange"];
            let named = words.iter().all(|word| letter.reason.contains(word));
            assert!(named, "{}", letter.reason);
        }
        let found = place.contents().await;
        let routing: Vec<_> = found.iter().map(|one| one.routing_key.as_str()).collect();
        let led: Vec<_> = keys.iter().filter(|key| **key != "nobody").collect();
        assert!(routing.iter().eq(led), "{routing:?}");
        sink.stop().await;
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_found_and_the_rest_delivered() {
    let place = Place::new(&["#"]).await;
    let large = ["x", "y", "z"].map(|key| key.repeat(LARGEST + 1000));
    let [x, y, z] = &large;
    let keys = ["ada", "ben", x, "cleo", "ada", y, "dan", z];
    let refused = deliver(place.config().await, &keys).await;
    assert_eq!(refused.len(), 3, "{refused:?}");
    let limit = format!("max_message_size of {LARGEST}");
    let named = |reason: &String| reason.contains(&limit) && reason.contains("raise that");
    assert!(refused.iter().all(named), "{refused:?}");
    let found = place.contents().await;
    let small = |key: &str| {
        found
            .iter()
            .any(|one| memchr::memmem::find(&one.data, key.as_bytes()).is_some())
    };
    assert!(["ada", "ben", "cleo", "dan"].iter().all(|key| small(key)));
    assert!(found.iter().all(|one| one.data.len() <= LARGEST));
}

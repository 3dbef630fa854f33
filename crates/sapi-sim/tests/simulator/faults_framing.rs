//! Faults of messages, frames and document bytes: what they do, and that a client that frames by
//! document boundary still gets everything.

use bytes::Bytes;
use sapi_protocol::{Document, xml::json_to_xml};
use sapi_sim::{Config, Kind, LedgerEntry, Simulator};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Ask, Client, Ended, bytes, connect, made, start};

fn text(message: &Message) -> &str {
    message.to_text().unwrap()
}

fn parsed(events: &[Bytes]) -> Vec<Value> {
    events
        .iter()
        .map(|event| serde_json::from_slice(event).unwrap())
        .collect()
}

async fn twenty(faults: &[&str], output: &str) -> (Simulator, Client, Vec<Bytes>) {
    let sim = start(Config::default(), faults).await;
    let mut client = Ask::output("a", Some(output)).go(&sim).await.unwrap();
    sim.emit(20);
    let events = client.events(20).await;
    for fault in faults {
        let name = fault.split('=').next().unwrap();
        assert!(sim.fired(name) > 0, "{name} did not fire");
    }
    (sim, client, events)
}

/// Each row: faults, output type, and what must hold for the messages.
#[tokio::test]
async fn documents_survive_every_framing() {
    type Check = fn(&[Message]) -> bool;
    let table: &[(&[&str], &str, Check)] = &[
        (&["concat=4"], "JSON", |all| {
            all.len() == 5 && text(&all[0]).contains("}{")
        }),
        (&["concat=4", "concat-newline"], "JSON", |all| {
            text(&all[0]).contains("}\n{")
        }),
        (&["split=3"], "JSON", |all| all.len() == 60),
        (&["fragment=3"], "JSON", |all| all.len() == 20),
        (&["padding=2048"], "JSON", |all| {
            text(&all[0]).starts_with(&" ".repeat(2048))
        }),
        (&["stray-x"], "JSON", |all| {
            all.len() == 40 && text(&all[0]) == "X"
        }),
        (&["blank"], "JSON", |all| {
            all.len() == 40 && text(&all[0]).trim().is_empty()
        }),
        (&["binary"], "JSON", |all| {
            all.iter().all(Message::is_binary)
        }),
        (&["bom"], "JSON", |all| {
            text(&all[0]).starts_with('\u{feff}')
        }),
        (&["crlf"], "JSON", |all| text(&all[0]).ends_with("}\r\n")),
        (&["newline-crlf"], "NEWLINE_JSON", |all| {
            text(&all[0]).ends_with("}\r\n")
        }),
        (&["newline-before"], "NEWLINE_JSON", |all| {
            text(&all[0]).starts_with("\n{")
        }),
        (&["padding=16", "split=50", "stray-x"], "JSON", |all| {
            all.len() > 500
        }),
    ];
    for (faults, output, holds) in table {
        let (sim, client, events) = twenty(faults, output).await;
        assert_eq!(events, bytes(&made(&sim)), "{faults:?}");
        assert!(
            holds(&client.messages),
            "{faults:?}: {:?}",
            client.messages[0]
        );
        assert!(client.malformed.is_empty());
    }
}

#[tokio::test]
async fn pretty_printed_json_says_the_same() {
    let (sim, client, events) = twenty(&["pretty"], "JSON").await;
    assert_eq!(parsed(&events), parsed(&bytes(&made(&sim))));
    assert!(text(&client.messages[0]).contains("{\n  \""));
}

#[tokio::test]
async fn xml_with_declarations_and_comments() {
    let (sim, client, events) = twenty(&["xml-declaration", "xml-comment"], "XML").await;
    let expected: Vec<Bytes> = made(&sim)
        .iter()
        .map(|entry| Bytes::from(json_to_xml(&entry.bytes).unwrap()))
        .collect();
    assert_eq!(events, expected);
    assert!(text(&client.messages[0]).starts_with("<?xml version"));
    assert!(text(&client.messages[0]).contains("<!--"));
}

/// Emits until 20 documents are good; what was malformed.
async fn broken(fault: &str) -> (Simulator, Client, Vec<LedgerEntry>) {
    let sim = start(Config::default(), &[fault]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(22);
    let good = made(&sim);
    assert_eq!(client.events(good.len()).await, bytes(&good), "{fault}");
    let bad = sim
        .ledger()
        .into_iter()
        .filter(|entry| entry.kind == Kind::Malformed)
        .collect();
    assert!(sim.fired(fault.split('=').next().unwrap()) > 0);
    (sim, client, bad)
}

#[tokio::test]
async fn what_is_malformed_costs_only_itself() {
    for (fault, count) in [
        ("truncated=5", 4),
        ("invalid-utf8=5", 4),
        ("not-a-document=5", 4),
    ] {
        let (_sim, client, bad) = broken(fault).await;
        assert_eq!(bad.len(), count, "{fault}");
        assert_eq!(client.malformed.len(), count, "{fault}");
        for entry in bad {
            assert!(Document::parse(entry.bytes).is_err(), "{fault}");
        }
    }
}

#[tokio::test]
async fn invalid_utf8_in_a_text_message_ends_the_connection() {
    let sim = start(Config::default(), &["invalid-text-utf8=5"]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(5);
    assert_eq!(client.events(4).await.len(), 4);
    assert_eq!(client.end().await, Ended::Dropped);
    assert_eq!(sim.fired("invalid-text-utf8"), 1);
}

#[tokio::test]
async fn a_huge_event_arrives() {
    let (sim, _client, events) = twenty(&["huge=3000000"], "JSON").await;
    assert_eq!(events, bytes(&made(&sim)));
    assert!(
        (2_990_000..3_010_000).contains(&events[0].len()),
        "{}",
        events[0].len()
    );
    assert!(events[1].len() < 10_000);
}

#[tokio::test]
async fn content_that_nobody_documented() {
    let (sim, _client, events) = twenty(
        &["unknown-class=5", "unknown-fields", "array-of-events=7"],
        "JSON",
    )
    .await;
    assert_eq!(events, bytes(&made(&sim)));
    let values = parsed(&events);
    assert!(
        values[4]
            .get("AgentLoginUpdate")
            .is_some_and(|body| body["msgInfo"]["sequenceId"] == 5)
    );
    assert_eq!(made(&sim)[4].class, "AgentLoginUpdate");
    assert!(values[6].is_array() && values[13].is_array());
    let body = values[0].as_object().unwrap().values().next().unwrap();
    assert!(body["tenantCustom"]["a"][1].is_null());
}

#[tokio::test]
async fn words_by_fault() {
    let sim = start(Config::default(), &["event-spelling", "call-state-odd"]).await;
    sim.emit(3000);
    let all: Vec<u8> = made(&sim)
        .iter()
        .flat_map(|entry| entry.bytes.to_vec())
        .collect();
    let all = String::from_utf8(all).unwrap();
    for word in [
        "InteractionDeAssigned",
        "Interaction Hold/Unhold",
        r#""callState":"CUSTOMER""#,
    ] {
        assert!(all.contains(word), "{word}");
    }
    assert!(sim.fired("event-spelling") > 0 && sim.fired("call-state-odd") > 0);
}

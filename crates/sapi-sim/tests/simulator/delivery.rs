//! What is emitted arrives, as it is, in every output type.

use bytes::Bytes;
use sapi_protocol::{Document, Format, xml::json_to_xml};
use sapi_sim::{Config, Kind, Numbering};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::client::{Ask, bytes, connect, gone, made, start, within};

#[tokio::test]
async fn a_client_receives_the_ledger() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(500);
    let events = client.events(500).await;
    assert_eq!(events, bytes(&made(&sim)));
    let ledger = sim.ledger();
    assert!(
        ledger
            .iter()
            .enumerate()
            .all(|(index, entry)| entry.n == index as u64 + 1)
    );
    assert!(
        ledger
            .iter()
            .all(|entry| entry.written.len() == 1 && !entry.written[0].lost)
    );
    for entry in ledger {
        let document = Document::parse(entry.bytes.clone()).unwrap();
        assert_eq!(document.class(), entry.class);
        let info = document.msg_info();
        assert_eq!(info.sequence, entry.sequence);
        assert_eq!(info.timestamp, entry.timestamp);
        assert_eq!(info.instance.as_deref(), entry.instance.as_deref());
    }
    sim.stop().await;
}

#[tokio::test]
async fn every_output_type_is_what_it_says() {
    let sim = start(Config::default(), &[]).await;
    for output in ["JSON", "xml", "NEWLINE_JSON", "NEWLINE_XML"] {
        let mut client = Ask::output("out", Some(output)).go(&sim).await.unwrap();
        let before = made(&sim).len();
        sim.emit(20);
        let events = client.events(20).await;
        let made = bytes(&made(&sim)[before..]);
        let expected: Vec<Bytes> = if output.to_uppercase().ends_with("XML") {
            made.iter()
                .map(|json| Bytes::from(json_to_xml(json).unwrap()))
                .collect()
        } else {
            made
        };
        assert_eq!(events, expected, "{output}");
        let newline = output.starts_with("NEWLINE");
        for message in &client.messages {
            assert_eq!(
                message.to_text().unwrap().ends_with('\n'),
                newline,
                "{output}"
            );
        }
        client.close().await;
    }
    sim.stop().await;
}

#[tokio::test]
async fn heartbeats_share_the_numbers_of_events() {
    let heartbeat = std::time::Duration::from_millis(30);
    let sim = start(
        Config {
            heartbeat,
            rate: 100.0,
            ..Config::default()
        },
        &[],
    )
    .await;
    let mut client = connect(&sim, "a").await;
    let (mut beats, mut last) = (0, None);
    while beats < 5 {
        let document = client.next().await.unwrap();
        beats += u32::from(document.is_heartbeat());
        let sequence = document.msg_info().sequence.unwrap();
        assert!(
            last.is_none_or(|last| sequence == last + 1),
            "{last:?} {sequence}"
        );
        last = Some(sequence);
        if document.is_heartbeat() {
            let text = std::str::from_utf8(document.bytes()).unwrap();
            assert!(text.contains(r#""heartbeat":"[HEARTBEAT]""#));
            assert!(text.contains(r#""subscription-id":"a","tenant-id":"acmecorp01""#));
        }
    }
    assert!(
        sim.ledger()
            .iter()
            .any(|entry| entry.kind == Kind::Heartbeat)
    );
    sim.stop().await;
}

/// Any number of connections that end in good order: every event once, in order, byte for byte.
#[tokio::test]
async fn nothing_is_lost_or_doubled_over_many_sessions() {
    let sim = start(Config::default(), &[]).await;
    let mut rng = StdRng::seed_from_u64(11);
    let mut received = Vec::new();
    for _ in 0..40 {
        let mut client = connect(&sim, "a").await;
        sim.emit(rng.random_range(0..50));
        let known = made(&sim).len() - received.len();
        received.extend(client.events(rng.random_range(0..=known)).await);
        sim.emit(rng.random_range(0..50));
        received.extend(client.close().await.into_iter().map(Document::into_bytes));
        gone(&sim).await;
        sim.emit(rng.random_range(0..20));
    }
    let mut client = connect(&sim, "a").await;
    received.extend(client.events(made(&sim).len() - received.len()).await);
    assert_eq!(received, bytes(&made(&sim)));
    assert!(made(&sim).iter().all(|entry| entry.written.len() == 1));
}

#[tokio::test]
async fn numbering_by_subscription_numbers_each_apart() {
    let config = Config {
        numbering: Numbering::Subscription,
        ..Config::default()
    };
    let sim = start(config, &[]).await;
    let mut first = connect(&sim, "a").await;
    sim.emit(3);
    let mut second = connect(&sim, "b").await;
    sim.emit(4);
    let sequences = |events: Vec<Bytes>| -> Vec<u64> {
        events
            .into_iter()
            .map(|event| Document::parse(event).unwrap().msg_info().sequence.unwrap())
            .collect()
    };
    assert_eq!(sequences(first.events(7).await), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(sequences(second.events(4).await), [1, 2, 3, 4]);
    let shared: Vec<u64> = made(&sim).iter().map(|entry| entry.event).collect();
    assert_eq!(shared, [1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7]);
    sim.stop().await;
}

#[tokio::test]
async fn seed_and_start_time_fix_every_byte() {
    let config = Config {
        seed: 42,
        start_time: Some(1_669_235_827_942),
        ..Config::default()
    };
    let first = start(config.clone(), &[]).await;
    let second = start(config, &[]).await;
    first.emit(2000);
    second.emit(500);
    second.emit(1500);
    assert_eq!(bytes(&made(&first)), bytes(&made(&second)));
}

#[tokio::test]
async fn a_rate_and_a_number_of_events_finish() {
    let config = Config {
        rate: 5000.0,
        events: Some(1000),
        wait_clients: 1,
        event_bytes: Some(2000),
        ..Config::default()
    };
    let sim = start(config, &[]).await;
    let mut client = connect(&sim, "a").await;
    within(sim.finished()).await;
    let events = client.events(1000).await;
    assert_eq!(events, bytes(&made(&sim)));
    assert!(
        events
            .iter()
            .all(|event| (1900..=4000).contains(&event.len()))
    );
    assert_eq!(
        Document::parse(events[999].clone()).unwrap().format(),
        Format::Json
    );
}

#[tokio::test]
async fn a_document_of_the_callers_own_goes_as_it_is() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    let own = r#"{"GuestChatEnd":{"eventTS":1,"note":"é"}}"#;
    sim.emit_raw("GuestChatEnd", own);
    assert_eq!(client.events(1).await, [Bytes::from(own)]);
    assert_eq!(sim.ledger()[0].class, "GuestChatEnd");
}

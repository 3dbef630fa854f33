//! Faults of msgInfo and of order.

use bytes::Bytes;
use sapi_protocol::Document;
use sapi_sim::{Config, Kind, Numbering, Simulator};

use crate::client::{bytes, connect, made, start};

async fn emitted(config: Config, faults: &[&str]) -> (Simulator, Vec<Document>) {
    let sim = start(config, faults).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(12);
    let made = bytes(&made(&sim));
    let events = client.events(made.len()).await;
    assert_eq!(events, made);
    for fault in faults {
        let name = fault.split('=').next().unwrap();
        assert!(sim.fired(name) > 0, "{name} did not fire");
    }
    (
        sim,
        events
            .into_iter()
            .map(|event| Document::parse(event).unwrap())
            .collect(),
    )
}

async fn sequences(fault: &str) -> Vec<u64> {
    let (_sim, documents) = emitted(Config::default(), &[fault]).await;
    documents
        .iter()
        .map(|document| document.msg_info().sequence.unwrap())
        .collect()
}

#[tokio::test]
async fn sequences_jump_restart_and_swap() {
    let plain: Vec<u64> = (1..=12).collect();
    assert_eq!(sequences("seq-gap=5").await, (6..=17).collect::<Vec<_>>());
    assert_eq!(
        sequences("seq-restart=40").await,
        (40..=51).collect::<Vec<_>>()
    );
    let swapped = sequences("seq-out-of-order=5").await;
    assert_eq!(swapped[..8], [1, 2, 3, 4, 6, 5, 7, 8]);
    let mut sorted = swapped.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, plain);
    assert_eq!(
        sequences("same-id-different-content=4").await[..5],
        [1, 2, 3, 3, 4]
    );
    assert_eq!(sequences("seq-restart-on-connect").await, plain);
}

#[tokio::test]
async fn a_restart_on_connect_restarts() {
    let sim = start(Config::default(), &["seq-restart-on-connect"]).await;
    for _ in 0..2 {
        let mut client = connect(&sim, "a").await;
        sim.emit(2);
        let last = client.events(2).await.pop().unwrap();
        assert_eq!(Document::parse(last).unwrap().msg_info().sequence, Some(2));
        client.close().await;
    }
}

#[tokio::test]
async fn one_content_under_two_ids() {
    let (sim, documents) = emitted(Config::default(), &["same-content-different-id=4"]).await;
    assert_eq!(documents.len(), 15);
    let (first, second) = (&documents[3], &documents[4]);
    assert_eq!(first.content_hash(), second.content_hash());
    assert_ne!(first.msg_info().sequence, second.msg_info().sequence);
    assert_eq!(made(&sim)[3].event, made(&sim)[4].event);
}

#[tokio::test]
async fn instances_switch_and_take_turns() {
    let config = || Config {
        numbering: Numbering::Instance,
        ..Config::default()
    };
    let (_sim, documents) = emitted(config(), &["instance-switch=pod-7"]).await;
    assert_eq!(documents[0].msg_info().instance.as_deref(), Some("pod-7"));
    let (_sim, documents) = emitted(config(), &["instances=3"]).await;
    let seen: Vec<(String, u64)> = documents
        .iter()
        .map(|document| {
            let info = document.msg_info();
            (info.instance.unwrap().into_owned(), info.sequence.unwrap())
        })
        .collect();
    assert_eq!(seen[0].0, seen[3].0);
    assert_ne!(seen[0].0, seen[1].0);
    let numbers: Vec<u64> = seen.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
}

#[tokio::test]
async fn msg_info_in_every_shape() {
    for (fault, has) in [
        ("seq-string", r#""sequenceId":"1","timestamp":"1"#),
        ("empty-msg-info", r#""msgInfo":{}"#),
        ("no-instance", r#""msgInfo":{"sequenceId":1,"#),
    ] {
        let (_sim, documents) = emitted(Config::default(), &[fault]).await;
        let text = std::str::from_utf8(documents[0].bytes()).unwrap();
        assert!(text.contains(has), "{fault}: {text}");
    }
    let (sim, documents) = emitted(Config::default(), &["no-msg-info"]).await;
    assert!(
        documents
            .iter()
            .all(|document| document.msg_info().sequence.is_none())
    );
    assert!(made(&sim).iter().all(|entry| entry.sequence.is_none()));
}

#[tokio::test]
async fn a_clock_that_is_behind() {
    let (sim, documents) = emitted(Config::default(), &["clock-step=3600000"]).await;
    let behind = made(&sim)[0].at - documents[0].msg_info().timestamp.unwrap();
    assert!((3_599_000..3_605_000).contains(&behind), "{behind}");
}

#[tokio::test]
async fn heartbeats_of_others_use_up_numbers() {
    let heartbeat = std::time::Duration::from_millis(10);
    let config = Config {
        heartbeat,
        ..Config::default()
    };
    let sim = start(config, &["others-heartbeats=4"]).await;
    let mut client = connect(&sim, "a").await;
    for expected in [1, 6, 11] {
        let beat = client.next().await.unwrap();
        assert!(beat.is_heartbeat());
        assert_eq!(beat.msg_info().sequence, Some(expected));
    }
    assert!(sim.fired("others-heartbeats") >= 3);
}

#[tokio::test]
async fn a_replay_can_be_stamped_anew() {
    let sim = start(Config::default(), &["restamp"]).await;
    connect(&sim, "a").await.close().await;
    sim.emit(5);
    let original = made(&sim);
    let mut client = connect(&sim, "a").await;
    let events: Vec<Bytes> = client.events(5).await;
    for (n, (event, before)) in events.iter().zip(&original).enumerate() {
        let (now, before) = (
            Document::parse(event.clone()).unwrap(),
            Document::parse(before.bytes.clone()).unwrap(),
        );
        assert_eq!(now.content_hash(), before.content_hash());
        assert_eq!(now.msg_info().sequence, Some(6 + n as u64));
    }
    let ledger: Vec<_> = sim
        .ledger()
        .into_iter()
        .filter(|entry| entry.kind == Kind::Event)
        .collect();
    assert_eq!(ledger.len(), 10);
    assert_eq!(ledger[5].event, ledger[0].event);
    assert!(ledger[0].written.is_empty());
    assert_eq!(ledger[5].written.len(), 1);
    assert_eq!(sim.fired("restamp"), 5);
}

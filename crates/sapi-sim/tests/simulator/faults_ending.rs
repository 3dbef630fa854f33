//! Faults of heartbeats, silence, first connects, and of how connections end.

use std::time::Duration;

use futures_util::SinkExt;
use sapi_sim::{Config, EndedBy};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Ended, bytes, connect, gone, made, start, within};

fn quick() -> Config {
    Config {
        heartbeat: Duration::from_millis(15),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_cut_by_fault() {
    let config = Config {
        session_length: Duration::from_millis(50),
        ..Config::default()
    };
    for (fault, ended) in [
        ("cut-code=1001", Ended::Closed(1001)),
        ("cut-code=1011", Ended::Closed(1011)),
        ("cut-code=1006", Ended::Dropped),
        ("cut-reset", Ended::Dropped),
    ] {
        let sim = start(config.clone(), &[fault]).await;
        let mut client = connect(&sim, "a").await;
        assert_eq!(client.end().await, ended, "{fault}");
        assert_eq!(sim.fired(fault.split('=').next().unwrap()), 1);
        gone(&sim).await;
        assert_eq!(
            sim.connections()[0].ended.as_ref().unwrap().by,
            EndedBy::Server
        );
    }
}

#[tokio::test]
async fn cuts_that_are_early_late_or_never() {
    let sim = start(Config::default(), &["cut-early=0"]).await;
    assert_eq!(connect(&sim, "a").await.end().await, Ended::Closed(1000));
    assert_eq!(sim.fired("cut-early"), 1);

    let session_length = Duration::from_millis(50);
    let config = Config {
        session_length,
        ..Config::default()
    };
    let sim = start(config.clone(), &["cut-never"]).await;
    let mut client = connect(&sim, "a").await;
    assert!(client.is_silent(150).await);

    let sim = start(config, &["cut-from-first-event"]).await;
    let mut client = connect(&sim, "a").await;
    assert!(client.is_silent(150).await);
    sim.emit(1);
    assert_eq!(client.end().await, Ended::Closed(1000));
    assert_eq!(sim.fired("cut-from-first-event"), 1);
}

#[tokio::test]
async fn every_session_ends_now() {
    let sim = start(Config::default(), &[]).await;
    let (mut first, mut second) = (connect(&sim, "a").await, connect(&sim, "b").await);
    sim.set_fault("cut-now=1012").unwrap();
    assert_eq!(first.end().await, Ended::Closed(1012));
    assert_eq!(second.end().await, Ended::Closed(1012));
    gone(&sim).await;
    let mut third = connect(&sim, "a").await;
    sim.set_fault("tcp-reset").unwrap();
    assert_eq!(third.end().await, Ended::Dropped);
    assert_eq!((sim.fired("cut-now"), sim.fired("tcp-reset")), (1, 1));
    assert!(sim.faults().iter().all(|fault| !fault.active));
}

#[tokio::test]
async fn heartbeats_by_fault() {
    for fault in ["heartbeat-off", "heartbeat-ping", "first-until-event"] {
        let sim = start(quick(), &[fault]).await;
        let mut client = connect(&sim, "a").await;
        assert!(client.is_silent(100).await, "{fault}");
        assert!(sim.fired(fault) > 0, "{fault}");
        let pings = client
            .messages
            .iter()
            .filter(|message| message.is_ping())
            .count();
        assert_eq!(pings > 0, fault == "heartbeat-ping");
    }
    let sim = start(
        Config {
            rate: 1000.0,
            ..quick()
        },
        &["heartbeat-idle-only"],
    )
    .await;
    let mut client = connect(&sim, "a").await;
    client.events(200).await;
    assert!(sim.fired("heartbeat-idle-only") > 0);
    sim.set_rate(0.0);
    while !client.next().await.unwrap().is_heartbeat() {}
}

#[tokio::test]
async fn no_heartbeats_while_a_replay_waits() {
    let faults = ["heartbeat-not-in-replay", "replay-delay=100"];
    let sim = start(quick(), &faults).await;
    connect(&sim, "a").await.close().await;
    gone(&sim).await;
    sim.emit(3);
    let mut client = connect(&sim, "a").await;
    let first = client.next().await.unwrap();
    assert!(!first.is_heartbeat());
    assert!(sim.fired("heartbeat-not-in-replay") > 0);
}

#[tokio::test]
async fn clients_that_talk_or_do_not_answer() {
    let sim = start(Config::default(), &["close-on-text"]).await;
    let mut client = connect(&sim, "a").await;
    client.say("hello").await;
    assert_eq!(client.end().await, Ended::Closed(1003));
    assert_eq!(sim.fired("close-on-text"), 1);

    // A client that does not read does not answer pings either.
    let sim = start(quick(), &["expect-pong"]).await;
    let client = connect(&sim, "a").await;
    gone(&sim).await;
    let ended = sim.connections()[0].ended.clone().unwrap();
    assert_eq!((ended.by, ended.code), (EndedBy::Server, Some(1002)));
    drop(client);

    let sim = start(quick(), &["expect-pong"]).await;
    let mut client = connect(&sim, "a").await;
    for _ in 0..5 {
        assert!(client.next().await.unwrap().is_heartbeat());
    }
}

#[tokio::test]
async fn a_connection_without_a_byte() {
    let sim = start(quick(), &["silent"]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(3);
    client
        .socket
        .send(Message::Ping(vec![1].into()))
        .await
        .unwrap();
    assert!(client.is_silent(100).await);
    assert!(client.messages.is_empty(), "not even a pong");
    sim.clear_fault("silent").unwrap();
    assert_eq!(client.events(3).await, bytes(&made(&sim)));
    assert!(sim.fired("silent") > 0);
    sim.set_fault("silent").unwrap();
    sim.set_fault("cut-now").unwrap();
    assert_eq!(client.end().await, Ended::Dropped, "not even a Close");
}

#[tokio::test]
async fn first_connects() {
    let sim = start(Config::default(), &["first-silence=1"]).await;
    let mut client = connect(&sim, "a").await;
    sim.emit(2);
    let begun = std::time::Instant::now();
    assert_eq!(client.events(2).await.len(), 2);
    assert!(begun.elapsed() > Duration::from_millis(900));
    assert!(sim.fired("first-silence") > 0);

    let sim = start(Config::default(), &["first-history=4"]).await;
    sim.emit(10);
    let mut client = connect(&sim, "a").await;
    assert_eq!(client.events(4).await, bytes(&made(&sim)[6..]));
    assert_eq!(sim.fired("first-history"), 1);
}

#[tokio::test]
async fn a_close_that_is_answered_late_or_never() {
    let sim = start(Config::default(), &["close-late=150"]).await;
    let client = connect(&sim, "a").await;
    let begun = std::time::Instant::now();
    client.close().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(sim.fired("close-late"), 1);

    let sim = start(Config::default(), &["close-never-answered"]).await;
    let mut client = connect(&sim, "a").await;
    client.socket.close(None).await.unwrap();
    within(sim.wait_until(|sim| sim.fired("close-never-answered") == 1)).await;
    assert!(client.is_silent(100).await);
}

#[tokio::test]
async fn events_still_come_after_our_close() {
    let sim = start(Config::default(), &["close-writes-on=3"]).await;
    let mut client = connect(&sim, "a").await;
    client.socket.close(None).await.unwrap();
    within(sim.wait_until(|sim| sim.fired("close-writes-on") == 1)).await;
    sim.emit(3);
    assert_eq!(client.events(3).await, bytes(&made(&sim)));
    assert!(matches!(client.end().await, Ended::Closed(_)));
}

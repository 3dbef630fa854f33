//! The documented limits, with values that do not take an hour.

use std::time::Duration;

use http::StatusCode;
use sapi_sim::{Config, EndedBy};

use crate::client::{Ask, Ended, bytes, connect, gone, made, start};

#[tokio::test]
async fn a_fourth_client_is_refused_until_one_leaves() {
    let sim = start(Config::default(), &[]).await;
    let first = connect(&sim, "a").await;
    let _second = connect(&sim, "b").await;
    let _third = connect(&sim, "c").await;
    let refused = Ask::new("d").go(&sim).await.err().unwrap();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    first.close().await;
    let _fourth = connect(&sim, "d").await;
    let statuses: Vec<u16> = sim.connections().iter().map(|one| one.status).collect();
    assert_eq!(statuses, [101, 101, 101, 429, 101]);
    let ended = sim.connections()[0].ended.clone().unwrap();
    assert_eq!((ended.by, ended.code), (EndedBy::Client, None));
}

#[tokio::test]
async fn the_same_id_again_closes_the_first() {
    let sim = start(Config::default(), &[]).await;
    let mut old = connect(&sim, "a").await;
    let mut new = connect(&sim, "a").await;
    assert_eq!(old.end().await, Ended::Closed(1008));
    sim.emit(5);
    assert_eq!(new.events(5).await, bytes(&made(&sim)));
    assert_eq!(sim.connected(), 1);
}

#[tokio::test]
async fn a_session_is_cut_and_the_next_gets_what_was_stored() {
    let session_length = Duration::from_millis(300);
    let sim = start(
        Config {
            session_length,
            ..Config::default()
        },
        &[],
    )
    .await;
    let mut client = connect(&sim, "a").await;
    sim.emit(10);
    assert_eq!(client.events(10).await.len(), 10);
    assert_eq!(client.end().await, Ended::Closed(1000));
    gone(&sim).await;
    sim.emit(10);
    let mut client = connect(&sim, "a").await;
    sim.emit(5);
    assert_eq!(client.events(15).await, bytes(&made(&sim)[10..]));
    let first = &sim.connections()[0];
    let age = first.ended.as_ref().unwrap().at - first.at;
    assert!((250..2000).contains(&age), "{age}");
    assert_eq!(first.documents, 10);
}

#[tokio::test]
async fn an_overlap_comes_again_byte_for_byte() {
    let sim = start(
        Config {
            overlap: 4,
            ..Config::default()
        },
        &[],
    )
    .await;
    let mut client = connect(&sim, "a").await;
    sim.emit(10);
    client.events(10).await;
    client.close().await;
    sim.emit(3);
    let mut client = connect(&sim, "a").await;
    assert_eq!(client.events(7).await, bytes(&made(&sim)[6..13]));
    sim.emit(1);
    assert_eq!(client.events(1).await, bytes(&made(&sim)[13..]));
    assert!(
        made(&sim)[6..10]
            .iter()
            .all(|entry| entry.written.len() == 2)
    );
}

#[tokio::test]
async fn an_expired_store_is_a_new_subscription() {
    let cache = Duration::ZERO;
    let sim = start(
        Config {
            cache,
            ..Config::default()
        },
        &[],
    )
    .await;
    connect(&sim, "a").await.close().await;
    sim.emit(10);
    let mut client = connect(&sim, "a").await;
    sim.emit(2);
    assert_eq!(client.events(2).await, bytes(&made(&sim)[10..]));
}

#[tokio::test]
async fn a_new_subscription_gets_no_history_and_a_preloaded_one_does() {
    let config = Config {
        preload: 50,
        preload_subs: vec!["old".to_owned()],
        ..Config::default()
    };
    let sim = start(config, &[]).await;
    let mut new = connect(&sim, "new").await;
    let mut old = connect(&sim, "old").await;
    sim.emit(1);
    assert_eq!(new.events(1).await, bytes(&made(&sim)[50..]));
    assert_eq!(old.events(51).await, bytes(&made(&sim)));
}

#[tokio::test]
async fn a_ledger_that_is_full_forgets_the_oldest() {
    let sim = start(
        Config {
            ledger_events: 10,
            ..Config::default()
        },
        &[],
    )
    .await;
    connect(&sim, "a").await.close().await;
    sim.emit(25);
    let mut client = connect(&sim, "a").await;
    assert_eq!(client.events(10).await, bytes(&made(&sim)));
    assert_eq!(sim.ledger()[0].n, 16);
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    let (ended, ()) = tokio::join!(client.end(), sim.stop());
    assert_eq!(ended, Ended::Closed(1001));
}

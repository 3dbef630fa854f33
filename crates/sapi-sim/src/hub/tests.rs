//! The hub alone, with a clock that tests move: the documented hours in no time.

use std::time::Duration;

use super::{Admitted, Hub, Limit, Refusal, Request};
use crate::config::Config;

const ALL: Limit = Limit {
    documents: usize::MAX,
    bytes: usize::MAX,
};
const HOUR: Duration = Duration::from_hours(1);

fn attach(hub: &Hub, subs_id: &str) -> Result<Admitted, Refusal> {
    let connection = hub.connection("peer".to_owned(), "/".to_owned());
    hub.attach(&Request {
        connection,
        subs_id: subs_id.to_owned(),
    })
}

/// Takes and writes everything there is; how much that was.
fn drain(hub: &Hub, session: u64) -> usize {
    let taken = hub.take(session, ALL).len();
    hub.written(session, taken, false);
    taken
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_lasts_two_hours_since_the_disconnect() {
    let hub = Hub::new(Config::default());
    let first = attach(&hub, "a").unwrap().session;
    pass(5 * HOUR).await;
    hub.detach(first);
    hub.emit(7);
    pass(Duration::from_mins(119)).await;
    let second = attach(&hub, "a").unwrap().session;
    assert_eq!(drain(&hub, second), 7);
    hub.detach(second);
    hub.emit(7);
    pass(2 * HOUR).await;
    let third = attach(&hub, "a").unwrap().session;
    assert_eq!(drain(&hub, third), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_free_again_at_once_or_when_the_fault_says() {
    let hub = Hub::new(Config {
        max_clients: 1,
        ..Config::default()
    });
    let first = attach(&hub, "a").unwrap().session;
    assert_eq!(attach(&hub, "b").unwrap_err(), Refusal::Quota);
    hub.detach(first);
    let second = attach(&hub, "b").unwrap().session;
    hub.detach(second);
    hub.set_fault("ghost-slot=30".parse().unwrap());
    assert_eq!(attach(&hub, "c").unwrap_err(), Refusal::Quota);
    pass(Duration::from_secs(31)).await;
    let third = attach(&hub, "c").unwrap().session;
    hub.detach(third);
    hub.clear_fault("ghost-slot").unwrap();
    hub.set_fault("quota-counts-disconnected".parse().unwrap());
    pass(HOUR).await;
    assert_eq!(attach(&hub, "d").unwrap_err(), Refusal::Quota);
    pass(HOUR).await;
    assert!(attach(&hub, "d").is_ok());
}

#[tokio::test]
async fn what_was_being_written_is_stored_again_in_its_place() {
    let hub = Hub::new(Config::default());
    let first = attach(&hub, "a").unwrap().session;
    hub.emit(10);
    let limit = Limit {
        documents: 6,
        ..ALL
    };
    assert_eq!(hub.take(first, limit).len(), 6);
    hub.written(first, 2, false);
    hub.detach(first);
    let second = attach(&hub, "a").unwrap().session;
    let sequence = |bytes: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let body = value.as_object().unwrap().values().next().unwrap().clone();
        body["msgInfo"]["sequenceId"].as_u64().unwrap()
    };
    let taken: Vec<u64> = hub
        .take(second, ALL)
        .iter()
        .map(|one| sequence(&one.bytes))
        .collect();
    assert_eq!(taken, (3..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_that_was_kicked_has_no_say_any_more() {
    let hub = Hub::new(Config::default());
    let first = attach(&hub, "a").unwrap().session;
    hub.emit(3);
    assert_eq!(hub.take(first, ALL).len(), 3);
    let second = attach(&hub, "a").unwrap().session;
    assert!(hub.written(first, 3, false).is_none());
    assert!(hub.take(first, ALL).is_empty());
    hub.detach(first);
    assert_eq!(hub.connected(), 1);
    assert_eq!(drain(&hub, second), 3);
}

#[tokio::test]
async fn a_heartbeat_is_for_its_subscription_alone_and_not_stored() {
    let hub = Hub::new(Config::default());
    let (first, second) = (attach(&hub, "a").unwrap(), attach(&hub, "b").unwrap());
    hub.heartbeat(&first.subs_id);
    assert_eq!(drain(&hub, second.session), 0);
    hub.detach(first.session);
    let again = attach(&hub, "a").unwrap();
    assert_eq!(drain(&hub, again.session), 0);
}

//! Order, completeness and repetition, through failures of the receiver.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use relay_tests::proxy::Proxy;
use relay_tests::servers::receiver::{Answer, Received, Receiver};

use super::world::{SECRET, World, ids, keys, numbers};

fn assert_in_order_per_key(events: &[Received], count: usize) {
    let distinct: HashSet<_> = events.iter().map(|event| event.number).collect();
    assert_eq!(distinct.len(), count);
    let mut last: HashMap<u64, usize> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        last.insert(event.number, at);
    }
    let mut by_key: HashMap<&str, Vec<(u64, usize)>> = HashMap::new();
    for event in events {
        let place = (event.number, last[&event.number]);
        by_key.entry(&event.key).or_default().push(place);
    }
    for (key, mut places) in by_key {
        places.sort_unstable();
        assert!(places.is_sorted_by_key(|(_, at)| *at), "{key}: {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_in_order_per_key_and_signed() {
    let receiver = Receiver::start().await;
    // One key is slow: the others do not wait for it.
    receiver.answers(|request| {
        let slow = request.header("ce-partitionkey") == "agent0";
        Answer::ok().after(Duration::from_millis(if slow { 10 } else { 1 }))
    });
    let world = World::start(&receiver.url("/hook"), &keys("batch_events = 64")).await;
    world.emit_many(600, 10);
    receiver.accepted(600).await;
    let events = receiver.events();
    assert_eq!(events.len(), 600, "each once");
    assert_in_order_per_key(&events, 600);
    assert_eq!(receiver.clashes(), 0, "per key one request at a time");
    let most = receiver.most_open();
    assert!((2..=8).contains(&most), "{most} at once");
    let mut oldest: u64 = 1;
    let mut outstanding: HashSet<u64> = (1..=600).collect();
    for event in &events {
        assert!(
            event.number < oldest + 64 + 1,
            "{} ran ahead of {oldest}",
            event.number
        );
        outstanding.remove(&event.number);
        while oldest <= 600 && !outstanding.contains(&oldest) {
            oldest += 1;
        }
    }
    let requests = receiver.taken();
    assert!(requests.iter().all(|request| request.is_signed_by(SECRET)));
    let distinct: HashSet<_> = ids(&requests).into_iter().collect();
    assert_eq!(distinct.len(), 600);
    for (request, event) in requests.iter().zip(&events) {
        assert_eq!(request.header("content-type"), "application/json");
        assert!(request.header("webhook-id").starts_with("evt_"));
        assert!(
            event
                .data
                .starts_with(br#"{"AgentStatusChange":{"agentId":"agent"#)
        );
    }
    let row = world
        .row("all delivered", |row| row["lag_events"] == 0)
        .await;
    assert_eq!(row["state"], "running");
    assert!((world.metric("sink_delivered_total").await - 600.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_away_gets_everything() {
    let receiver = Receiver::start().await;
    let proxy = Proxy::start(receiver.address()).await;
    let url = receiver.url_through(proxy.address(), "/hook");
    let world = World::start(&url, &keys("timeout = \"1s\"")).await;
    world.emit_many(50, 7);
    receiver.accepted(50).await;
    proxy.refuse();
    world.emit_many(100, 7);
    let row = world.state("retrying").await;
    let text = row["last_error"]["text"].as_str().unwrap();
    assert!(text.contains("connection"), "{text}");
    proxy.heal();
    receiver.accepted(150).await;
    proxy.black_hole();
    world.emit_many(100, 7);
    world.state("retrying").await;
    proxy.cut();
    proxy.heal();
    world
        .row("all delivered", |row| row["lag_events"] == 0)
        .await;
    assert_in_order_per_key(&receiver.events(), 250);
    assert_eq!(receiver.clashes(), 0);
    world.state("running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_the_id_of_the_first_try() {
    let receiver = Receiver::start().await;
    let failed = Mutex::new(HashSet::new());
    receiver.answers(move |request| {
        let id = request.header("webhook-id").to_owned();
        if failed.lock().unwrap().insert(id) {
            Answer::status(503)
        } else {
            Answer::ok()
        }
    });
    let world = World::start(
        &receiver.url("/hook"),
        &keys("retry_max = \"50ms\"")
            .replace("retry_max = \"300ms\"\n", "")
            .replace("50ms\"\nretry_max", "1ms\"\nretry_max"),
    )
    .await;
    world.emit_many(20, 20);
    receiver.accepted(20).await;
    let mut by_event: HashMap<String, HashSet<String>> = HashMap::new();
    for request in receiver.requests() {
        let ids = by_event.entry(request.header("ce-id").to_owned());
        ids.or_default()
            .insert(request.header("webhook-id").to_owned());
    }
    assert_eq!(by_event.len(), 20);
    assert!(by_event.values().all(|ids| ids.len() == 1), "{by_event:?}");
    assert_eq!(numbers(&receiver).len(), 20, "each taken once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_retried_as_it_was() {
    let receiver = Receiver::start().await;
    receiver.answers_all(Answer::status(503));
    let more = "mode = \"batch\"\nbatch_events = 16";
    let world = World::start(&receiver.url("/hook"), &keys(more)).await;
    world.emit_many(5, 5);
    receiver.asked(2).await;
    world.emit_many(60, 7);
    receiver.asked(4).await;
    receiver.answers_all(Answer::ok());
    world
        .row("all delivered", |row| row["lag_events"] == 0)
        .await;
    let requests = receiver.requests();
    let mut bodies: HashMap<String, HashSet<Vec<u8>>> = HashMap::new();
    for request in &requests {
        assert!(
            request
                .header("content-type")
                .starts_with("application/cloudevents-batch+json")
        );
        assert!(request.is_signed_by(SECRET));
        let id = request.header("webhook-id").to_owned();
        assert!(id.starts_with("bat_") && id.len() == 36, "{id}");
        bodies.entry(id).or_default().insert(request.body.to_vec());
    }
    assert!(
        bodies.values().all(|bodies| bodies.len() == 1),
        "an id, a content"
    );
    let taken: HashSet<_> = ids(&receiver.taken()).into_iter().collect();
    let refused: HashSet<_> = ids(&requests).into_iter().collect();
    assert_eq!(refused, taken, "what was refused came again as it was");
    assert_eq!(numbers(&receiver), (1..=65).collect::<Vec<_>>());
    assert!(
        receiver.taken().len() < 40,
        "{} requests",
        receiver.taken().len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_after_the_time_that_was_asked_for() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver.url("/hook"), &keys("")).await;
    world.emit_many(10, 10);
    receiver.accepted(10).await;
    receiver.answers_all(Answer::status(429).header("retry-after", "2"));
    world.emit_many(200, 50);
    world.state("retrying").await;
    let burst = receiver.counts().requests;
    assert!((11..=18).contains(&burst), "{burst} requests");
    let probes = AtomicUsize::new(0);
    receiver.answers(move |_| {
        let first = probes.fetch_add(1, Relaxed) == 0;
        Answer::ok().after(Duration::from_millis(if first { 300 } else { 0 }))
    });
    receiver.accepted(210).await;
    let requests = receiver.requests();
    let [refused, probe, next] = [burst - 1, burst, burst + 1].map(|index| requests[index].at);
    let waited = probe.duration_since(refused);
    assert!(
        waited >= Duration::from_millis(1_900),
        "{waited:?} after the last answer"
    );
    let alone = next.duration_since(probe);
    assert!(
        alone >= Duration::from_millis(300),
        "the next one came {alone:?} after the probe"
    );
    assert_in_order_per_key(&receiver.events(), 210);
}

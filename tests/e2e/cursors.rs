//! A downstream client misses nothing: it comes back with its cursor and gets exactly what follows.

use relay_tests::ledger::emitted;
use relay_tests::relay::{Setup, offset};
use relay_tests::{Relay, Stream, StreamEvent, load, soon};
use sapi_sim::{Config, Simulator};

async fn relay_with_a_small_tail(simulator: &Simulator) -> Relay {
    let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    setup.more = "[bus]\nmemory = \"1MiB\"".to_owned();
    Relay::start(&setup).await
}

async fn events(stream: &mut Stream, count: usize) -> Vec<StreamEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let event = stream.next_event().await;
        if !event.is_notice() {
            events.push(event);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_exactly_what_follows() {
    let _alone = load::alone().await;
    let config = Config {
        rate: 2_000.0,
        events: Some(20_000),
        wait_clients: 1,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let relay = relay_with_a_small_tail(&simulator).await;
    let stream = relay.downstream("/v1/stream").await;

    let mut received = Vec::new();
    let mut from = "earliest".to_owned();
    // Each visit ends elsewhere, so that some cursors lie in memory and some only on disk.
    for visit in 1..=12 {
        let mut client = Stream::connect(&format!("{stream}?from={from}")).await;
        let visited = events(&mut client, 100 * visit).await;
        client.close().await;
        from = visited.last().unwrap().relaycursor.clone();
        received.extend(visited);
    }
    soon("the last event", simulator.finished()).await;
    let mut client = Stream::connect(&format!("{stream}?from={from}")).await;
    received.extend(events(&mut client, 20_000 - received.len()).await);

    let status = relay.status().await;
    let in_memory_from = offset(&status["bus"]["first"]);
    assert!(
        in_memory_from > 1_000,
        "the first visits were served from disk: {status}"
    );
    relay_tests::ledger::assert_same(&received, &emitted(&simulator));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_cost_the_others_nothing() {
    const EVENTS: usize = 40_000;
    let _alone = load::alone().await;
    let config = Config {
        rate: 4_000.0,
        events: Some(EVENTS as u64),
        event_bytes: Some(2_048),
        wait_clients: 1,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let relay = relay_with_a_small_tail(&simulator).await;
    let url = relay.downstream("/v1/stream?from=earliest").await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(Stream::connect(&url).await);
    }
    let mut reading = Stream::connect(&url).await;
    let received = events(&mut reading, EVENTS).await;
    soon("the last event", simulator.finished()).await;
    relay_tests::ledger::assert_same(&received, &emitted(&simulator));

    let peak = relay.peak_memory();
    assert!(
        peak < 96 << 20,
        "{} MiB at the most, with 1 MiB of bus",
        peak >> 20
    );
    // They are still connected, and get everything once they read.
    for client in &mut silent {
        let received = events(client, EVENTS).await;
        assert_eq!(received.len(), EVENTS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outlives_the_relay() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let journal = tempfile::tempdir().unwrap();
    let setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN).dir(journal.path());

    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    let mut client = Stream::connect(&relay.downstream("/v1/stream").await).await;
    simulator.emit(3);
    let seen = events(&mut client, 2).await;
    relay.kill().await;

    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.emit(2);
    let cursor = &seen[1].relaycursor;
    let mut client =
        Stream::connect(&relay.downstream(&format!("/v1/stream?from={cursor}")).await).await;
    let rest = events(&mut client, 3).await;
    let all: Vec<_> = seen.into_iter().chain(rest).collect();
    relay_tests::ledger::assert_same(&all, &emitted(&simulator));
}

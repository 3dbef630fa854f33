//! What happens to servers and relays: nothing is lost, nothing doubled, the order stays.

use std::time::Duration;

use relay_tests::ledger::emitted;
use relay_tests::load;
use relay_tests::relay::offset;
use relay_tests::servers::nats::NatsServer;
use relay_tests::{PATIENCE, Relay, within};
use sapi_sim::{Config, Simulator};

use super::fixture::{Whole, assert_complete, assert_same, delivered, quiet, stored};

const KEYS: &str = "stream = \"SAPI\"\ncreate_stream = true";

async fn busy(rate: f64, length: Duration, overlap: usize) -> Simulator {
    let config = Config {
        rate,
        events: Some((rate * length.as_secs_f64()) as u64),
        wait_clients: 1,
        overlap,
        ..Config::default()
    };
    Simulator::start(config).await.unwrap()
}

/// Waits until the journal holds so many more events: the fault lasts while events flow.
async fn meanwhile(whole: &Whole, events: u64) {
    let status = whole.relay.status().await;
    let wanted = offset(&status["journal"]["last"]) + events;
    let flowed = |status: &serde_json::Value| offset(&status["journal"]["last"]) >= wanted;
    whole.relay.status_where("events to flow", flowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_stored_once_and_in_order_whatever_happens_to_the_server() {
    let _alone = load::alone().await;
    let simulator = busy(1000.0, load::length(), 0).await;
    let mut whole = Whole::start(simulator, NatsServer::start().await, KEYS).await;
    meanwhile(&whole, 500).await;
    whole.server.kill().await;
    meanwhile(&whole, 2000).await;
    whole
        .lake("the absence seen", |row| row["state"] == "retrying")
        .await;
    whole.server.restart().await;
    whole
        .lake("delivery again", |row| row["state"] == "running")
        .await;

    whole.server.freeze();
    meanwhile(&whole, 1000).await;
    whole.server.thaw();
    meanwhile(&whole, 500).await;
    for _ in 0..3 {
        whole.proxy.cut();
        meanwhile(&whole, 300).await;
    }
    whole.proxy.refuse();
    meanwhile(&whole, 1000).await;
    whole.proxy.heal();
    meanwhile(&whole, 500).await;
    whole.proxy.half_close();
    meanwhile(&whole, 500).await;
    whole.proxy.delay(Duration::from_millis(100));
    meanwhile(&whole, 500).await;
    whole.proxy.heal();

    within(
        load::length() + PATIENCE,
        "the last event",
        whole.simulator.finished(),
    )
    .await;
    let emitted = emitted(&whole.simulator);
    whole.delivered(emitted.len()).await;
    assert_same(&stored(&whole.server.jetstream().await).await, &emitted);
    assert!(whole.relay.terminate().await.success());
}

/// Longer than the relay waits for an acknowledgement: it counts as not delivered, and comes again; what the
/// server had in its socket is stored too, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_gets_everything_once() {
    let whole = Whole::start(quiet().await, NatsServer::start().await, KEYS).await;
    whole.simulator.emit(100);
    whole.delivered(100).await;
    whole.server.freeze();
    whole.simulator.emit(1000);
    let late = |row: &serde_json::Value| {
        row["last_error"]
            .to_string()
            .contains("acknowledged within")
    };
    whole.lake("patience to end", late).await;
    whole.server.thaw();
    whole.delivered(1100).await;
    whole
        .lake("delivery again", |row| row["state"] == "running")
        .await;
    let emitted = emitted(&whole.simulator);
    assert_same(&stored(&whole.server.jetstream().await).await, &emitted);
}

/// A network that swallows packets: the same, by the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_packets_is_noticed() {
    let whole = Whole::start(quiet().await, NatsServer::start().await, KEYS).await;
    whole.simulator.emit(10);
    whole.delivered(10).await;
    whole.proxy.black_hole();
    whole.simulator.emit(500);
    whole
        .lake("the silence seen", |row| row["state"] == "retrying")
        .await;
    whole.proxy.heal();
    whole.delivered(510).await;
    let emitted = emitted(&whole.simulator);
    assert_same(&stored(&whole.server.jetstream().await).await, &emitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_data_gets_a_new_stream_and_by_a_seek_all_of_it() {
    let mut whole = Whole::start(quiet().await, NatsServer::start().await, KEYS).await;
    whole.simulator.emit(1000);
    whole.delivered(1000).await;
    whole.server.kill().await;
    whole.simulator.emit(500);
    whole.server.wipe();
    whole.server.restart().await;
    whole.delivered(1500).await;
    let emitted = emitted(&whole.simulator);
    let jetstream = whole.server.jetstream().await;
    assert_same(&stored(&jetstream).await, &emitted[1000..]);

    whole.steer("seek", "{\"to\": \"earliest\"}").await;
    whole.delivered(1500).await;
    let stored = stored(&jetstream).await;
    assert_complete(&stored, &emitted);
    // The last of each key is the last that happened, although the stream had it before the older ones.
    for key in stored
        .iter()
        .filter_map(|stored| stored.header("ce-partitionkey"))
    {
        let of_key = stored
            .iter()
            .filter(|stored| stored.header("ce-partitionkey") == Some(key));
        let numbers = of_key.filter_map(|stored| stored.header("ce-sequence"));
        assert_eq!(numbers.clone().last(), numbers.max(), "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_a_stream_of_others_blocks_the_sink_until_it_is_there() {
    let server = NatsServer::start().await;
    let make = async |server: &NatsServer| {
        let config = async_nats::jetstream::stream::Config {
            name: "SAPI".to_owned(),
            subjects: vec!["sapi.>".to_owned()],
            num_replicas: 1,
            ..Default::default()
        };
        server
            .jetstream()
            .await
            .create_stream(config)
            .await
            .unwrap();
    };
    make(&server).await;
    let mut whole = Whole::start(quiet().await, server, "stream = \"SAPI\"").await;
    whole.simulator.emit(10);
    whole.delivered(10).await;
    assert!(
        whole
            .relay
            .log()
            .contains("duplicate window of stream SAPI is short"),
        "{}",
        whole.relay.log()
    );
    let row = whole.lake("running", |row| row["state"] == "running").await;
    let warning = &row["warnings"][0];
    assert!(
        warning["text"]
            .as_str()
            .unwrap()
            .contains("is short (120s)"),
        "{row}"
    );
    let remedy = "nats stream edit SAPI --dupe-window 10m";
    assert_eq!(warning["remedy"], remedy);
    assert!(row["last_error"].is_null(), "{row}");
    whole.server.kill().await;
    whole.server.wipe();
    whole.server.restart().await;
    whole.simulator.emit(10);
    whole
        .blocked(&[
            "there is no stream SAPI",
            "nats stream add SAPI",
            "sapi.acmecorp01.*.*",
        ])
        .await;
    make(&whole.server).await;
    whole.delivered(20).await;
    let emitted = emitted(&whole.simulator);
    assert_same(
        &stored(&whole.server.jetstream().await).await,
        &emitted[10..],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_killed_under_load_leaves_no_duplicate_and_no_hole() {
    const KILLS: u64 = 6;
    const RATE: f64 = 2000.0;
    let _alone = load::alone().await;
    let length = load::length();
    let simulator = busy(RATE, length, 5_000).await;
    let journal = tempfile::tempdir().unwrap();
    let server = NatsServer::start().await;
    let whole = Whole::start_in(Some(journal.path()), simulator, server, KEYS).await;
    let Whole {
        simulator,
        server,
        mut relay,
        setup,
        proxy: _proxy,
    } = whole;
    let events = (RATE * length.as_secs_f64()) as u64;
    for kill in 1..=KILLS {
        let wanted = events * kill / (KILLS + 2);
        let enough = |status: &serde_json::Value| offset(&status["journal"]["last"]) >= wanted;
        relay.status_where("enough events", enough).await;
        relay.kill().await;
        relay = Relay::start(&setup).await;
    }
    within(length + PATIENCE, "the last event", simulator.finished()).await;
    let emitted = emitted(&simulator);
    delivered(&relay, emitted.len()).await;
    assert_same(&stored(&server.jetstream().await).await, &emitted);
}

//! `sink list | pause | resume | seek` by command, and what of it outlives the relay.

use relay_tests::servers::receiver::Receiver;
use serde_json::Value;

use super::world::{World, hook, numbers};

/// The columns of a sink in `sink list`.
async fn listed(world: &World, name: &str) -> Vec<String> {
    let table = world.told(&["sink", "list"]).await;
    let mut rows = table.lines().map(str::split_whitespace);
    let row = rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.collect::<Vec<_>>()));
    row.unwrap().into_iter().map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_durable_and_costs_nothing() {
    let receiver = Receiver::start().await;
    let world = World::start(|_| hook("hook", &receiver.url("/"), "")).await;
    world.emit_many(3);
    world.settled("hook").await;
    let told: Value = serde_json::from_str(&world.told(&["sink", "pause", "hook"]).await).unwrap();
    assert_eq!(
        (&told["name"], &told["state"]),
        (&"hook".into(), &"paused".into())
    );
    world.emit_many(3);
    // What upstream has sent to a relay that dies before it has written it is lost.
    world.arrived().await;
    // What was answered is durable.
    let world = world.kill().await;
    let behind = |row: &Value| row["lag_events"].as_u64() >= Some(3);
    world.sink("hook", "behind", behind).await;
    let row = listed(&world, "hook").await;
    assert_eq!(row[..2], ["webhook", "paused"]);
    assert_eq!(receiver.counts().requests, 3);
    assert_eq!(world.metric("sink_up", "hook").await, Some(0.0));
    let told: Value = serde_json::from_str(&world.told(&["sink", "resume", "hook"]).await).unwrap();
    assert_eq!(told["state"], "running");
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 2, 3, 4, 5, 6]);
    assert_eq!(listed(&world, "hook").await[1], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_delivers_again_or_passes_and_is_durable_when_it_answers() {
    let receiver = Receiver::start().await;
    let world = World::start(|_| hook("hook", &receiver.url("/"), "concurrency = 1")).await;
    world.emit_many(4);
    world.settled("hook").await;
    let seek = async |world: &World, to: &str| -> String {
        let told = world.told(&["sink", "seek", "hook", "--to", to]).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        told["cursor"].as_str().unwrap().to_owned()
    };
    seek(&world, "earliest").await;
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 2, 3, 4, 1, 2, 3, 4]);
    let events = receiver.taken();
    let third = events[2].header("ce-relaycursor").to_owned();

    world.told(&["sink", "pause", "hook"]).await;
    assert_eq!(seek(&world, &third).await, third);
    // The answer was the promise.
    let world = world.kill().await;
    assert_eq!(world.state("hook", "paused").await["cursor"], *third);
    assert_eq!(receiver.counts().taken, 8);
    world.told(&["sink", "resume", "hook"]).await;
    receiver.accepted(9).await;
    assert_eq!(numbers(&receiver)[8..], [4]);
    world.settled("hook").await;

    // A time is when an event arrived: all of them did after 2020, none after 2100.
    for (to, more) in [
        ("2020-01-01T00:00:00Z", 4),
        ("2100-01-01T00:00:00Z", 0),
        ("latest", 0),
    ] {
        let before = receiver.counts().taken;
        seek(&world, to).await;
        world.settled("hook").await;
        assert_eq!(receiver.counts().taken, before + more, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_said_and_changes_nothing() {
    let receiver = Receiver::start().await;
    let world = World::start(|_| hook("hook", &receiver.url("/"), "")).await;
    world.emit_many(2);
    world.settled("hook").await;
    let epoch = world.relay.status().await["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    for (command, words) in [
        (["sink", "seek", "hook", "--to", "yesterday"], "to:"),
        (
            ["sink", "seek", "hook", "--to", "00000000000000ff.1"],
            "another journal",
        ),
        (
            ["sink", "seek", "hook", "--to", &format!("{epoch}.999999")],
            "lies in the future",
        ),
        (
            ["sink", "seek", "nobody", "--to", "latest"],
            "no sink \"nobody\"",
        ),
        (
            ["sink", "seek", "downstream", "--to", "latest"],
            "a cursor of its own",
        ),
    ] {
        let said = world.refused(&command).await;
        assert!(said.contains(words), "{command:?}: {said}");
    }
    world.emit_many(1);
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 2, 3]);
}

//! SIGHUP: sinks come, change and go, and the subscription stays.

use std::time::{Duration, Instant};

use relay_tests::servers::receiver::{Answer, Receiver};
use serde_json::Value;

use super::world::{World, file, hook, lines, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn sinks_come_change_and_go_while_the_subscription_stays() {
    let (receiver, more) = (Receiver::start().await, Receiver::start().await);
    receiver.answers(|request| Answer::status(if request.path == "/old" { 410 } else { 200 }));
    let old = hook("hook", &receiver.url("/old"), "");
    let archive = |world: &World| file("archive", world.home.path(), "start_from = \"earliest\"");
    let mut world = World::start(|path| {
        [
            old.clone(),
            file("archive", path, "start_from = \"earliest\""),
        ]
        .concat()
    })
    .await;
    let connected_at = world.connected_at().await;
    world.emit_many(3);
    world.settled("archive").await;
    world.state("hook", "disabled").await;

    // One comes; a changed url clears what the old one had said.
    let new = hook("hook", &receiver.url("/new"), "");
    let added = hook("added", &more.url("/"), "");
    assert!(
        world
            .reload(&[new.clone(), archive(&world), added].concat())
            .await
    );
    for sink in ["hook", "added"] {
        world.settled(sink).await;
        world.state(sink, "running").await;
    }
    assert_eq!(
        (numbers(&receiver), numbers(&more)),
        (vec![1, 2, 3], vec![1, 2, 3])
    );

    // Two go: nothing is shown of them any more, and nothing is sent to them.
    assert!(world.metrics().await.contains("sink=\"archive\""));
    assert!(world.reload(&new).await);
    world.emit_many(2);
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 2, 3, 4, 5]);
    assert_eq!(more.counts().requests, 3);
    let metrics = world.metrics().await;
    for gauge in [
        "up",
        "state",
        "lag_events",
        "lag_seconds",
        "retention_headroom_seconds",
    ] {
        let series = format!("sapi_relay_sink_{gauge}{{sink=");
        let shown: Vec<_> = metrics
            .lines()
            .filter(|line| line.starts_with(&series))
            .collect();
        let hook = |line: &&str| line.contains("sink=\"hook\"");
        assert!(!shown.is_empty() && shown.iter().all(hook), "{shown:?}");
    }
    assert!(!world.told(&["sink", "list"]).await.contains("archive"));

    // Its name may serve clients meanwhile.
    let serves = "[sinks.archive]\ntype = \"websocket\"\nlisten = \"127.0.0.1:0\"\n";
    assert!(world.reload(&[&new, serves].concat()).await);
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("clients_connected{sink=\"archive\"} 0"),
        "{metrics}"
    );
    assert!(!metrics.contains("sink_up{sink=\"archive\"}"), "{metrics}");

    // One comes back: its cursor was kept.
    assert!(world.reload(&[new, archive(&world)].concat()).await);
    world.settled("archive").await;
    let kept = lines(world.home.path(), "archive");
    let numbers: Vec<_> = kept
        .iter()
        .map(|line| line["sapisequence"].as_str())
        .collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"].map(Some));
    assert_eq!(world.metric("sink_up", "archive").await, Some(1.0));
    assert_eq!(world.connected_at().await, connected_at);
    assert_eq!(world.simulator.connections().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_changes_nothing_and_says_why() {
    let receiver = Receiver::start().await;
    let good = hook("hook", &receiver.url("/"), "");
    let mut world = World::start(|_| good.clone()).await;
    let connected_at = world.connected_at().await;
    world.emit_many(1);
    world.settled("hook").await;
    let series = "sapi_relay_config_last_reload_successful";
    for (keys, why) in [
        ("on_reject = \"forget\"", "sinks.hook.on_reject"),
        ("batch_bytes = \"lots\"", "sinks.hook.batch_bytes"),
        ("batch_evens = 3", "did you mean batch_events?"),
        ("concurrency = 0", "sinks.hook.concurrency"),
        ("[sinks.lake]\ntype = \"kafak\"", "sinks.lake.type"),
    ] {
        let wrong = hook("hook", &receiver.url("/elsewhere"), keys);
        assert!(!world.reload(&wrong).await, "{keys}");
        let log = world.relay.log();
        let said = log.lines().rfind(|line| line.contains("was not reloaded"));
        assert!(said.unwrap().contains(why), "{why}: {}", said.unwrap());
        assert_eq!(world.relay.metric(series).await, Some(0.0));
    }
    assert!(!world.relay.log().contains("\"changed\""));
    world.emit_many(1);
    world.settled("hook").await;
    let paths: Vec<_> = receiver
        .taken()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["/", "/"]);
    assert!(world.reload(&good).await);
    assert_eq!(world.relay.metric(series).await, Some(1.0));
    assert_eq!(world.connected_at().await, connected_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_do_not_answer_are_left_together() {
    let (hanging, receiver) = (Receiver::start().await, Receiver::start().await);
    hanging.answers_all(Answer::hang());
    let stays = hook("stays", &receiver.url("/"), "");
    let names = ["one", "two", "three", "four"];
    let mut world = World::start(|_| {
        let url = hanging.url("/");
        let hangs = |name: &str| hook(name, &url, "timeout = \"60s\"");
        let hanging: String = names.into_iter().map(hangs).collect();
        // It stands at the end of the file: keys of another section follow no more.
        format!("{stays}{hanging}[shutdown]\ntimeout = \"3s\"\n")
    })
    .await;
    world.emit_many(1);
    hanging.asked(names.len()).await;
    let began = Instant::now();
    let wanted = format!("{stays}[shutdown]\ntimeout = \"3s\"\n");
    assert!(world.reload(&wanted).await);
    let waited = began.elapsed();
    // One after the other they would take twelve seconds.
    assert!(
        waited >= Duration::from_secs(3) && waited < Duration::from_secs(11),
        "{waited:?}"
    );
    world.emit_many(1);
    world.settled("stays").await;
    let left: Vec<Value> = world.relay.status().await["sinks"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(left.len(), 2, "{left:?}");
}

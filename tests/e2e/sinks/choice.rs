//! What a sink is given: by type, from where on, and the relay's own notices.

use relay_tests::servers::receiver::Receiver;
use relay_tests::until;
use serde_json::Value;

use super::world::{World, file, hook, lines, types};

#[tokio::test(flavor = "multi_thread")]
async fn types_are_chosen_by_class_and_excluded_by_glob() {
    let world = World::start(|path| {
        let all = file("all", path, "start_from = \"earliest\"");
        let some =
            "start_from = \"earliest\"\ntypes = [\"Interaction/*\", \"!InteractionRecording*\"]";
        let but = "start_from = \"earliest\"\ntypes = [\"!interactionrecording*\"]";
        [all, file("some", path, some), file("but", path, but)].concat()
    })
    .await;
    let path = world.home.path();
    for (class, event) in [
        ("AgentStatusChange", "x"),
        ("Interaction", "InteractionCreated"),
        ("Interaction", "InteractionRecordingStarted"),
        ("AgentProvChange", "InteractionCreated"),
        ("Interaction", "InteractionRecordingReady"),
        ("Interaction", "InteractionEnded"),
    ] {
        world.emit_as(class, event, "");
    }
    for sink in ["all", "some", "but"] {
        world.settled(sink).await;
    }
    assert_eq!(lines(path, "all").len(), 6);
    let some = lines(path, "some");
    let created = "com.8x8.cc.Interaction.InteractionCreated";
    let ended = "com.8x8.cc.Interaction.InteractionEnded";
    assert_eq!(types(&some), [created, ended]);
    let but = lines(path, "but");
    let agents = "com.8x8.cc.AgentStatusChange";
    let provisioned = "com.8x8.cc.AgentProvChange.InteractionCreated";
    assert_eq!(types(&but), [agents, created, provisioned, ended]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_starts_where_it_is_told_and_only_then() {
    let mut world = World::start(|path| file("old", path, "")).await;
    let path = world.home.path().to_owned();
    world.emit_many(3);
    world.settled("old").await;
    let three = |from: &str| {
        let keys = |start: &str| format!("start_from = \"{start}\"");
        let early = file("early", &path, &keys("earliest"));
        let late = file("late", &path, &keys("latest"));
        [file("old", &path, &keys(from)), early, late].concat()
    };
    assert!(world.reload(&three("latest")).await);
    // Committed after the relay said so.
    world.emit_many(2);
    let both = ["early", "late"];
    for sink in both {
        world.settled(sink).await;
    }
    let counts = |names: [&str; 2]| names.map(|name| lines(&path, name).len());
    assert_eq!(counts(both), [5, 2]);
    // One that has a cursor goes on from it, whatever start_from says by now.
    assert!(world.reload(&three("earliest")).await);
    world.emit_many(1);
    for sink in both.into_iter().chain(["old"]) {
        world.settled(sink).await;
    }
    assert_eq!(counts(both), [6, 3]);
    assert_eq!(lines(&path, "old").len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_events_for_who_wants_them_whatever_types_says() {
    let receiver = Receiver::start().await;
    let wants = "notices = true\ntypes = [\"NoSuchType\"]\nstart_from = \"earliest\"";
    let world = World::start(|path| {
        let hook = hook(
            "hook",
            &receiver.url("/"),
            &wants.replace("start_from = \"earliest\"", ""),
        );
        let silent = file("silent", path, "start_from = \"earliest\"");
        [file("told", path, wants), silent, hook].concat()
    })
    .await;
    let path = world.home.path();
    world.emit_many(1);
    world.settled("silent").await;
    assert_eq!(types(&lines(path, "silent")).len(), 1, "the event alone");
    let connected = "io.sapi-relay.notice.connected";
    let told = until("the notice", || async {
        let lines = lines(path, "told");
        lines.into_iter().find(|line| line["type"] == connected)
    })
    .await;
    let cursor = told["relaycursor"].as_str().unwrap();
    assert_eq!(told["id"], format!("notice:{cursor}"));
    assert_eq!(told["specversion"], "1.0");
    assert_eq!(told["source"], "urn:8x8:cc:acmecorp01");
    let body = &told["data"];
    assert_eq!(body["id"], told["id"]);
    assert_eq!(body["kind"], "connected");
    assert_eq!(body["subscription"], "relay_a");
    assert!(!body["text"].as_str().unwrap().is_empty(), "{body}");
    assert!(
        body["at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    assert!(
        types(&lines(path, "told"))
            .iter()
            .all(|it| it.starts_with("io.sapi-relay.notice."))
    );
    // The same in the binary form: attributes as headers, the body alone as the body.
    let request = until("the notice", || async {
        let mut requests = receiver.taken().into_iter();
        requests.find(|request| request.header("ce-type") == connected)
    })
    .await;
    assert_eq!(request.header("ce-id"), told["id"].as_str().unwrap());
    assert_eq!(request.header("content-type"), "application/json");
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(sent, *body);
    world.settled("hook").await;
    assert!(
        receiver
            .taken()
            .iter()
            .all(|request| !request.holds("InteractionCreated"))
    );
}

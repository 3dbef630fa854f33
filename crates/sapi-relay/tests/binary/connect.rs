//! `check --connect`: every sink is tried, and every failure is listed with what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{Home, Relay, blocking, simulator};

fn file(name: &str, path: &std::path::Path) -> String {
    format!(
        "[sinks.{name}]\ntype = 'file'\npath = '{}'\n",
        path.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_is_tried_and_nothing_is_made() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    home.configure(&file("archive", &home.path("events.ndjson")));
    let before = fs::read_dir(home.dir.path()).unwrap().count();
    let (home, (status, out, said)) = blocking(move || {
        let ended = home.ended(&["check", "--connect"], &[]);
        (home, ended)
    })
    .await;
    assert_eq!(status.code(), Some(0), "{said}");
    for ready in ["sinks.archive is ready", "sinks.downstream is ready"] {
        assert!(out.contains(ready), "{out}");
    }
    let after = fs::read_dir(home.dir.path()).unwrap().count();
    assert_eq!(after, before, "neither journal nor file");
    assert!(simulator.connections().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_that_runs_listens_on_is_no_failure() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    for (key, address) in [
        ("[admin]", &relay.admin),
        ("type = 'websocket'", &relay.downstream),
    ] {
        let (before, after) = ("127.0.0.1:0", address.as_str());
        home.edit(
            &format!("{key}\nlisten = '{before}'"),
            &format!("{key}\nlisten = '{after}'"),
        );
    }
    let (status, out, said) = blocking(move || home.ended(&["check", "--connect"], &[])).await;
    assert_eq!(status.code(), Some(0), "{said}");
    let served = "sinks.downstream is served by the relay that runs";
    assert!(out.contains(served), "{out}");
    drop(relay);
}

#[test]
fn every_failure_is_listed_with_its_remedy() {
    let home = Home::new("ws://127.0.0.1:1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::create_dir(home.path("folder")).unwrap();
    home.configure(&format!(
        "{}{}{}[sinks.more]\ntype = 'websocket'\nlisten = '{address}'\n\
         [sinks.lake]\ntype = 'nats'\nservers = ['nats://127.0.0.1:1']\nstream = 's'\n",
        file("absent", &home.path("absent/events")),
        file("folder", &home.path("folder")),
        file("fine", &home.path("fine")),
    ));
    let (status, out, said) = home.ended(&["check", "--connect"], &[]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(out.contains("sinks.fine is ready"), "{out}");
    for (failure, remedy) in [
        ("upstream: connecting to ws://127.0.0.1:1", "upstream.proxy"),
        ("sinks.absent: ", "make the directory of"),
        ("sinks.folder: ", "give the path of a file"),
        (
            "sinks.more: sinks.more.listen",
            "another program listens there",
        ),
        ("sinks.lake: ", ""),
    ] {
        assert!(
            said.contains(failure) && said.contains(remedy),
            "{failure}: {said}"
        );
    }
    assert!(said.contains("5 of 7"), "{said}");
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    let home = Home::new("ws://127.0.0.1:1");
    let locked = home.path("locked");
    fs::create_dir(&locked).unwrap();
    home.configure(&file("archive", &locked.join("events")));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::write(locked.join("probe"), "").is_ok();
    let (status, out, said) = home.ended(&["check", "--connect"], &[]);
    assert_eq!(status.code(), Some(78), "{said}");
    let told = said.contains("let the relay's user write") && !out.contains("archive is ready");
    assert!(told || is_root, "{said}");
}

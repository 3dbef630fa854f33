//! SIGHUP with several sinks: what changes, what stays, and what a configuration that is wrong costs.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::daemon::{Home, Relay, blocking, connected, lines, simulator, until};

/// SIGHUP, until the log has said something so often.
async fn reloaded(relay: &Relay, says: &str, times: usize) {
    relay.signal("HUP");
    until(says, || {
        let log = relay.log.lock().unwrap();
        log.matches(says).count() == times
    })
    .await;
}

const DONE: &str = "configuration reloaded";
const REFUSED: &str = "the configuration was not reloaded";

fn file(home: &Home, name: &str, path: &str) -> String {
    let path = home.path(path).display().to_string();
    format!("[sinks.{name}]\ntype = 'file'\npath = '{path}'\nstart_from = 'earliest'\n")
}

fn websocket(name: &str, listen: &str, more: &str) -> String {
    format!("[sinks.{name}]\ntype = 'websocket'\nlisten = '{listen}'\n{more}\n")
}

/// An address that nobody listens on.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Subscribes to events; the connection stays open.
fn subscribe(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

/// Whether it is still open.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_are_added_changed_and_removed_beside_those_that_stay() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let (stays, changes) = (
        file(&home, "stays", "stays"),
        file(&home, "changes", "before"),
    );
    let more = free();
    home.configure(&format!("{stays}{changes}{}", websocket("more", &more, "")));
    let relay = Relay::start(&home);
    connected(&simulator).await;
    let (mut downstream, mut leaving) = (subscribe(&relay.downstream), subscribe(&more));
    simulator.emit(3);
    until("three lines each", || {
        lines(&home.path("stays")) == 3 && lines(&home.path("before")) == 3
    })
    .await;

    // One changes its file, one comes, the other listener changes at its own address.
    let (moved, added) = (
        file(&home, "changes", "after"),
        file(&home, "added", "added"),
    );
    let fewer = websocket("more", &more, "max_clients = 7");
    home.configure(&format!("{stays}{moved}{added}{fewer}"));
    reloaded(&relay, DONE, 1).await;
    simulator.emit(2);
    until("two more", || {
        lines(&home.path("stays")) == 5
            && lines(&home.path("after")) == 2
            && lines(&home.path("added")) == 5
    })
    .await;
    assert_eq!(lines(&home.path("before")), 3);
    until("its end", || !is_open(&mut leaving)).await;
    let mut third = subscribe(&more);

    // Another listener takes over the address of one that is removed.
    home.configure(&format!("{stays}{added}{}", websocket("other", &more, "")));
    reloaded(&relay, DONE, 2).await;
    until("its end", || !is_open(&mut third)).await;
    drop(subscribe(&more));
    let listed = relay.admin(&["sink", "list"]);
    assert!(
        listed.contains("other") && !listed.contains("changes"),
        "{listed}"
    );
    assert!(is_open(&mut downstream), "who stays keeps its clients");
    assert_eq!(
        simulator.connections().len(),
        1,
        "one connection from first to last"
    );
    let log = relay.log.lock().unwrap().clone();
    assert!(!log.contains("\"sink\":\"stays\""), "{log}");
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_can_not_be_had_stops_nothing() {
    let home = Home::new("ws://127.0.0.1:1");
    let (one, more) = (file(&home, "one", "one"), free());
    home.configure(&format!("{one}{}", websocket("more", &more, "")));
    let relay = Relay::start(&home);
    let mut clients = [subscribe(&relay.downstream), subscribe(&more)];
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()));
    let (_taken, address) = taken.unwrap();
    let elsewhere = file(&home, "one", "elsewhere");
    let no_key = "tls.cert_file = '/nowhere/cert.pem'\ntls.key_file = '/nowhere/key.pem'";
    let secret = home.path("token");
    fs::write(&secret, "").unwrap();
    let empty = format!("clients.a.token_file = '{}'", secret.display());
    for (times, (broken, why)) in [
        (
            websocket("more", &address, ""),
            "another program listens there",
        ),
        (websocket("more", &more, no_key), "can't be read"),
        (websocket("more", &more, &empty), "token"),
        (websocket("more", &more, "max_clints = 3"), "max_clients"),
    ]
    .into_iter()
    .enumerate()
    {
        home.configure(&format!("{elsewhere}{broken}"));
        reloaded(&relay, REFUSED, times + 1).await;
        let log = relay.log.lock().unwrap().clone();
        assert!(log.contains(why), "{why}: {log}");
        assert!(!log.contains("\"changed\""), "{log}");
        assert!(clients.iter_mut().all(is_open), "{why}");
    }
    assert!(!home.path("elsewhere").exists());
    assert!(relay.admin(&["sink", "list"]).contains("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_another_starts_its_sink_again_and_no_other() {
    let home = Home::new("ws://127.0.0.1:1");
    let secret = home.path("token");
    fs::write(&secret, "one").unwrap();
    let nats = format!(
        "[sinks.lake]\ntype = 'nats'\nservers = ['nats://127.0.0.1:1']\nstream = 's'\ntoken_file = '{}'\n",
        secret.display()
    );
    home.configure(&format!("{nats}{}", file(&home, "one", "one")));
    let relay = Relay::start(&home);
    reloaded(&relay, DONE, 1).await;
    assert!(!relay.log.lock().unwrap().contains("\"changed\""));
    fs::write(&secret, "two").unwrap();
    reloaded(&relay, DONE, 2).await;
    let log = relay.log.lock().unwrap().clone();
    assert_eq!(log.matches("\"changed\"").count(), 1, "{log}");
    reloaded(&relay, DONE, 3).await;
    let log = relay.log.lock().unwrap().clone();
    assert_eq!(log.matches("\"changed\"").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_reload_that_waits_for_a_destination() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    // It accepts, and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    home.configure(&format!(
        "[sinks.mute]\ntype = 'webhook'\nurl = 'http://{}/'\nstart_from = 'earliest'\n\
         [shutdown]\ntimeout = '6s'\n",
        mute.local_addr().unwrap()
    ));
    let relay = Relay::start(&home);
    connected(&simulator).await;
    simulator.emit(5);
    let (mute, _request) = blocking(move || {
        let request = mute.accept().unwrap();
        (mute, request)
    })
    .await;
    home.edit("type = 'webhook'", "type = 'webhook'\nnotices = true");
    relay.signal("HUP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    relay.signal("TERM");
    simulator
        .wait_until(|simulator| simulator.connected() == 0)
        .await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(!relay.log.lock().unwrap().contains(DONE));
    let mut relay = relay;
    let (status, log) = blocking(move || (relay.child.wait().unwrap(), relay.log())).await;
    assert_eq!(status.code(), Some(0), "{log}");
    drop(mute);
}

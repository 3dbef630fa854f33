//! The daemon in operation: systemd, a second signal, metrics of a reload, clients that come back
//! and clients that go away, a journal that is damaged.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use sapi_sim::DEMO_TOKEN;

use crate::daemon::{BINARY, Home, Relay, blocking, connected, emitted, simulator, until};

/// A plain GET.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let next = move || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let path = path.display().to_string();
    let relay = Relay::start_with(
        &home,
        &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "100000")],
    );
    assert_eq!(next(), "READY=1\n");
    assert_eq!(next(), "WATCHDOG=1\n");
    assert_eq!(next(), "WATCHDOG=1\n");
    relay.signal("HUP");
    let mut told = next();
    while told == "WATCHDOG=1\n" {
        told = next();
    }
    assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
    connected(&simulator).await;
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
    while told != "STOPPING=1\n" {
        told = next();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_neither_upstream_nor_token() {
    let home = Home::new("ws://127.0.0.1:1");
    let listen = "[admin]\nlisten = '127.0.0.1:0'\n";
    home.edit(listen, &format!("{listen}token = 'admin-token'\n"));
    let relay = Relay::start(&home);
    assert_eq!(blocking(move || relay.admin(&["health"])).await, "alive\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let simulator = simulator().await;
    simulator.set_fault("close-never-answered").unwrap();
    let home = Home::new(&simulator.ws_url());
    let mut relay = Relay::start(&home);
    connected(&simulator).await;
    // An echo within half a second does not count, one of the later ones does.
    let mut ended = None;
    until("its end", || {
        relay.signal("TERM");
        ended = relay.child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    let log = relay.log();
    assert_eq!(ended.and_then(|status| status.code()), Some(70), "{log}");
    assert!(log.contains("second signal"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_is_seen_in_the_metrics() {
    let home = Home::new("ws://127.0.0.1:1");
    let relay = Relay::start(&home);
    let series = "sapi_relay_config_last_reload_successful";
    let metrics = || get(&relay.admin, "/metrics");
    assert!(metrics().contains(&format!("{series} 1")), "{}", metrics());
    home.configure("[nonsense]\nx = 1");
    relay.signal("HUP");
    until("a failure", || metrics().contains(&format!("{series} 0"))).await;
    home.configure("");
    relay.signal("HUP");
    until("a success", || metrics().contains(&format!("{series} 1"))).await;
}

/// SIGHUP, until so many reloads have succeeded.
async fn reloaded(relay: &Relay, times: usize) {
    relay.signal("HUP");
    until("a reload", || {
        let log = relay.log.lock().unwrap();
        log.matches("configuration reloaded").count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_hands_the_upstream_token_to_what_waits_for_it() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let token = format!("token = '{DEMO_TOKEN}'");
    home.edit(&token, "token = 'expired'");
    let relay = Relay::start(&home);
    until("the refusal", || {
        get(&relay.admin, "/v1/status").contains("backing_off(auth)")
    })
    .await;
    home.edit("'expired'", "'mistyped'");
    reloaded(&relay, 1).await;
    home.edit("token = 'mistyped'", &token);
    reloaded(&relay, 2).await;
    connected(&simulator).await;
    simulator.emit(1);
    blocking(move || {
        let mut tail = relay.tail(&["--from", "earliest", "--format", "raw"]);
        assert_eq!(tail.events(1).len(), 1);
        let log = relay.log.lock().unwrap().clone();
        assert!(!log.contains("takes effect at the next start"), "{log}");
        assert!(!log.contains(DEMO_TOKEN) && !log.contains("mistyped"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_can_not_change_goes_on_as_it_was() {
    let home = Home::new("ws://127.0.0.1:1");
    let listen = "[admin]\nlisten = '127.0.0.1:0'\n";
    let guarded = format!("{listen}token = 'admin-token'\n");
    home.edit(listen, &guarded);
    let relay = Relay::start(&home);
    let status = || get(&relay.admin, "/v1/status");
    assert!(status().starts_with("HTTP/1.1 401"), "{}", status());
    home.edit(&guarded, "[admin]\nlisten = '127.0.0.1:1'\n");
    reloaded(&relay, 1).await;
    let asked = status();
    assert!(asked.starts_with("HTTP/1.1 401"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_reload_can_not_have_changes_nothing() {
    let home = Home::new("ws://127.0.0.1:1");
    let relay = Relay::start(&home);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = home.path("events.ndjson").display().to_string();
    home.configure(&format!(
        "[sinks.archive]\ntype = 'file'\npath = '{file}'\n[sinks.more]\ntype = 'websocket'\nlisten = '{address}'"
    ));
    relay.signal("HUP");
    until("the refusal", || {
        relay.log.lock().unwrap().contains("was not reloaded")
    })
    .await;
    until("as before", || {
        !relay.admin(&["sink", "list"]).contains("archive")
    })
    .await;
    assert!(relay.admin(&["sink", "list"]).contains("downstream"));
    assert!(get(&relay.downstream, "/v1/history").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_costs_no_client_its_connection() {
    let home = Home::new("ws://127.0.0.1:1");
    let client =
        |name: &str| format!("[sinks.downstream.clients.{name}]\ntoken = '{name}-token'\n");
    home.configure(&client("one"));
    let relay = Relay::start(&home);
    let mut stream = TcpStream::connect(&relay.downstream).unwrap();
    let request = "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer one-token\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let series = "sapi_relay_clients_connected{sink=\"downstream\"} 1";
    let metrics = || get(&relay.admin, "/metrics");
    until("the client", || metrics().contains(series)).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("[sinks.more]\ntype = 'websocket'\nlisten = '{address}'\n");
    home.configure(&[client("one"), client("two"), more].concat());
    relay.signal("HUP");
    until("the refusal", || {
        relay.log.lock().unwrap().contains("was not reloaded")
    })
    .await;
    let metrics = metrics();
    assert!(metrics.contains(series), "{metrics}");
    let mut left = metrics
        .lines()
        .filter(|line| line.starts_with("sapi_relay_clients_disconnected_total{"));
    assert!(left.all(|line| line.ends_with(" 0")), "{metrics}");
    let path = "/v1/history HTTP/1.1\r\nAuthorization: Bearer two-token\r\nX:";
    assert!(get(&relay.downstream, path).starts_with("HTTP/1.1 401"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_comes_back_with_its_cursor() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    connected(&simulator).await;
    simulator.emit(5);
    let mut tail = relay.tail(&["--from", "earliest", "--format", "raw", "--types", "*"]);
    let (mut tail, mut seen) = blocking(move || {
        let seen = tail.events(5);
        (tail, seen)
    })
    .await;
    let listen = relay.downstream.clone();
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
    let variable = [("SAPI_RELAY_SINKS__DOWNSTREAM__LISTEN", listen.as_str())];
    let _relay = Relay::start_with(&home, &variable);
    connected(&simulator).await;
    simulator.emit(5);
    seen.extend(blocking(move || tail.events(5)).await);
    assert_eq!(seen, emitted(&simulator));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_a_tail_quietly() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    connected(&simulator).await;
    let mut tail = relay.tail(&["--from", "earliest"]);
    let mut tail = blocking(move || {
        tail.take(1);
        tail
    })
    .await;
    tail.close();
    let status = loop {
        simulator.emit(10);
        if let Some(status) = tail.child.try_wait().unwrap() {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_damaged_is_named() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let relay = Relay::start(&home);
    connected(&simulator).await;
    simulator.emit(100);
    let relay = blocking(move || {
        relay
            .tail(&["--from", "earliest", "--format", "raw"])
            .events(100);
        relay
    })
    .await;
    let (status, log) = blocking(|| relay.terminate()).await;
    assert_eq!(status.code(), Some(0), "{log}");
    let journal = home.path("journal");
    let mut files = fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_segment =
        |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "segment");
    let segment = files.find(is_segment).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    // In the middle of what was written: about 700 bytes an event.
    file.seek(SeekFrom::Start(30_000)).unwrap();
    file.write_all(&[0xff; 8]).unwrap();
    let dir = journal.display().to_string();
    let run = |command: &str| {
        Command::new(BINARY)
            .args(["journal", command, "--dir", &dir])
            .output()
            .unwrap()
    };
    let verified = run("verify");
    let out = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(70), "{out}");
    assert!(out.contains(&segment.display().to_string()), "{out}");
    let exported = run("export");
    let lines = String::from_utf8_lossy(&exported.stdout).lines().count();
    assert!(
        (90..100).contains(&lines),
        "{lines}: {}",
        String::from_utf8_lossy(&exported.stderr)
    );
    assert!(exported.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tries_the_upstream_if_asked() {
    let simulator = simulator().await;
    let home = Home::new(&simulator.ws_url());
    let (status, out, said) = blocking(move || home.ended(&["check", "--connect"], &[])).await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(out.contains("is reachable, without TLS"), "{out}");
    assert!(
        simulator.connections().is_empty(),
        "nothing is subscribed to"
    );
    let nobody = Home::new("ws://127.0.0.1:1");
    let (status, _, said) = nobody.ended(&["check", "--connect"], &[]);
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.contains("connecting to ws://127.0.0.1:1") && said.contains("upstream.proxy"),
        "{said}"
    );
}

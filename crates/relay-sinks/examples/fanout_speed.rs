//! What a delivery to a WebSocket client costs: CPU per event and client at 1, 8 and 32 events a
//! flush, for 1 and 100 clients, then replay from disk to one client.
//!
//! `cargo run --release -p relay-sinks --example fanout_speed`. The clients live in a process of
//! their own; the CPU of the thread that commits is not counted.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measurement, not a service"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::event::{Head, Kind};
use relay_core::intake::{Across, Core, CoreConfig, DedupConfig, JournalConfig};
use relay_core::sink::Listener;
use relay_core::{Bus, Metrics};
use relay_journal::{Log, LogOptions, Writer};
use relay_sinks::websocket::{Config, Context, Websocket};
use rustix::time::{ClockId, clock_gettime};
use sapi_protocol::Format;
use tokio_util::sync::CancellationToken;

const DOCUMENT: usize = 1024;
const REPLAYED: u64 = 300_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let Some(addr) = arguments.next() {
        let mut number = || arguments.next().unwrap().parse::<u64>().unwrap();
        let (count, frames, from) = (number(), number(), number());
        return read_frames(addr.parse().unwrap(), count, frames, from > 0);
    }
    // First: later on, what has been freed would serve again.
    memory();
    println!("CPU per delivery, {DOCUMENT} B documents as CloudEvents:");
    for clients in [1, 100] {
        for flush in [1, 8, 32] {
            let rounds = 200_000 / (clients * flush).max(20);
            let micros = measure(clients, flush, rounds);
            let bare = bare(clients, flush, rounds);
            println!(
                "{clients:>4} clients, {flush:>2} events a flush: {micros:.2} µs; bare writes {bare:.2} µs"
            );
        }
    }
    replay();
}

struct Relay {
    runtime: tokio::runtime::Runtime,
    writer: Writer,
    bus: Bus,
    metrics: Arc<Metrics>,
    addr: SocketAddr,
    _core: Core,
    _dir: tempfile::TempDir,
}

impl Relay {
    fn new(memory: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            identity: "acmecorp01".to_owned(),
            ..LogOptions::default()
        };
        let (writer, log, _) = Log::open(&dir.path().join("log"), options).unwrap();
        let bus = Bus::new(log, memory);
        let metrics = Arc::new(Metrics::new().unwrap());
        let core = Core::open(core(&dir.path().join("core"), &metrics)).unwrap();
        let context = Context {
            store: core.store.clone(),
            metrics: Arc::clone(&metrics),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = Config::new("downstream", "acmecorp01", "127.0.0.1:0".parse().unwrap());
        let sink = runtime.block_on(Websocket::bind(config, context)).unwrap();
        let addr = sink.local_addr();
        let serving = sink.serve(bus.clone(), CancellationToken::new());
        // The runtime is the task's owner here: it ends with it.
        drop(runtime.spawn(serving));
        Self {
            runtime,
            writer,
            bus,
            metrics,
            addr,
            _core: core,
            _dir: dir,
        }
    }

    fn commit(&mut self, count: u64) {
        let payload = format!(
            r#"{{"Interaction":{{"event":"InteractionCreated","pad":"{}"}}}}"#,
            "x".repeat(DOCUMENT - 60)
        );
        let mut head = Vec::new();
        let fields = Head {
            format: Format::Json,
            id_hash: 1,
            content_hash: 2,
            sequence: Some(3),
            timestamp: Some(1_669_235_836_708),
            id: "acmecorp01:us1tomcat04.us1.whitepj.net-sapi-v1:225:1669235836708",
            subscription: "relay_a",
            class: "Interaction",
            event_type: "InteractionCreated",
            key: "int-184a63564dc-WY1ePKvQm6kKmrTnCELn1LATQ-phone-00-acmecorp01",
            media: "phone",
            instance: "us1tomcat04.us1.whitepj.net-sapi-v1",
        };
        fields.encode(&mut head);
        let mut group = self.writer.begin();
        for _ in 0..count {
            group.push(
                Kind::Event as u8,
                1_669_235_836_800,
                &head,
                payload.as_bytes(),
            );
        }
        let committed = self.writer.commit(group).unwrap();
        self.bus.publish(committed);
    }

    fn sent(&self) -> u64 {
        self.metrics
            .client_events_total
            .with_label_values(&["downstream"])
            .get()
    }

    fn until(what: impl Fn() -> bool) {
        while !what() {
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }
}

fn core(dir: &std::path::Path, metrics: &Arc<Metrics>) -> CoreConfig {
    CoreConfig {
        tenant: "acmecorp01".to_owned(),
        dir: dir.to_owned(),
        subs_ids: vec!["relay_a".into()],
        cache_horizon: Duration::from_hours(2),
        dedup: DedupConfig {
            horizon: Duration::from_hours(2),
            memory: 1 << 20,
            across: Across::MsgInfo,
        },
        journal: JournalConfig {
            retention_age: Duration::from_hours(72),
            retention_bytes: 1 << 24,
            commit_window: Duration::from_millis(2),
            reserve: 0,
        },
        bus_memory: 1 << 20,
        dead_letters: relay_core::dead_letters::DeadLetterConfig {
            retention_age: Duration::from_hours(1),
            retention_bytes: 1 << 20,
        },
        metrics: Arc::clone(metrics),
        traces: relay_core::traces::Traces::default(),
        boards: Vec::new(),
    }
}

fn clients(addr: SocketAddr, count: u64, frames: u64, from_start: bool) -> Child {
    let numbers = [count, frames, u64::from(from_start)].map(|number| number.to_string());
    Command::new(std::env::current_exe().unwrap())
        .arg(addr.to_string())
        .args(numbers)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Microseconds of CPU a delivery.
fn measure(clients_count: u64, flush: u64, rounds: u64) -> f64 {
    let mut relay = Relay::new(64 << 20);
    let mut child = clients(relay.addr, clients_count, flush * rounds, false);
    let connected = relay
        .metrics
        .clients_connected
        .with_label_values(&["downstream"]);
    Relay::until(|| connected.get() == i64::try_from(clients_count).unwrap());
    std::thread::park_timeout(Duration::from_millis(200));
    let (before, mine) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
    for round in 1..=rounds {
        relay.commit(flush);
        Relay::until(|| relay.sent() == round * flush * clients_count);
    }
    let used = cpu(ClockId::ProcessCPUTime) - before - (cpu(ClockId::ThreadCPUTime) - mine);
    child.wait().unwrap();
    relay.runtime.shutdown_background();
    used * 1e6 / (clients_count * flush * rounds) as f64
}

/// The same bytes written to as many sockets by one thread that does nothing else.
fn bare(clients_count: u64, flush: u64, rounds: u64) -> f64 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = clients(
        listener.local_addr().unwrap(),
        clients_count,
        flush * rounds,
        false,
    );
    let mut sockets: Vec<_> = (0..clients_count)
        .map(|_| {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _read = socket.read(&mut head).unwrap();
            socket
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                .unwrap();
            socket.set_nodelay(true).unwrap();
            socket
        })
        .collect();
    let mut frame = vec![0x81, 126, 0x06, 0xa4];
    frame.resize(4 + 0x06a4, b'x');
    let frames = frame.repeat(usize::try_from(flush).unwrap());
    let before = cpu(ClockId::ThreadCPUTime);
    for _ in 0..rounds {
        for socket in &mut sockets {
            socket.write_all(&frames).unwrap();
        }
        std::thread::park_timeout(Duration::from_micros(50));
    }
    let used = cpu(ClockId::ThreadCPUTime) - before;
    child.wait().unwrap();
    used * 1e6 / (clients_count * flush * rounds) as f64
}

/// What a connection takes once a burst has drained.
fn memory() {
    const CLIENTS: u64 = 2000;
    const EVENTS: u64 = 200;
    let mut relay = Relay::new(1 << 20);
    relay.commit(EVENTS);
    let before = resident();
    let mut child = clients(relay.addr, CLIENTS, 2 * EVENTS, true);
    let connected = relay
        .metrics
        .clients_connected
        .with_label_values(&["downstream"]);
    Relay::until(|| connected.get() == i64::try_from(CLIENTS).unwrap());
    Relay::until(|| relay.sent() == CLIENTS * EVENTS);
    std::thread::park_timeout(Duration::from_millis(500));
    let each = (resident().saturating_sub(before)) / CLIENTS;
    println!("{CLIENTS} clients after a burst: {each} B resident a connection");
    relay.commit(EVENTS);
    child.wait().unwrap();
    relay.runtime.shutdown_background();
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

fn replay() {
    let mut relay = Relay::new(1 << 20);
    for _ in 0..REPLAYED / 500 {
        relay.commit(500);
    }
    let before = cpu(ClockId::ProcessCPUTime);
    let started = Instant::now();
    let mut child = clients(relay.addr, 1, REPLAYED, true);
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    let (elapsed, used) = (started.elapsed(), cpu(ClockId::ProcessCPUTime) - before);
    child.wait().unwrap();
    println!(
        "replay from disk to one client: {:.0} events/s, {:.2} µs CPU an event",
        REPLAYED as f64 / elapsed.as_secs_f64(),
        used * 1e6 / REPLAYED as f64
    );
    relay.runtime.shutdown_background();
}

fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The other process: reads so many frames on each of so many connections.
fn read_frames(addr: SocketAddr, count: u64, frames: u64, from_start: bool) {
    let readers: Vec<_> = (0..count)
        .map(|_| std::thread::spawn(move || read_connection(addr, frames, from_start)))
        .collect();
    for reader in readers {
        reader.join().unwrap();
    }
    println!("done");
}

fn read_connection(addr: SocketAddr, frames: u64, from_start: bool) {
    let mut socket = TcpStream::connect(addr).unwrap();
    let from = if from_start { "earliest" } else { "now" };
    let request = format!(
        "GET /v1/stream?from={from} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let (mut buffer, mut filled, mut seen) = (vec![0; 256 * 1024], 0, 0);
    while seen < frames {
        filled += socket.read(&mut buffer[filled..]).unwrap();
        let mut start = 0;
        while let Some(length) = frame_length(&buffer[start..filled]) {
            seen += u64::from(buffer[start] == 0x81);
            start += length;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// The length of the frame that bytes begin with, if it is wholly there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes.get(1)? {
        126 => 4 + usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        short => 2 + usize::from(short),
    };
    (length <= bytes.len()).then_some(length)
}

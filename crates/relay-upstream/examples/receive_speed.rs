//! Prints what a subscription costs per event: socket, WebSocket, framing and hand-over, in CPU time.
//!
//! `cargo run --release -p relay-upstream --example receive_speed [events] [bytes]`; loopback only.

use std::io::{BufWriter, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use relay_core::Admit;
use relay_core::admit::{Connected, Disconnected, Received, Stopped};
use relay_upstream::{Secret, UpstreamConfig, direct};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::sync::CancellationToken;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Counts, and stops the run when all have come.
#[derive(Clone)]
struct Counter {
    seen: Arc<watch::Sender<(usize, usize)>>,
    wanted: usize,
    stop: CancellationToken,
}

impl Admit for Counter {
    async fn connected(&self, _event: Connected) -> Result<(), Stopped> {
        Ok(())
    }

    async fn documents(&self, received: Received) -> Result<(), Stopped> {
        self.seen.send_modify(|(events, batches)| {
            *events += received.documents.len();
            *batches += 1;
        });
        if self.seen.borrow().0 >= self.wanted {
            self.stop.cancel();
        }
        Ok(())
    }

    async fn disconnected(&self, _ended: Disconnected) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Answers one request, then writes as fast as it is read.
fn serve(listener: &TcpListener, events: usize, bytes: usize) -> Result<(), Failed> {
    let (mut stream, _) = listener.accept()?;
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8(request)?;
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let mut out = BufWriter::with_capacity(256 << 10, stream.try_clone()?);
    for n in 0..events {
        let mut document = format!(
            "{{\"Interaction\":{{\"event\":\"InteractionCreated\",\"interactionGUID\":\
             \"int-184a63564dc-ohWfVIbHJz2Hr2JFhAfdlb4Fa-phone-00-acmecorp01\",\"msgInfo\":\
             {{\"instanceId\":\"us1tomcat04\",\"sequenceId\":{n},\"timestamp\":1669235827942}},\
             \"attachedData\":{{\"attachedDatum\":["
        );
        while document.len() + 70 < bytes {
            document
                .push_str("{\"attachedDataKey\":\"phoneNum\",\"attachedDataValue\":5515557212},");
        }
        document.push_str("{\"attachedDataKey\":\"med\",\"attachedDataValue\":\"T\"}]}}}");
        Frame::message(document, OpCode::Data(Data::Text), true).format(&mut out)?;
    }
    out.flush()?;
    drop(out);
    until_closed(stream);
    Ok(())
}

fn until_closed(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).is_ok_and(|count| count > 0) {
        if stream.write_all(&[0x88, 0]).is_err() {
            return;
        }
    }
}

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> Result<u64, Failed> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let events = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let bytes = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("ws://{}", listener.local_addr()?).parse()?;
    let server = std::thread::spawn(move || serve(&listener, events, bytes));
    let config = UpstreamConfig::new(origin, "acmecorp01", Secret::literal("token"), &["speed"]);
    let stop = CancellationToken::new();
    let counter = Counter {
        seen: Arc::new(watch::channel((0, 0)).0),
        wanted: events,
        stop: stop.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (begun, cpu) = (Instant::now(), cpu_ns()?);
    runtime.block_on(direct(
        Arc::new(config),
        "speed".into(),
        counter.clone(),
        stop,
    ))?;
    let (wall, cpu) = (begun.elapsed(), cpu_ns()? - cpu);
    let (seen, batches) = *counter.seen.borrow();
    server.join().map_err(|_panic| "the server panicked")??;
    let per_event = cpu / u64::try_from(seen)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{seen} events of {bytes} bytes in {batches} batches: {wall:?}, {per_event} ns CPU each"
    )?;
    Ok(())
}

//! How fast the simulator is, on loopback, with a reader that only counts bytes: burst mode, and the
//! world with its ledger. `cargo run --release -p sapi-sim --example throughput [EVENTS]`.

use std::{io::Write as _, time::Instant};

use sapi_protocol::basic_header;
use sapi_sim::{Burst, Config, Simulator};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let events = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 1_000_000,
    };
    let burst = Burst {
        events,
        ..Burst::default()
    };
    let sim = Simulator::start(Config {
        burst: Some(burst),
        ..Config::default()
    })
    .await?;
    report("burst, 1 KiB", &sim, events, |_| {}).await?;
    sim.stop().await;

    let count = events / 5;
    let sim = Simulator::start(Config {
        events: Some(0),
        ..Config::default()
    })
    .await?;
    report("world with ledger", &sim, count, move |sim| {
        for _ in 0..count / 1000 {
            sim.emit(1000);
        }
    })
    .await?;
    sim.stop().await;
    Ok(())
}

async fn report(
    what: &str,
    sim: &Simulator,
    events: u64,
    begin: impl FnOnce(&Simulator),
) -> anyhow::Result<()> {
    let mut stream = subscribe(sim).await?;
    let since = Instant::now();
    let (mut bytes, mut buffer) = (0_u64, vec![0; 1 << 20]);
    begin(sim);
    let finished = sim.finished();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            biased;
            read = stream.read(&mut buffer) => bytes += read? as u64,
            () = &mut finished => break,
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (rate, volume) = (events as f64 / seconds, bytes as f64 / seconds / 1e6);
    writeln!(
        std::io::stdout(),
        "{what}: {events} events in {seconds:.2} s, {rate:.0} events/s, {volume:.0} MB/s"
    )?;
    Ok(())
}

/// A connection after its handshake.
async fn subscribe(sim: &Simulator) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(sim.addr()).await?;
    let authorization = basic_header("acmecorp01", sapi_sim::DEMO_TOKEN);
    let request = format!(
        "GET /api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=speed HTTP/1.1\r\n\
         Host: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {authorization}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    anyhow::ensure!(answer == *b"HTTP/1.1 101", "not connected");
    Ok(stream)
}

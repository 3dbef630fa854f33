//! A bare program that does nothing but write ready frames to sockets: what this machine takes for a
//! delivery before anything of the relay is counted.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// A CloudEvent of a 1 KiB event, with its frame's head.
const FRAME: usize = 1_600;

/// CPU seconds a delivery: `together` frames in one write, to each of so many sockets, at a rate.
pub(crate) async fn write(clients: u64, rate: f64, together: usize, events: u64) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut readers = tokio::task::JoinSet::new();
    let writer = std::thread::spawn(move || writer(address, clients, rate, together, events));
    for _ in 0..clients {
        let (mut stream, _) = listener.accept().await?;
        readers.spawn(async move {
            let mut buffer = vec![0; 1 << 14];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
    let cpu = tokio::task::spawn_blocking(|| writer.join()).await?;
    while readers.join_next().await.is_some() {}
    let cpu = cpu.ok().context("the writer panicked")??;
    Ok(cpu / (clients * events) as f64)
}

/// Writes from one thread, and says what CPU it took.
fn writer(to: SocketAddr, clients: u64, rate: f64, together: usize, events: u64) -> Result<f64> {
    let mut sockets = Vec::new();
    for _ in 0..clients {
        let socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let frames = vec![b'x'; FRAME * together];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let before = thread_cpu();
    let start = tokio::time::Instant::now();
    for round in 0..events / together as u64 {
        let due = Duration::from_secs_f64(round as f64 * together as f64 / rate);
        runtime.block_on(async { tokio::time::sleep_until(start + due).await });
        for socket in &mut sockets {
            socket.write_all(&frames)?;
        }
    }
    Ok(thread_cpu() - before)
}

fn thread_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

//! A client that costs little: it reads frames by their header, counts them, and takes each event's
//! number from its bytes.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::source::{Sent, number_of};

/// Percentiles of a set of times, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Percentiles {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |per_mille: usize| {
            times
                .get(times.len() * per_mille / 1000)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            p50: at(500),
            p99: at(990),
            p999: at(999),
        }
    }
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Client {
    /// Connects to a path of the websocket sink.
    pub(crate) async fn connect(address: SocketAddr, path: &str, buffer: usize) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut client = Self {
            stream,
            buffer: vec![0; buffer],
            filled: 0,
        };
        let end = loop {
            client.fill().await?;
            if let Some(end) = client.buffer[..client.filled]
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
            {
                break end + 4;
            }
        };
        ensure!(
            client.buffer.starts_with(b"HTTP/1.1 101"),
            "the relay refused the client"
        );
        client.consume(end);
        Ok(client)
    }

    /// Reads until `count` events have come; their latencies where the source knows when it sent them.
    pub(crate) async fn receive(&mut self, count: u64, sent: Option<&Sent>) -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        let mut left = count;
        while left > 0 {
            let mut used = 0;
            let now = Instant::now();
            while let Some((text, length)) = frame(&self.buffer[used..self.filled]) {
                if let (true, Some(sent)) = (text.is_text, sent) {
                    let document = &self.buffer[used + text.header..used + length];
                    if let Some(time) = number_of(document).and_then(|n| sent.at(n)) {
                        latencies.push((now - time).as_secs_f64());
                    }
                }
                used += length;
                left = left.saturating_sub(u64::from(text.is_text));
            }
            self.consume(used);
            if left > 0 {
                self.fill().await?;
            }
        }
        Ok(latencies)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
        ensure!(read > 0, "the relay closed");
        self.filled += read;
        Ok(())
    }

    fn consume(&mut self, used: usize) {
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
    }
}

struct FrameHead {
    header: usize,
    is_text: bool,
}

/// The first whole frame of a buffer: its head, and its whole length.
fn frame(buffer: &[u8]) -> Option<(FrameHead, usize)> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    let (header, length) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        short => (2, usize::from(short)),
    };
    let whole = header + length;
    (buffer.len() >= whole).then_some((
        FrameHead {
            header,
            is_text: first & 0x0f == 1,
        },
        whole,
    ))
}

/// Many clients that each read `count` events at once: all their latencies.
pub(crate) async fn receive_all(
    clients: Vec<Client>,
    count: u64,
    sent: Option<&Sent>,
) -> Result<(Vec<Client>, Vec<f64>)> {
    let mut readers = tokio::task::JoinSet::new();
    for mut client in clients {
        let sent = sent.cloned();
        readers.spawn(async move {
            let latencies = client.receive(count, sent.as_ref()).await?;
            anyhow::Ok((client, latencies))
        });
    }
    let (mut clients, mut latencies) = (Vec::new(), Vec::new());
    while let Some(read) = readers.join_next().await {
        let (client, times) = read.context("a client")??;
        clients.push(client);
        latencies.extend(times);
    }
    Ok((clients, latencies))
}

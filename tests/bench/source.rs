//! An upstream that knows when it sent what: the simulator's pre-encoded documents, written at an
//! exact pace, so that a client can tell how long each was under way.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sapi_sim::{Burst, Config, burst_document};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;

/// When each document was written, by its number.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    start: Instant,
    at: Arc<[AtomicU64]>,
}

impl Sent {
    /// When document `n` was written.
    pub(crate) fn at(&self, n: u64) -> Option<Instant> {
        let nanos = self.at.get(usize::try_from(n).ok()?)?.load(Relaxed);
        (nanos > 0).then(|| self.start + Duration::from_nanos(nanos))
    }

    fn now(&self, n: u64) {
        if let Some(slot) = usize::try_from(n).ok().and_then(|n| self.at.get(n)) {
            slot.store(
                u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX),
                Relaxed,
            );
        }
    }
}

/// The number of a pre-encoded document, from its sequence id.
pub(crate) fn number_of(document: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"sequenceId\":1";
    let digits = memchr::memmem::find(document, FIELD)? + FIELD.len();
    std::str::from_utf8(document.get(digits..digits + 12)?)
        .ok()?
        .parse()
        .ok()
}

/// Waits for the relay's subscription and then writes at a pace.
#[derive(Debug)]
pub(crate) struct Source {
    listener: TcpListener,
    config: Config,
    pub(crate) sent: Sent,
}

impl Source {
    /// A source of `count` documents.
    pub(crate) async fn bind(count: u64) -> Result<Self> {
        let at = (0..count).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            listener: TcpListener::bind("127.0.0.1:0").await?,
            config: Config::default(),
            sent: Sent {
                start: Instant::now(),
                at,
            },
        })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Accepts the relay's subscription.
    pub(crate) async fn accept(&self) -> Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(accept_async(stream)
            .await
            .context("the relay's handshake")?
            .into_inner())
    }

    /// The frames of documents `range`, encoded before the clock runs.
    pub(crate) fn frames(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>> {
        let frame = |n| {
            let bytes = burst_document(&self.config, Burst::default(), n);
            let mut frame = vec![0x81, 126];
            frame.extend_from_slice(&u16::try_from(bytes.len())?.to_be_bytes());
            frame.extend_from_slice(&bytes);
            Ok(frame)
        };
        range.map(frame).collect()
    }

    /// Writes frames at `rate` a second, `together` of them in one write; the first is document `first`.
    pub(crate) async fn pace(
        &self,
        stream: &mut TcpStream,
        first: u64,
        frames: &[Vec<u8>],
        rate: f64,
        together: usize,
    ) -> Result<()> {
        let start = tokio::time::Instant::now();
        let mut n = first;
        for chunk in frames.chunks(together) {
            let due = Duration::from_secs_f64((n - first) as f64 / rate);
            tokio::time::sleep_until(start + due).await;
            let upto = n + chunk.len() as u64;
            (n..upto).for_each(|document| self.sent.now(document));
            stream.write_all(&chunk.concat()).await?;
            n = upto;
        }
        Ok(())
    }
}

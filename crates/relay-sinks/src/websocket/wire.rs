//! The byte stream to one client, plain or TLS, with the one clock that tells a slow client from a
//! stalled one. It knows no protocol.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// What the kernel may hold unsent of a client. More hides for how long a client has been slow;
/// less costs a fast one wake-ups.
const UNSENT: u32 = 128 * 1024;

/// The stream below.
#[derive(Debug)]
enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's byte stream. A write that the kernel has refused for longer than the patience fails
/// with [`io::ErrorKind::TimedOut`]: any byte that it takes starts the clock anew.
#[derive(Debug)]
pub(super) struct Wire {
    link: Link,
    patience: Duration,
    /// Runs while the kernel refuses bytes.
    refused: Option<Pin<Box<Sleep>>>,
    stalled: Arc<AtomicBool>,
}

impl Wire {
    /// A plain stream.
    pub(super) fn plain(tcp: TcpStream, patience: Duration) -> Self {
        Self::new(Link::Plain(tcp), patience)
    }

    /// A stream with TLS on it.
    pub(super) fn tls(tls: TlsStream<TcpStream>, patience: Duration) -> Self {
        Self::new(Link::Tls(Box::new(tls)), patience)
    }

    fn new(link: Link, patience: Duration) -> Self {
        Self {
            link,
            patience,
            refused: None,
            stalled: Arc::default(),
        }
    }

    /// Sets a socket up for small writes at once and for early back-pressure.
    pub(super) fn prepare(tcp: &TcpStream, patience: Duration) {
        let socket = SockRef::from(tcp);
        // A socket that refuses these is served all the same, only not as well.
        socket.set_tcp_nodelay(true).ok();
        socket.set_tcp_notsent_lowat(UNSENT).ok();
        // A peer that is gone without a word: found by the pings that it never acknowledges.
        socket
            .set_tcp_user_timeout(Some(patience.max(Duration::from_secs(30)) * 2))
            .ok();
    }

    /// Set once the kernel has refused bytes for longer than the patience.
    pub(super) fn stalled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stalled)
    }

    /// Waits until the kernel would take bytes again.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.tcp().poll_write_ready(cx);
        self.timed(cx, ready)
    }

    /// Whether bytes that it has taken may not have reached the kernel yet, until it is flushed.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self.link, Link::Tls(_))
    }

    /// Hands bytes to the kernel, as many as it takes at once; none through TLS. An error shows at
    /// the next write.
    pub(super) fn write_now(&self, bytes: &[u8]) -> usize {
        match &self.link {
            Link::Plain(tcp) => tcp.try_write(bytes).unwrap_or(0),
            Link::Tls(_) => 0,
        }
    }

    /// Lets the kernel hold as much as it likes: for the last words to a client that does not read.
    pub(super) fn allow_unsent(&self) {
        SockRef::from(self.tcp())
            .set_tcp_notsent_lowat(u32::MAX)
            .ok();
    }

    fn tcp(&self) -> &TcpStream {
        match &self.link {
            Link::Plain(tcp) => tcp,
            Link::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Runs the clock over the outcome of a write.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.refused = None;
            return outcome;
        }
        let clock = self
            .refused
            .get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(clock.as_mut().poll(cx));
        self.stalled.store(true, Relaxed);
        let text = "the client's kernel has refused bytes for slow_client_timeout";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Link::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Link::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        self.timed(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Link::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        self.timed(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.link {
            Link::Plain(tcp) => tcp.is_write_vectored(),
            Link::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.link {
            Link::Plain(_) => return Poll::Ready(Ok(())),
            Link::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        self.timed(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.link {
            Link::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Link::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        };
        self.timed(cx, outcome)
    }
}

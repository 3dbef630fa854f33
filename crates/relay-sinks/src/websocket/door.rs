//! One accepted connection: TLS if there is any, then HTTP, then perhaps a WebSocket. It knows no
//! path and no frame.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::timeout;

use super::http::Connection;
use super::hub::Hub;
use super::session::Session;
use super::wire::Wire;
use crate::tls::Acceptor;

/// How long a TLS handshake, and how long the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The least that hyper wants for its buffer: it bounds the head of a request.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;

/// What every connection comes through.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) hub: Arc<Hub>,
    pub(super) tls: Option<Acceptor>,
    pub(super) port: u16,
}

impl Door {
    /// Serves one connection to its end.
    pub(super) async fn serve(self, tcp: TcpStream) {
        let stop = self.hub.stop.clone();
        let secured = select! {
            wire = Box::pin(self.secure(tcp)) => wire,
            () = stop.cancelled() => None,
        };
        let Some(wire) = secured else {
            return;
        };
        // Boxed: what HTTP needs is given back before the session begins.
        if let Some((session, wire, read)) = Box::pin(self.serve_http(wire)).await {
            session.run(wire, read).await;
        }
    }

    async fn secure(&self, tcp: TcpStream) -> Option<Wire> {
        let patience = self.hub.config.slow_client_timeout;
        Wire::prepare(&tcp, patience);
        let Some(tls) = &self.tls else {
            return Some(Wire::plain(tcp, patience));
        };
        match timeout(PATIENCE, tls.acceptor().accept(tcp)).await {
            Ok(Ok(tls)) => Some(Wire::tls(tls, patience)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_too_slow) => None,
        }
    }

    /// Answers requests until the connection ends or becomes a WebSocket.
    async fn serve_http(&self, wire: Wire) -> Option<(Box<Session>, Wire, bytes::Bytes)> {
        let connection = Arc::new(Connection {
            hub: Arc::clone(&self.hub),
            port: self.port,
            stalled: wire.stalled(),
            upgraded: Mutex::default(),
        });
        let answering = Arc::clone(&connection);
        let service = service_fn(move |request| Box::pin(Arc::clone(&answering).answer(request)));
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(wire), service);
        let mut stopped = pin!(self.hub.stop.cancelled());
        let mut stopping = false;
        let ended = poll_fn(|cx| {
            if !stopping && stopped.as_mut().poll(cx).is_ready() {
                stopping = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            serving.poll_without_shutdown(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a connection broke");
            return None;
        }
        let parts = serving.into_parts();
        let mut wire = parts.io.into_inner();
        let session = connection
            .upgraded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(session) = session {
            return Some((session, wire, parts.read_buf));
        }
        timeout(PATIENCE, wire.shutdown()).await.ok();
        None
    }
}

#[cfg(test)]
mod size {
    use super::*;

    #[test]
    fn a_connection_s_task_is_small() {
        fn of<F>(_: impl FnOnce(Door, TcpStream) -> F) -> usize {
            size_of::<F>()
        }
        let size = of(Door::serve);
        assert!(size <= 2048, "{size}");
    }
}

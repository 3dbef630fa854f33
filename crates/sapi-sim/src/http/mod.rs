//! Owns the listener: connections accepted, TLS if there is any, HTTP/1.1, and which path is whose. It
//! does not know subscriptions.

mod access;
mod control;
mod page;
mod subscribe;
pub(crate) mod tls;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    faults::knob,
    hub::Hub,
    session::{ResetSwitch, Wire},
};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a request handler needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) hub: Arc<Hub>,
    pub(crate) tasks: TaskTracker,
    /// The upgraded connections: these close in good order.
    pub(crate) sessions: TaskTracker,
    pub(crate) ended: CancellationToken,
    /// The browser test page's session, known to nobody but a browser that logged in.
    pub(crate) cookie: Arc<str>,
}

/// One client's connection, for its requests.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) reset: ResetSwitch,
    /// Ends the connection in the middle of a request.
    pub(crate) abort: CancellationToken,
}

/// Accepts connections until the end.
pub(crate) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, server: Server) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                let (tls, server) = (tls.clone(), server.clone());
                let (tasks, ended) = (server.tasks.clone(), server.ended.clone());
                tasks.spawn(async move {
                    ended
                        .run_until_cancelled_owned(connection(stream, addr, tls, server))
                        .await
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, addr: SocketAddr, tls: Option<TlsAcceptor>, server: Server) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let wire = match tls {
        None => Wire::plain(stream),
        Some(_) if server.hub.faults.fires(&knob::TLS_RESET) => {
            Wire::plain(stream).reset_switch().set();
            return;
        }
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Wire::tls(stream),
            Err(error) => {
                tracing::debug!(%error, %addr, "TLS handshake failed");
                return;
            }
        },
    };
    let peer = Peer {
        addr,
        reset: wire.reset_switch(),
        abort: CancellationToken::new(),
    };
    let abort = peer.abort.clone();
    let service = service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, Infallible>(route(server, peer, request).await) }
    });
    let serving = http1::Builder::new()
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    if let Some(Err(error)) = abort.run_until_cancelled_owned(serving).await {
        tracing::debug!(%error, %addr, "a connection ended badly");
    }
}

async fn route(server: Server, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path.starts_with("/sim/") {
        return control::answer(&server, request).await;
    }
    if path == page::PATH {
        return if request.method() == Method::GET {
            page::answer(&server, request.headers())
        } else {
            text(StatusCode::METHOD_NOT_ALLOWED, "GET only")
        };
    }
    subscribe::answer(server, peer, request).await
}

/// A plain-text answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", body)
}

/// An answer of any type.
pub(crate) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::SERVER,
        HeaderValue::from_static("Apache-Coyote/1.1"),
    );
    response
}

/// The text of a header; none if it is missing or no text.
pub(crate) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

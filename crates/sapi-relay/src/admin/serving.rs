//! Owns the admin server's connections: how many, and how long one may take over what it sends. A
//! client that dawdles costs a place for seconds, never the server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use relay_core::storm::Storm;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; the next ones wait in the kernel.
const CONNECTIONS: usize = 256;
/// Bodies are small: where a sink should go.
const BODY: usize = 64 << 10;
/// Waited after an accept that failed for want of something: descriptors, memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, from the answer before on.
    pub(super) head: Duration,
    /// For its body.
    pub(super) body: Duration,
    /// For everything: then the connection is asked to end, and ended soon after.
    pub(super) connection: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            connection: Duration::from_mins(5),
        }
    }
}

/// Told when the connection that a request came on is to end: an answer that has no end of its own
/// ends then.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(pub(super) CancellationToken);

/// Serves until told to stop; requests under way are answered first.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let mut refusals = Storm::default();
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            let place = place.map_err(io::Error::other)?;
            io::Result::Ok((listener.accept().await?.0, place))
        };
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        match next {
            Ok((stream, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(converse(stream, router, patience, stop, place));
            }
            Err(error) => {
                if let Some(times) = refusals.strike() {
                    tracing::warn!(%error, times, "the admin server can't accept a connection");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn converse(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let ending = Ending::default();
    let router = router.layer(Extension(ending.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(patience.connection) => {}
            }
        } => {
            ending.0.cancel();
            connection.as_mut().graceful_shutdown();
            timeout(patience.connection / 10, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin server");
    }
}

/// Reads the body of a POST before anything is done with it: all of it, soon, and not too much.
pub(super) async fn whole(request: Request, next: Next, patience: Duration) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match timeout(patience, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(_too_large)) => {
            (StatusCode::PAYLOAD_TOO_LARGE, "a body of 64 KiB at most\n").into_response()
        }
        Err(_late) => (StatusCode::REQUEST_TIMEOUT, "the body did not come\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::middleware::from_fn;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    use super::*;

    struct Server {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        tasks: JoinSet<io::Result<()>>,
    }

    impl Server {
        async fn start(short: Patience) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new()
                .route("/", get(|| async { "here" }))
                .route("/post", post(|body: String| async { body }))
                .route("/endless", get(endless))
                .layer(from_fn(move |request, next| {
                    whole(request, next, short.body)
                }));
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(serve(listener, router, short, stop.clone()));
            Self {
                address,
                stop,
                tasks,
            }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// What is answered to bytes, until the server closes.
        async fn answer(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            let mut answer = String::new();
            let limit = Duration::from_secs(30);
            let read = timeout(limit, stream.read_to_string(&mut answer)).await;
            read.expect("the server closes").unwrap();
            answer
        }
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    fn short() -> Patience {
        Patience {
            head: Duration::from_millis(50),
            body: Duration::from_millis(50),
            connection: Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let server = Server::start(short()).await;
        assert!(server.answer(GET).await.ends_with("here"));
        // Closed, with or without a word.
        for slow in [&b""[..], b"GET / HTTP/1.1\r\nHos", b"GET /"] {
            assert!(!server.answer(slow).await.contains("here"));
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let server = Server::start(short()).await;
        let head = "POST /post HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let whole = format!("{head}Content-Length: 2\r\n\r\nhi");
        assert!(server.answer(whole.as_bytes()).await.ends_with("hi"));
        let half = format!("{head}Content-Length: 2\r\n\r\nh");
        let answer = server.answer(half.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let large = format!("{head}Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
        let answer = server.answer(large.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }

    #[tokio::test]
    async fn dawdlers_beyond_the_limit_keep_nobody_out_for_long() {
        let patient = Patience {
            head: Duration::from_millis(500),
            ..short()
        };
        let server = Server::start(patient).await;
        let mut dawdlers = Vec::new();
        for _ in 0..CONNECTIONS + 20 {
            let mut stream = server.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            dawdlers.push(stream);
        }
        assert!(server.answer(GET).await.ends_with("here"));
    }

    async fn endless(Extension(ending): Extension<Ending>) -> Body {
        Body::from_stream(futures_util::stream::once(async move {
            ending.0.cancelled().await;
            io::Result::Ok("bye")
        }))
    }

    #[tokio::test]
    async fn an_answer_without_an_end_ends_with_the_server() {
        let server = Server::start(Patience::default()).await;
        let mut stream = server.connect().await;
        let get = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(get).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        server.stop.cancel();
        let mut rest = String::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut rest)).await;
        read.expect("the server closes").unwrap();
        assert!(rest.ends_with("bye\r\n0\r\n\r\n"), "{rest}");
    }

    #[tokio::test]
    async fn it_stops_though_somebody_is_connected() {
        let mut server = Server::start(Patience::default()).await;
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        server.stop.cancel();
        let ended = timeout(Duration::from_secs(20), server.tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap().unwrap();
    }
}

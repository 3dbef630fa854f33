//! Calls to an endpoint of real sockets: which are under way together, and which wait.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use relay_core::contract::Relay;
use relay_core::{Limit, Offset};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::super::Config;
use super::*;
use crate::Format;
use crate::tls::ClientTls;

const SOON: Duration = Duration::from_secs(20);

/// Serves an endpoint that answers each body with a status; says where it is.
async fn serve<F>(
    tasks: &mut JoinSet<()>,
    answer: impl Fn(Bytes) -> F + Clone + Send + 'static,
) -> String
where
    F: Future<Output = u16> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = answer(body).await.try_into().unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
        }
    });
    url
}

fn flights(url: String, relay: &Relay, mode: Mode, concurrency: usize) -> Flights {
    let config = Config {
        url,
        secret: None,
        headers: Vec::new(),
        timeout: SOON,
        mode,
        format: Format::Structured,
        concurrency,
        tls: ClientTls::default(),
    };
    let form = Form {
        mode,
        format: Format::Structured,
        source: relay.source(),
    };
    Flights::new(Endpoint::open(&config).unwrap(), form, concurrency)
}

/// The next so many events behind an offset.
async fn delivery(relay: &Relay, after: u64, count: u32) -> Delivery {
    let limit = Limit {
        events: count as usize,
        bytes: 1 << 20,
    };
    let mut reader = relay.core.bus.reader_after(Offset(after));
    let batch = reader.next_batch(limit).await.unwrap();
    assert_eq!(batch.len(), limit.events);
    Delivery {
        upto: batch.upto(),
        selected: (0..count).collect(),
        batch,
        again: false,
    }
}

/// A batch is given up after a hundred refused events; what follows of its key must not overtake
/// the rest of it.
#[tokio::test]
async fn what_follows_a_batch_that_is_given_up_comes_back_with_it() {
    const REFUSED: usize = 150;
    let relay = Relay::new();
    relay.commit(&["ada"; REFUSED + 10]).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    let url = serve(&mut tasks, move |body| {
        let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let first: usize = events[0]["sequence"].as_str().unwrap().parse().unwrap();
        noted.lock().unwrap().push(first);
        async move { if first <= REFUSED { 422 } else { 200 } }
    })
    .await;
    let mut flights = flights(url, &relay, Mode::Batch, 2);
    let first = flights.start(delivery(&relay, 0, 150).await).await;
    let second = delivery(&relay, 150, 10).await;
    let (second, first) = tokio::join!(
        async { flights.start(second).await.await },
        timeout(SOON, first)
    );
    let Outcomes::Partly(outcomes, failure) = first.unwrap() else {
        panic!("some are left")
    };
    assert_eq!(failure.next, Next::Retry);
    let refused = outcomes
        .iter()
        .take_while(|outcome| matches!(outcome, Outcome::Rejected(_)));
    assert_eq!(refused.count(), HOPELESS);
    let outcomes = outcomes.into_iter().skip(HOPELESS);
    assert_eq!(outcomes.filter(|it| *it == Outcome::Retry).count(), 50);
    assert!(matches!(second, Outcomes::Partly(..)), "{second:?}");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|first| *first <= REFUSED), "{asked:?}");
}

/// Each round ends only if all of its calls are under way together.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_calls_are_under_way_as_may_be() {
    const LANES: u32 = 4;
    const ROUNDS: usize = 2_000;
    let relay = Relay::new();
    relay.commit(&["ada", "ben", "cleo", "dan"]).await;
    let together = Arc::new(Barrier::new(LANES as usize));
    let mut tasks = JoinSet::new();
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let url = serve(&mut tasks, move |_| {
        let together = Arc::clone(&together);
        let alone = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move {
            // The gate lets one call through before it opens.
            if !alone {
                together.wait().await;
            }
            200
        }
    })
    .await;
    let mut flights = flights(url, &relay, Mode::Single, LANES as usize);
    let opening = flights.start(delivery(&relay, 0, 1).await).await;
    assert!(matches!(opening.await, Outcomes::Confirmed));
    for round in 0..ROUNDS {
        let sent = flights.start(delivery(&relay, 0, LANES).await).await;
        let outcomes = timeout(SOON, sent).await;
        let outcomes = outcomes.unwrap_or_else(|_| panic!("a lane sleeps in round {round}"));
        assert!(matches!(outcomes, Outcomes::Confirmed), "{outcomes:?}");
    }
}

//! Owns the admin server: what operators, probes and Prometheus ask. PRODUCT section 6 is its contract.

mod answer;
mod contracts;
mod guard;
mod health;
mod lists;
mod retry;
mod scrape;
mod serving;
mod status;
mod steer;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Html;
use axum::routing::{get, post};
use relay_core::supervise::{Handle, Supervisor};
use tokio::net::TcpListener;

use crate::relay::SharedState;

/// Serves until its task is stopped; requests under way are answered first.
pub(crate) fn start(
    supervisor: &Supervisor,
    listener: TcpListener,
    state: Arc<SharedState>,
) -> Handle {
    let first = Mutex::new(Some(listener));
    let address = state.config().admin.listen;
    supervisor.spawn("admin", move |stop| {
        let bound = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let router = router(Arc::clone(&state));
        async move {
            let listener = match bound {
                Some(listener) => listener,
                None => TcpListener::bind(address).await?,
            };
            serving::serve(listener, router, serving::Patience::default(), stop).await
        }
    })
}

fn router(state: Arc<SharedState>) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/gaps", get(lists::gaps))
        .route("/v1/dead-letters", get(lists::dead_letters))
        .route("/v1/dead-letters/retry", post(retry::retry))
        .route("/v1/sinks/{name}/{verb}", post(steer::steer))
        .merge(contracts::routes())
        .route("/", get(index))
        .layer(from_fn(|request, next| {
            serving::whole(request, next, serving::Patience::default().body)
        }))
        .layer(from_fn_with_state(Arc::clone(&state), guard::guard))
        // These three are open: probes and Prometheus hold no token.
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(scrape::metrics))
        .with_state(state)
}

async fn index() -> Html<&'static str> {
    Html(INDEX)
}

const INDEX: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>sapi-relay</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}code{background:#eee;padding:0 .2rem}</style>
<h1>sapi-relay</h1><p>The admin server of a relay.
<ul><li><a href=/v1/status>/v1/status</a>: subscriptions, journal, sinks
<li><a href=/v1/gaps>/v1/gaps</a>: what may have been lost
<li><a href=/v1/dead-letters>/v1/dead-letters</a>: what could not be parsed or was refused
<li><a href=/readyz>/readyz</a>, <a href=/livez>/livez</a>: probes
<li><a href=/metrics>/metrics</a>: for Prometheus</ul>
<p>Events are served by the websocket sinks: <code>sapi-relay tail</code> shows them.</html>
";

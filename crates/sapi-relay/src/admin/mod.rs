//! Owns the admin server: what operators, probes and Prometheus ask. PRODUCT section 6 is its contract.

mod answer;
mod contracts;
mod guard;
mod health;
mod lists;
mod overview;
mod page;
mod retry;
mod scrape;
mod serving;
mod sessions;
mod status;
mod steer;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use relay_core::supervise::{Handle, Supervisor};
use sessions::Sessions;
use tail::Tails;
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
        let state = Arc::clone(&state);
        async move {
            let listener = match bound {
                Some(listener) => listener,
                None => TcpListener::bind(address).await?,
            };
            let admin = Admin {
                relay: state,
                sessions: Arc::new(Sessions::new(listener.local_addr()?.port())),
                tails: Tails::default(),
            };
            serving::serve(listener, router(admin), serving::Patience::default(), stop).await
        }
    })
}

/// What requests are answered from.
#[derive(Clone)]
struct Admin {
    relay: Arc<SharedState>,
    sessions: Arc<Sessions>,
    tails: Tails,
}

impl FromRef<Admin> for Arc<SharedState> {
    fn from_ref(admin: &Admin) -> Self {
        Self::clone(&admin.relay)
    }
}

impl FromRef<Admin> for Arc<Sessions> {
    fn from_ref(admin: &Admin) -> Self {
        Self::clone(&admin.sessions)
    }
}

impl FromRef<Admin> for Tails {
    fn from_ref(admin: &Admin) -> Self {
        admin.tails.clone()
    }
}

fn router(admin: Admin) -> Router {
    let body = |request, next| serving::whole(request, next, serving::Patience::default().body);
    // Whoever comes to log in has no session yet.
    let login = Router::new()
        .route("/v1/session", post(sessions::open).delete(sessions::close))
        .layer(from_fn(body))
        .layer(from_fn_with_state(admin.clone(), guard::guard_login));
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/overview", get(overview::overview))
        .route("/v1/events", get(tail::events))
        .route("/v1/gaps", get(lists::gaps))
        .route("/v1/dead-letters", get(lists::dead_letters))
        .route("/v1/dead-letters/retry", post(retry::retry))
        .route("/v1/sinks/{name}/{verb}", post(steer::steer))
        .merge(contracts::routes())
        .route("/", get(page::index))
        .layer(from_fn(body))
        .layer(from_fn_with_state(admin.clone(), guard::guard))
        .merge(login)
        .route("/assets/{*name}", get(page::asset))
        // These three are open: probes and Prometheus hold no token.
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(scrape::metrics))
        .with_state(admin)
}

//! Owns the keys of a sink of type `websocket`.

use std::net::SocketAddr;
use std::time::Duration;

use super::delivery;
use crate::config::secret::Secret;
use crate::config::section::Section;
use crate::config::tls::{self, Tls};

/// The name that the sink gives to clients without a token.
const ANONYMOUS: &str = "anonymous";

/// The keys that are its own.
pub(super) const KEYS: &[&str] = &[
    "listen",
    "tls",
    "max_clients",
    "clients",
    "allow_anonymous",
    "allowed_origins",
    "slow_client_timeout",
    "sapi",
];

/// Clients that connect to the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Websocket {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) max_clients: usize,
    pub(crate) clients: Vec<Client>,
    pub(crate) allow_anonymous: bool,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) slow_client_timeout: Duration,
    pub(crate) sapi: SapiFace,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) token: Secret,
    pub(crate) types: Vec<String>,
}

/// The face that speaks SAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SapiFace {
    pub(crate) heartbeat: Duration,
    pub(crate) session_length: Option<Duration>,
    pub(crate) cache: Duration,
    pub(crate) max_subs_ids: usize,
}

pub(super) fn read(section: &Section<'_>) -> Option<Websocket> {
    let listen = listen(section);
    let tls = server_tls(&section.child("tls"));
    let clients = clients(&section.child("clients"));
    let max_clients = section.number("max_clients", 20_000, 1..=1_000_000);
    let allow_anonymous = section.flag("allow_anonymous", false);
    let allowed_origins = origins(section);
    let slow_client_timeout = section.duration("slow_client_timeout", Duration::from_secs(30));
    let sapi = sapi(&section.child("sapi"));
    let websocket = Websocket {
        listen: listen?,
        tls,
        max_clients,
        clients: clients?,
        allow_anonymous,
        allowed_origins,
        slow_client_timeout,
        sapi,
    };
    let open = !websocket.listen.ip().is_loopback();
    if open && websocket.clients.is_empty() && !websocket.allow_anonymous {
        let name = section.key("clients");
        let remedy = format!(
            "name who may connect: [{name}.wallboard] with token_file (or token); or set \
             allow_anonymous = true if the network in front of it is trusted"
        );
        section.wrong(
            "listen",
            "is reachable from other machines, without clients",
            &remedy,
        );
    }
    if websocket.allow_anonymous && !websocket.clients.is_empty() {
        let remedy = "with it, whoever gives no token sees every event: remove it, or the clients";
        section.warn(
            "allow_anonymous",
            "makes the clients' allow-lists pointless",
            remedy,
        );
    }
    Some(websocket)
}

fn listen(section: &Section<'_>) -> Option<SocketAddr> {
    if !section.has("listen") {
        section.knows(&["listen"]);
        section.missing(
            "listen",
            "an IP address and a port, such as \"127.0.0.1:8080\"",
        );
        return None;
    }
    section.address("listen")
}

fn server_tls(section: &Section<'_>) -> Option<Tls> {
    let tls = tls::read(section)?;
    if tls.identity.is_none() && !section.has("cert_file") && !section.has("key_file") {
        section.missing(
            "cert_file",
            "a server needs a certificate: set cert_file and key_file",
        );
        return None;
    }
    Some(tls)
}

fn origins(section: &Section<'_>) -> Vec<String> {
    let origins = section.list("allowed_origins").unwrap_or_default();
    let fits = |origin: &String| {
        let url = url::Url::parse(origin).ok();
        url.is_some_and(|url| {
            url.origin().is_tuple() && url.origin().ascii_serialization() == *origin
        })
    };
    if !origins.iter().all(fits) {
        let remedy = "scheme, host and port as a browser sends them, without a path: [\"https://wallboard.example.com\"]";
        section.wrong("allowed_origins", "is not allowed", remedy);
    }
    origins
}

/// The clients; `None`: one of them is not complete, and has said so.
fn clients(section: &Section<'_>) -> Option<Vec<Client>> {
    let children = section.children();
    let mut clients = Vec::with_capacity(children.len());
    let mut whole = true;
    for (name, child) in &children {
        if name == ANONYMOUS {
            let remedy = "call it otherwise: subsIds belong to a client's name";
            section.hidden(name, "is the name of whoever gives no token", remedy);
            whole = false;
        }
        match client(name, child) {
            Some(client) => clients.push(client),
            None => whole = false,
        }
    }
    for (at, (client, (_, section))) in clients.iter().zip(&children).enumerate() {
        let same = |other: &&Client| match (other.token.read(), client.token.read()) {
            (Ok(other), Ok(own)) => other == own,
            (Err(_), _) | (_, Err(_)) => false,
        };
        if let Some(other) = clients.iter().take(at).find(same).filter(|_| whole) {
            let fault = format!("is the same as that of {}", other.name);
            let name = if section.has("token") {
                "token"
            } else {
                "token_file"
            };
            section.hidden(
                name,
                &fault,
                "a token tells clients apart: give each its own",
            );
        }
    }
    whole.then_some(clients)
}

fn client(name: &str, section: &Section<'_>) -> Option<Client> {
    let token = section.secret("token", "token_file");
    if token.is_none() && !section.has("token") && !section.has("token_file") {
        let remedy = "text of your choice that the client sends as its password; or set token_file. `openssl rand -hex 24` makes a good one";
        section.missing("token", remedy);
    }
    let types = delivery::types(section);
    section.finish(|_| None);
    Some(Client {
        name: name.to_owned(),
        token: token?,
        types,
    })
}

fn sapi(section: &Section<'_>) -> SapiFace {
    let sapi = SapiFace {
        heartbeat: section.duration("heartbeat", Duration::from_mins(1)),
        session_length: section.some_duration("session_length"),
        cache: section.duration("cache", Duration::from_hours(2)),
        max_subs_ids: section.number("max_subs_ids", 100, 1..=100_000),
    };
    section.finish(|_| None);
    sapi
}

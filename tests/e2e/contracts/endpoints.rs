//! Every route of the two servers is in its OpenAPI document and the reverse, and answers as it says.

use std::collections::BTreeSet;
use std::path::Path;

use relay_tests::relay::Setup;
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, http, until};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use rustix::process::Signal;
use sapi_sim::{Config, Simulator};
use serde_json::{Value, json};

use super::documents::{Documents, assert_valid};

const ADMIN: &str = "admin.openapi.json";
const DOWNSTREAM: &str = "downstream.openapi.json";
const TOKEN: &str = "letmein";

/// Routes of the admin server that its own page uses: they change with the page, and are no contract.
const OF_THE_PAGE: [&str; 4] = [
    "/assets/{*name}",
    "/v1/events",
    "/v1/overview",
    "/v1/session",
];

/// Statuses that need a server in trouble: they are documented, and tested elsewhere.
const IN_TROUBLE: [&str; 5] = ["408", "409", "429", "500", "503"];

/// A relay with something in each of its lists.
struct World {
    simulator: Simulator,
    relay: Relay,
    _receiver: Receiver,
}

impl World {
    async fn start() -> Self {
        let simulator = Simulator::start(Config::default()).await.unwrap();
        let receiver = Receiver::start().await;
        receiver.answers(|request| match request.holds("poison") {
            true => Answer::status(422).body("no such field"),
            false => Answer::ok(),
        });
        let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
        setup.more = format!(
            "[sinks.hook]\ntype = \"webhook\"\nurl = {:?}\nstart_from = \"earliest\"\n\
             [sinks.guarded]\ntype = \"websocket\"\nlisten = \"127.0.0.1:0\"\n\
             [sinks.guarded.clients.wallboard]\ntoken = {TOKEN:?}\n",
            receiver.url("/events")
        );
        let relay = Relay::start(&setup).await;
        simulator.wait_until(|sim| sim.connected() == 1).await;
        simulator.emit(50);
        simulator.emit_raw(
            "AgentStatusChange",
            r#"{"AgentStatusChange":{"agentId":"poison"}}"#,
        );
        simulator.emit_raw("broken", r#"{"broken": nope}"#);
        let world = Self {
            simulator,
            relay,
            _receiver: receiver,
        };
        world.listed("/v1/dead-letters", 2).await;
        world.simulator.set_fault("cut-now").unwrap();
        world.listed("/v1/gaps", 1).await;
        world
    }

    /// Waits until a list has so many items.
    async fn listed(&self, path: &str, least: usize) {
        let url = self.relay.admin(path).await;
        until(path, || async {
            let page: Value = http::get(&url).await.ok()?.json().await.ok()?;
            (page["items"].as_array()?.len() >= least).then_some(())
        })
        .await;
    }

    /// Waits until the sink delivers.
    async fn delivering(&self) {
        let running = |status: &Value| {
            let mut sinks = status["sinks"].as_array().unwrap().iter();
            sinks.any(|sink| sink["name"] == "hook" && sink["state"] == "running")
        };
        self.relay
            .status_where("a sink that delivers", running)
            .await;
    }

    /// Where a path of a document is answered; `guarded`: by a listener that wants a token.
    async fn url(&self, document: &str, path: &str, guarded: bool) -> String {
        match (document, guarded) {
            (ADMIN, _) => self.relay.admin(path).await,
            (_, false) => self.relay.downstream(path).await,
            (_, true) => format!("http://{}{path}", self.relay.address("guarded").await),
        }
    }

    /// From now on the admin server wants a token.
    async fn guard(&self) {
        let file = self.relay.home().join("relay.toml");
        let old = std::fs::read_to_string(&file).unwrap();
        let new = old.replace("[admin]\n", &format!("[admin]\ntoken = {TOKEN:?}\n"));
        assert_ne!(old, new);
        std::fs::write(&file, new).unwrap();
        self.relay.signal(Signal::HUP);
        let url = self.relay.admin("/v1/status").await;
        until("an admin server that wants a token", || async {
            (http::get(&url).await.ok()?.status() == 401).then_some(())
        })
        .await;
    }
}

/// What has been answered, and whether it is as documented.
struct Judge {
    documents: Documents,
    seen: BTreeSet<(&'static str, String, String, String)>,
}

/// An operation of a document: its path as a template, its method.
#[derive(Clone, Copy)]
struct Operation<'a>(&'static str, &'a str, &'a str);

impl Judge {
    fn response(
        &self,
        Operation(document, path, method): Operation<'_>,
        status: &str,
    ) -> (Value, String) {
        let whole = self.documents.get(document);
        let responses = &whole["paths"][path][method]["responses"];
        let found = &responses[status];
        assert!(
            found.is_object(),
            "{document}: {method} {path} answers {status}"
        );
        let inline = format!(
            "/paths/{}/{method}/responses/{status}",
            path.replace('~', "~0").replace('/', "~1")
        );
        let pointer = found["$ref"]
            .as_str()
            .map(|it| it.trim_start_matches('#').to_owned());
        let pointer = pointer.unwrap_or(inline);
        (whole.pointer(&pointer).unwrap().clone(), pointer)
    }

    /// Sends a request, and holds the answer against the document.
    async fn ask(
        &mut self,
        operation: Operation<'_>,
        request: RequestBuilder,
        wanted: u16,
    ) -> Value {
        let Operation(document, path, method) = operation;
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let kind = kind.map(|kind| kind.to_str().unwrap().replace("; ", ";"));
        let endless = status == 101 || kind.as_deref() == Some("text/event-stream");
        let body = if endless {
            Vec::new()
        } else {
            answer.bytes().await.unwrap().to_vec()
        };
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, wanted, "{document}: {method} {path}: {shown}");
        let status = status.to_string();
        let (response, pointer) = self.response(operation, &status);
        self.seen
            .insert((document, path.to_owned(), method.to_owned(), status));
        let Some(content) = response["content"].as_object() else {
            return Value::Null;
        };
        let kind = kind.unwrap_or_default();
        let plain = kind.split(';').next().unwrap();
        let found = [kind.as_str(), plain]
            .into_iter()
            .find(|kind| content.contains_key(*kind));
        let found = found.unwrap_or_else(|| panic!("{document}: {method} {path} is {kind}"));
        if found != "application/json" && !found.contains("+json") {
            return shown.into();
        }
        let schema = format!(
            "{document}#{pointer}/content/{}/schema",
            found.replace('~', "~0").replace('/', "~1")
        );
        let value = serde_json::from_slice(&body).unwrap();
        assert_valid(&self.documents.validator(&escaped(&schema)), &value);
        value
    }

    /// Every operation of a document, with the statuses that it has.
    fn operations(&self, document: &'static str) -> Vec<(String, String, Vec<String>)> {
        let paths = self.documents.get(document)["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(|(method, operation)| {
                let responses = operation["responses"].as_object().unwrap();
                let statuses = responses.keys().cloned().collect();
                (path.clone(), method.clone(), statuses)
            })
        });
        operations.collect()
    }
}

/// A pointer in a URI's fragment: braces of path templates, and what media types hold, are encoded.
fn escaped(pointer: &str) -> String {
    let (file, fragment) = pointer.split_once('#').unwrap();
    let fragment = fragment.replace('{', "%7B").replace('}', "%7D");
    format!("{file}#{fragment}")
}

fn request(method: &str, url: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    http::client().request(method, url)
}

/// A path with something in the places of its template.
fn filled(path: &str) -> String {
    let name = if path.starts_with("/v1/contracts") {
        "events.schema.json"
    } else {
        "hook"
    };
    path.replace("{name}", name)
        .replace("{tenant}", "acmecorp01")
        .replace("{subs}", "wallboard")
}

/// A query that is right.
fn query(path: &str) -> &'static str {
    if path.contains("/subscribe/") {
        "?tenantId=acmecorp01&subsId=wallboard"
    } else {
        ""
    }
}

fn upgrade() -> HeaderMap {
    let pairs = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let pairs = pairs.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    HeaderMap::from_iter(pairs)
}

/// What makes each of the operations answer each of the statuses: the body of a POST, and a name or
/// query in its path.
const ADMIN_ASKED: [(&str, &str, u16, &str); 20] = [
    ("post /v1/sinks/{name}/pause", "hook", 200, "{}"),
    ("post /v1/sinks/{name}/pause", "downstream", 400, "{}"),
    ("post /v1/sinks/{name}/pause", "nobody", 404, "{}"),
    (
        "post /v1/sinks/{name}/seek",
        "hook",
        200,
        r#"{"to": "latest"}"#,
    ),
    (
        "post /v1/sinks/{name}/seek",
        "hook",
        400,
        r#"{"to": "yesterday"}"#,
    ),
    (
        "post /v1/sinks/{name}/seek",
        "nobody",
        404,
        r#"{"to": "latest"}"#,
    ),
    ("post /v1/sinks/{name}/resume", "hook", 200, "{}"),
    ("post /v1/sinks/{name}/resume", "downstream", 400, "{}"),
    ("post /v1/sinks/{name}/resume", "nobody", 404, "{}"),
    (
        "post /v1/dead-letters/retry",
        "",
        200,
        r#"{"sink": "hook"}"#,
    ),
    ("post /v1/dead-letters/retry", "", 400, r#"{"snk": "hook"}"#),
    (
        "post /v1/dead-letters/retry",
        "",
        404,
        r#"{"sink": "nobody"}"#,
    ),
    ("get /v1/gaps", "?limit=1", 200, ""),
    ("get /v1/gaps", "?limit=0", 400, ""),
    ("get /v1/dead-letters", "?sink=hook", 200, ""),
    ("get /v1/dead-letters", "?after=x", 400, ""),
    ("get /v1/contracts/{name}", "events.schema.json", 200, ""),
    ("get /v1/contracts/{name}", "admin.openapi.json", 200, ""),
    ("get /v1/contracts/{name}", "asyncapi.json", 200, ""),
    ("get /v1/contracts/{name}", "nothing.json", 404, ""),
];

const DOWNSTREAM_ASKED: [(&str, &str, u16, &str); 10] = [
    ("get /v1/stream", "?typo=1", 400, ""),
    ("get /v1/stream", "", 426, ""),
    ("get /v1/events", "?from=yesterday", 400, ""),
    ("get /v1/history", "?limit=0", 400, ""),
    (
        "get /api/streaming/v1/clientconnect/subscribe/TenantUpdates",
        "?tenantId=acmecorp01",
        400,
        "",
    ),
    (
        "get /api/streaming/v1/clientconnect/subscribe/TenantUpdates",
        "?tenantId=acmecorp01&subsId=a",
        426,
        "",
    ),
    (
        "get /api/streaming/v1/clientconnect/subscribe/TenantUpdates-{tenant}-{subs}",
        "?tenantId=acmecorp01&subsId=other",
        400,
        "",
    ),
    (
        "get /api/streaming/v1/clientconnect/subscribe/TenantUpdates-{tenant}-{subs}",
        "?tenantId=acmecorp01&subsId=wallboard",
        426,
        "",
    ),
    ("post /v1/session", "", 400, "nonsense"),
    ("delete /v1/session", "", 204, ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_answer_as_their_documents_say() {
    let world = World::start().await;
    let mut judge = Judge {
        documents: Documents::read(),
        seen: BTreeSet::new(),
    };
    let asked = ADMIN_ASKED.map(|row| (ADMIN, row)).into_iter();
    for (document, (operation, with, status, body)) in
        asked.chain(DOWNSTREAM_ASKED.map(|row| (DOWNSTREAM, row)))
    {
        let (method, path) = operation.split_once(' ').unwrap();
        let path_asked = match with.starts_with('?') || with.is_empty() {
            true => format!("{}{with}", filled(path)),
            false => path.replace("{name}", with),
        };
        let url = world.url(document, &path_asked, false).await;
        let mut asked = request(method, &url).body(body);
        if method == "post" {
            asked = asked.header("content-type", "application/json");
        }
        if path == "/v1/dead-letters/retry" {
            world.delivering().await;
        }
        judge
            .ask(Operation(document, path, method), asked, status)
            .await;
    }
    switch(&world, &mut judge).await;
    for document in [ADMIN, DOWNSTREAM] {
        for (path, method, statuses) in judge.operations(document) {
            let operation = Operation(document, &path, &method);
            generic(&world, &mut judge, operation, &statuses).await;
        }
    }
    contracts(&world, &mut judge).await;
    world.guard().await;
    for document in [ADMIN, DOWNSTREAM] {
        for (path, method, statuses) in judge.operations(document) {
            if statuses.iter().any(|status| status == "401") {
                let target = format!("{}{}", filled(&path), query(&path));
                let url = world.url(document, &target, true).await;
                let body = if path == "/v1/session" {
                    r#"{"token": "wrong"}"#
                } else {
                    "{}"
                };
                let asked = request(&method, &url).header("content-type", "application/json");
                let asked = if method == "get" {
                    asked
                } else {
                    asked.body(body)
                };
                judge
                    .ask(Operation(document, &path, &method), asked, 401)
                    .await;
            }
        }
        for (path, method, statuses) in judge.operations(document) {
            for status in statuses {
                let seen = (document, path.clone(), method.clone(), status.clone());
                let trouble = IN_TROUBLE.contains(&status.as_str());
                assert!(
                    trouble || judge.seen.contains(&seen),
                    "never seen: {seen:?}"
                );
            }
        }
    }
}

/// What switches protocols, and a token that becomes a cookie.
async fn switch(world: &World, judge: &mut Judge) {
    for (path, _, statuses) in judge.operations(DOWNSTREAM) {
        if statuses.iter().any(|status| status == "101") {
            let target = format!("{}{}", filled(&path), query(&path));
            let url = world.url(DOWNSTREAM, &target, false).await;
            let asked = request("get", &url).headers(upgrade());
            judge
                .ask(Operation(DOWNSTREAM, &path, "get"), asked, 101)
                .await;
        }
    }
    let url = world.url(DOWNSTREAM, "/v1/session", true).await;
    let asked = request("post", &url).body(format!(r#"{{"token": {TOKEN:?}}}"#));
    let asked = asked.header("content-type", "application/json");
    judge
        .ask(Operation(DOWNSTREAM, "/v1/session", "post"), asked, 204)
        .await;
}

/// What is asked of every operation that has it: a page of elsewhere, a body that is no JSON, and
/// a plain GET.
async fn generic(world: &World, judge: &mut Judge, operation: Operation<'_>, statuses: &[String]) {
    let Operation(document, path, method) = operation;
    let target = format!("{}{}", filled(path), query(path));
    let url = world.url(document, &target, false).await;
    let has = |status: &str| statuses.iter().any(|known| known == status);
    if has("403") {
        let asked = request(method, &url).header("origin", "http://evil.example");
        judge
            .ask(
                operation,
                asked.header("content-type", "application/json"),
                403,
            )
            .await;
    }
    if has("415") {
        let asked = request(method, &url).header("content-type", "text/plain");
        judge.ask(operation, asked.body("{}"), 415).await;
    }
    if method == "get" && has("200") {
        judge.ask(operation, request(method, &url), 200).await;
    }
}

/// The list is complete, and each document is the file that was read here.
async fn contracts(world: &World, judge: &mut Judge) {
    let url = world.relay.admin("/v1/contracts").await;
    let operation = Operation(ADMIN, "/v1/contracts", "get");
    let list = judge.ask(operation, request("get", &url), 200).await;
    let rows = list["items"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, judge.documents.names());
    for row in rows {
        let url = world.relay.admin(row["path"].as_str().unwrap()).await;
        let answer = http::get(&url).await.unwrap();
        assert_eq!(
            answer.headers()["content-type"],
            row["media_type"].as_str().unwrap()
        );
        let served: Value = answer.json().await.unwrap();
        assert_eq!(&served, judge.documents.get(row["name"].as_str().unwrap()));
    }
}

/// Texts in a source that begin with a slash, tests left out.
fn paths_in(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let texts = source.split('"').skip(1).step_by(2);
    let paths = texts.filter(|text| text.starts_with('/'));
    paths.map(ToOwned::to_owned).collect()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates")
            .join(path),
    )
    .unwrap()
}

#[test]
fn every_route_is_in_its_document() {
    let documents = Documents::read();
    let documented = |name: &str| -> BTreeSet<String> {
        let paths = documents.get(name)["paths"].as_object().unwrap();
        paths.keys().cloned().collect()
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sapi-relay/src/admin");
    let mut routes = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let calls = text.split(".route(").skip(1);
        routes.extend(calls.map(|call| call.split('"').nth(1).unwrap().to_owned()));
    }
    assert!(routes.contains("/v1/status"), "{routes:?}");
    let verbs = ["pause", "resume", "seek"].map(|verb| format!("/v1/sinks/{{name}}/{verb}"));
    assert!(routes.remove("/v1/sinks/{name}/{verb}"));
    routes.extend(verbs);
    routes.retain(|route| !OF_THE_PAGE.contains(&route.as_str()));
    assert_eq!(routes, documented(ADMIN));

    let mut routes = paths_in(&source("relay-sinks/src/websocket/http.rs"));
    // The SAPI paths are parsed, not listed.
    for part in ["/api/streaming/v", "/TenantUpdates.jsp"] {
        assert!(routes.remove(part), "{routes:?}");
    }
    let sapi = |path: &String| path.starts_with("/api/streaming/v1/");
    let documented = documented(DOWNSTREAM);
    assert_eq!(documented.iter().filter(|path| sapi(path)).count(), 3);
    routes.extend(documented.iter().filter(|path| sapi(path)).cloned());
    assert_eq!(routes, documented);
}

#[test]
fn an_answer_that_is_not_documented_is_found() {
    let judge = Judge {
        documents: Documents::read(),
        seen: BTreeSet::new(),
    };
    let status = judge.documents.validator("status.schema.json");
    assert!(!status.is_valid(&json!({"version": "1"})));
    let found = std::panic::catch_unwind(|| {
        let judge = Judge {
            documents: Documents::read(),
            seen: BTreeSet::new(),
        };
        judge.response(Operation(ADMIN, "/v1/status", "get"), "418");
    });
    assert!(found.is_err());
    judge.response(Operation(ADMIN, "/v1/status", "get"), "200");
}

//! Who may connect, and how the rest is told so.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::fixture::{Fixture, client, config, refused, soon};
use crate::Secret;
use crate::websocket::{Client, Config};

/// Two clients, one of which sees agents only.
fn guarded() -> Config {
    let mut config = config();
    config.clients = vec![
        client("wallboard", "w-token", &["Agent*"]),
        client("all", "a-token", &[]),
    ];
    config.allowed_origins = vec!["https://wall.example".to_owned()];
    config
}

const BEARER: (&str, &str) = ("authorization", "Bearer w-token");
/// `acmecorp01:w-token`
const BASIC: (&str, &str) = ("authorization", "Basic YWNtZWNvcnAwMTp3LXRva2Vu");

#[tokio::test]
async fn credentials_are_needed_everywhere_and_bearer_and_basic_do() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    for path in ["/v1/stream", "/v1/events", "/v1/history"] {
        for headers in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic dTp3cm9uZw==\r\n",
        ] {
            let answer = relay.get_with(path, headers).await;
            assert!(
                answer.starts_with("HTTP/1.1 401"),
                "{path} {headers}: {answer}"
            );
            assert!(
                answer.contains("www-authenticate: Basic realm="),
                "{answer}"
            );
            assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
        }
    }
    let sapi =
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a";
    assert_eq!(refused(relay.connect_with(sapi, &[]).await), 401);
    for header in [BEARER, BASIC] {
        relay.connect_with("/v1/stream", &[header]).await.unwrap();
        relay.connect_with(sapi, &[header]).await.unwrap();
        let line = format!("{}: {}\r\n", header.0, header.1);
        assert!(
            relay
                .get_with("/v1/history", &line)
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
    assert!(
        relay.get("/").await.starts_with("HTTP/1.1 200"),
        "the index tells no secret"
    );
}

#[tokio::test]
async fn an_allow_list_holds_on_every_endpoint() {
    let mut relay = Fixture::with(guarded(), 1 << 20).await;
    let mut stream = relay
        .connect_with("/v1/stream?types=*", &[BEARER])
        .await
        .unwrap();
    let sapi =
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a";
    let mut sapi = relay.connect_with(sapi, &[BASIC]).await.unwrap();
    relay.until_connected(2).await;
    relay.commit("Interaction", 2).await;
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(stream.number().await, 3);
    assert_eq!(super::fixture::number(&sapi.json().await), 3);
    let history = relay
        .get_with(
            "/v1/history?types=Interaction",
            "Authorization: Bearer w-token\r\n",
        )
        .await;
    assert!(
        history.starts_with("HTTP/1.1 200") && !history.contains("Interaction"),
        "{history}"
    );
    let all = relay
        .get_with(
            "/v1/history?types=Interaction",
            "Authorization: Bearer a-token\r\n",
        )
        .await;
    assert_eq!(all.matches("\"n\":").count(), 2);
    let request =
        "GET /v1/events?from=earliest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer w-token\r\n\r\n";
    let mut events = relay.tcp(request).await;
    let mut text = String::new();
    while !text.contains("\"n\":") {
        let mut bytes = [0; 4096];
        let read = soon("events", events.read(&mut bytes)).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    assert!(
        text.contains("event: AgentStatusChange") && !text.contains("Interaction"),
        "{text}"
    );
}

/// Path, status and what the answer says.
const WRONG: &[(&str, u16, &str)] = &[
    ("/v1/stream?form=now", 400, "did you mean \"from\"?"),
    (
        "/v1/history?token=secret",
        400,
        "a token never stands in a URL",
    ),
    (
        "/v1/events?from=yesterday",
        400,
        "from: \"yesterday\" is none of now, earliest",
    ),
    ("/v1/stream?format=xml", 400, "neither cloudevents nor raw"),
    ("/v1/stream?notices=maybe", 400, "neither true nor false"),
    ("/v1/stream?types=", 400, "types: "),
    ("/v1/stream?key=a&key=b", 400, "key is given twice"),
    ("/v1/history?limit=0", 400, "no number above 0"),
    (
        "/v1/history?format=raw",
        400,
        "unknown parameter \"format\"",
    ),
    ("/v1/stream", 426, "WebSocket"),
    ("/v2/stream", 404, "nothing is here"),
    ("/api/streaming/v1/elsewhere", 404, "not a SAPI path"),
    (
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates",
        400,
        "tenantId is missing",
    ),
    (
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=other&subsId=a",
        400,
        "another tenant",
    ),
    (
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a&desiredOutputType=YAML",
        400,
        "desiredOutputType",
    ),
    (
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates-acmecorp01-b?tenantId=acmecorp01&subsId=a",
        400,
        "suffix",
    ),
];

#[tokio::test]
async fn what_is_wrong_is_said_in_plain_text() {
    let relay = Fixture::new().await;
    for (path, status, reason) in WRONG {
        let answer = relay.get(path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(answer.contains(reason), "{path}: {answer}");
        assert!(
            answer.contains("content-type: text/plain"),
            "{path}: {answer}"
        );
    }
    let answer = relay
        .raw("POST /v1/history HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET"),
        "{answer}"
    );
    assert!(
        relay
            .get("/api/streaming/v1/TenantUpdates.jsp")
            .await
            .contains("Desired Output Type")
    );
    relay.until_connected(0).await;
}

#[tokio::test]
async fn basic_on_the_sapi_face_names_the_tenant() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    let sapi =
        "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=a";
    // somebody:w-token
    let other = ("authorization", "Basic c29tZWJvZHk6dy10b2tlbg==");
    assert_eq!(refused(relay.connect_with(sapi, &[other]).await), 401);
    relay.connect_with("/v1/stream", &[other]).await.unwrap();
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    let own = format!("http://{}", relay.addr);
    for (origin, good) in [
        (own.as_str(), true),
        ("https://wall.example", true),
        ("http://wall.example", false),
        ("http://127.0.0.1:1", false),
        ("null", false),
    ] {
        let outcome = relay
            .connect_with("/v1/stream", &[BEARER, ("origin", origin)])
            .await;
        assert_eq!(outcome.is_ok(), good, "{origin}");
        if !good {
            assert_eq!(refused(outcome), 403);
        }
    }
    let listed = relay.get_with(
        "/v1/history",
        "Authorization: Bearer w-token\r\nOrigin: https://wall.example\r\n",
    );
    assert!(
        listed
            .await
            .contains("access-control-allow-origin: https://wall.example")
    );
}

#[tokio::test]
async fn a_foreign_page_can_not_come_in_by_a_name_of_its_own() {
    let relay = Fixture::new().await;
    let rebound = "GET /v1/history HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\r\n";
    let answer = relay.raw(rebound).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("host name"),
        "{answer}"
    );
    let plain = rebound.replace("Sec-Fetch-Site: same-origin\r\n", "");
    assert!(
        relay.raw(&plain).await.starts_with("HTTP/1.1 200"),
        "no web page"
    );
    let local = rebound.replace("evil.example", "localhost:8080");
    assert!(relay.raw(&local).await.starts_with("HTTP/1.1 200"));
}

fn cookie_of(answer: &str) -> String {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(line.contains("; HttpOnly; SameSite=Strict"), "{line}");
    line.split(';').next().unwrap().to_owned()
}

/// The text of a `POST /v1/session`.
fn login(relay: &Fixture, body: &str, header: &str) -> String {
    let (host, length) = (relay.addr, body.len());
    format!(
        "POST /v1/session HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{header}\r\n{body}"
    )
}

#[tokio::test]
async fn a_session_needs_a_token_from_a_page_of_the_relay() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    let login = |body: &str, header: &str| login(&relay, body, header);
    for (body, header, status) in [
        (r#"{"token":"wrong"}"#, "", 401),
        ("token=w-token", "", 400),
        ("", "", 401),
        (
            r#"{"token":"w-token"}"#,
            "Origin: http://evil.example\r\n",
            403,
        ),
    ] {
        let answer = relay.raw(&login(body, header)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_session_stands_for_a_token_until_either_goes() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    let login = |body: &str, header: &str| login(&relay, body, header);
    let header = "Authorization: Bearer w-token\r\n";
    let by_header = cookie_of(&relay.raw(&login("", header)).await);
    let cookie = cookie_of(&relay.raw(&login(r#"{"token":"w-token"}"#, "")).await);
    assert_ne!(cookie, by_header);
    let mut peer = relay
        .connect_with("/v1/stream", &[("cookie", &cookie)])
        .await
        .unwrap();
    let history = |headers: &str| {
        let headers = format!("Cookie: {cookie}\r\n{headers}");
        let relay = &relay;
        async move { relay.get_with("/v1/history", &headers).await }
    };
    assert!(
        history("Sec-Fetch-Site: same-origin\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        history("Sec-Fetch-Site: same-site\r\n")
            .await
            .starts_with("HTTP/1.1 403")
    );
    let out = format!(
        "DELETE /v1/session HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {by_header}\r\n\r\n",
        relay.addr
    );
    assert!(relay.raw(&out).await.starts_with("HTTP/1.1 204"));
    assert_eq!(
        refused(
            relay
                .connect_with("/v1/stream", &[("cookie", &by_header)])
                .await
        ),
        401
    );
    relay
        .clients
        .replace(vec![client("all", "a-token", &[])])
        .unwrap();
    let close = peer.close_frame().await.unwrap();
    assert_eq!(close.code, CloseCode::Policy);
    assert_eq!(
        refused(
            relay
                .connect_with("/v1/stream", &[("cookie", &cookie)])
                .await
        ),
        401
    );
    assert_eq!(
        refused(relay.connect_with("/v1/stream", &[BEARER]).await),
        401
    );
}

#[tokio::test]
async fn a_reload_closes_who_is_removed_or_changed_and_nobody_else() {
    let mut relay = Fixture::with(guarded(), 1 << 20).await;
    let all = ("authorization", "Bearer a-token");
    let mut stays = relay.connect_with("/v1/stream", &[all]).await.unwrap();
    let mut goes = relay.connect_with("/v1/stream", &[BEARER]).await.unwrap();
    let twice = vec![client("one", "same", &[]), client("two", "same", &[])];
    assert!(relay.clients.replace(twice).is_err(), "nothing changes");
    let changed = vec![
        client("wallboard", "w-token", &["Interaction"]),
        client("all", "a-token", &[]),
    ];
    relay.clients.replace(changed).unwrap();
    assert_eq!(goes.close_frame().await.unwrap().code, CloseCode::Policy);
    relay.commit("AgentStatusChange", 1).await;
    assert_eq!(stays.number().await, 1);
    relay.until_connected(1).await;
    assert_eq!(relay.left("revoked"), 1);
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let mut config = config();
    let token = Secret::File(path.clone());
    config.clients = vec![Client {
        name: "wallboard".into(),
        token,
        types: Vec::new(),
    }];
    let relay = Fixture::with(config, 1 << 20).await;
    let first = ("authorization", "Bearer first");
    let second = ("authorization", "Bearer second");
    let mut peer = relay.connect_with("/v1/stream", &[first]).await.unwrap();
    assert_eq!(
        refused(relay.connect_with("/v1/stream", &[second]).await),
        401
    );
    std::fs::write(&path, "second\n").unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while relay.connect_with("/v1/stream", &[second]).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the new token counts within a second"
        );
    }
    assert_eq!(peer.close_frame().await.unwrap().code, CloseCode::Policy);
    assert_eq!(
        refused(relay.connect_with("/v1/stream", &[first]).await),
        401
    );
}

#[tokio::test]
async fn heads_are_bounded_and_keep_alive_works() {
    let relay = Fixture::new().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(40_000));
    let answer = relay.raw(&long).await;
    // It closes with bytes unread, so that its answer may not arrive.
    let told = answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431");
    assert!(told || answer.is_empty(), "{answer}");
    let many: String = "X-Again: y\r\n".repeat(100);
    let answer = relay.get_with("/", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let two = "GET /v1/history HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = relay.raw(two).await;
    assert!(
        answer.contains("HTTP/1.1 200") && answer.contains("HTTP/1.1 404"),
        "{answer}"
    );
}

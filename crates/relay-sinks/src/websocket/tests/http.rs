//! Who may connect, and how the rest is told so.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{Fixture, client, config, refused, soon};
use crate::websocket::Config;

/// Two clients, one of which sees agents only.
pub(super) fn guarded() -> Config {
    let mut config = config();
    config.clients = vec![
        client("wallboard", "w-token", &["Agent*"]),
        client("all", "a-token", &[]),
    ];
    config.allowed_origins = vec!["https://wall.example".to_owned()];
    config
}

pub(super) const BEARER: (&str, &str) = ("authorization", "Bearer w-token");
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
    let two = "GET /v1/history HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = relay.raw(two).await;
    assert!(
        answer.contains("HTTP/1.1 200") && answer.contains("HTTP/1.1 404"),
        "{answer}"
    );
}

/// Connections that say nothing, or not all of it, are ended: none is held for its own patience.
#[tokio::test]
async fn whoever_does_not_get_to_the_end_of_a_request_is_cut_off() {
    let relay = Fixture::new().await;
    let requests = [
        "",
        "GET / HTTP/1.1\r\nHo",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ",
        // Answered, and then silent.
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for request in requests {
        let mut socket = relay.tcp(request).await;
        let mut answer = vec![0; 1 << 16];
        if request.ends_with("\r\n\r\n") {
            assert!(soon("an answer", socket.read(&mut answer)).await.unwrap() > 0);
        }
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        socket.read_to_end(&mut answer).await.ok();
        let patience = started.elapsed();
        tokio::time::resume();
        assert!(
            patience <= Duration::from_secs(15),
            "{request:?} was held for {patience:?}"
        );
    }
}

/// A dribble does not start the clock anew.
#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off_too() {
    let relay = Fixture::new().await;
    let mut socket = relay.tcp("GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ").await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let mut byte = [0];
    loop {
        let second = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut byte));
        if second.await.is_ok() || socket.write_all(b"x").await.is_err() {
            break;
        }
    }
    assert!(started.elapsed() <= Duration::from_secs(15));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let relay = Fixture::new().await;
    let request = format!(
        "POST /v1/session HTTP/1.1\r\nHost: {}\r\nContent-Length: 20\r\n\r\n{{",
        relay.addr
    );
    let mut socket = relay.tcp(&request).await;
    tokio::time::pause();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

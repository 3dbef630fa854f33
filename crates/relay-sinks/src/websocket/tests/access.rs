//! Web pages, sessions, and who loses access while connected.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::fixture::{Fixture, client, config, refused};
use super::http::{BEARER, guarded};
use crate::Secret;
use crate::websocket::Client;

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
    for sign in [
        "User-Agent: Mozilla/5.0 (X11)",
        "Accept-Language: en",
        // What a page may set itself.
        "User-Agent: Mozilla/5.0\r\nAuthorization: Bearer x",
        "User-Agent: x\r\nAccept-Language: *",
        "User-Agent: x\r\nAccept-Language: *\r\nAuthorization: Basic dTp4",
    ] {
        let bare = rebound.replace("Sec-Fetch-Site: same-origin", sign);
        let answer = relay.raw(&bare).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{sign}: {answer}");
        let local = bare.replace("evil.example", "localhost:8080");
        let answer = relay.raw(&local).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{sign}: {answer}");
    }
    let session = "POST /v1/session HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nAuthorization: Bearer x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = relay.raw(session).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && !answer.contains("set-cookie"),
        "{answer}"
    );
    let local = session.replace("evil.example", "localhost:8080");
    assert!(relay.raw(&local).await.starts_with("HTTP/1.1 204"));
}

/// Beyond loopback a network names the relay as it likes: programs may use that name, pages may not.
#[tokio::test]
async fn an_open_relay_tells_programs_from_pages_by_what_they_send() {
    let mut config = config();
    config.listen = "0.0.0.0:0".parse().unwrap();
    config.allow_anonymous = true;
    let relay = Fixture::with(config, 1 << 20).await;
    let program = "GET /v1/history HTTP/1.1\r\nHost: relay.office\r\nConnection: close\r\nAuthorization: Bearer x\r\n\r\n";
    assert!(relay.raw(program).await.starts_with("HTTP/1.1 200"));
    let page = program.replace("Bearer x", "Bearer x\r\nUser-Agent: Mozilla/5.0");
    assert!(relay.raw(&page).await.starts_with("HTTP/1.1 403"));
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
        // A browser would ask for it in a window of its own.
        assert!(!answer.contains("Basic"), "{answer}");
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

/// What a browser does for a page beside the relay that logs in with `fetch` and `credentials:
/// "include"`, and what another page on the same site may not.
#[tokio::test]
async fn a_listed_page_of_the_same_site_logs_in_and_uses_its_cookie() {
    let relay = Fixture::with(guarded(), 1 << 20).await;
    let host = relay.addr;
    let preflight = format!(
        "OPTIONS /v1/session HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: https://wall.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
    );
    let allowed = relay.raw(&preflight).await;
    assert!(allowed.starts_with("HTTP/1.1 204"), "{allowed}");
    for header in [
        "access-control-allow-origin: https://wall.example",
        "access-control-allow-credentials: true",
        "access-control-allow-methods: POST, DELETE",
        "access-control-allow-headers: authorization, content-type",
    ] {
        assert!(allowed.contains(header), "{allowed}");
    }
    let other = preflight.replace("wall.example", "evil.example");
    assert!(relay.raw(&other).await.starts_with("HTTP/1.1 403"));

    let page = "Origin: https://wall.example\r\nSec-Fetch-Site: same-site\r\n";
    let answer = relay
        .raw(&login(&relay, r#"{"token":"w-token"}"#, page))
        .await;
    assert!(answer.contains("access-control-allow-credentials: true"));
    let cookie = cookie_of(&answer);
    for (headers, status) in [
        (page.to_owned(), 200),
        (page.replace("same-site", "cross-site"), 403),
        (page.replace("wall.example", "evil.example"), 403),
        ("Sec-Fetch-Site: same-site\r\n".to_owned(), 403),
    ] {
        let headers = format!("Cookie: {cookie}\r\n{headers}");
        let answer = relay.get_with("/v1/history", &headers).await;
        let wanted = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&wanted), "{headers}: {answer}");
    }
    let stream = [
        ("cookie", &*cookie),
        ("origin", "https://wall.example"),
        ("sec-fetch-site", "same-site"),
    ];
    relay.connect_with("/v1/stream", &stream).await.unwrap();
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

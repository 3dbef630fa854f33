//! Paths, credentials, parameters, the limit of clients, and what stands before all of them; with the
//! faults of each.

use http::StatusCode;
use sapi_sim::{Config, DEMO_TOKEN, Simulator};

use crate::client::{Ask, Ended, bytes, connect, gone, made, start};

async fn status(sim: &Simulator, ask: &Ask) -> Option<u16> {
    match ask.go(sim).await {
        Ok(client) => {
            client.close().await;
            gone(sim).await;
            Some(101)
        }
        Err(refused) => refused.map(|status| status.as_u16()),
    }
}

/// Each row: a fault, what is asked, and the status.
fn table() -> Vec<(&'static str, Ask, u16)> {
    let bare = || Ask::new("a-b");
    let suffixed = || Ask::suffixed("a-b");
    let mismatch = || suffixed().path("-acmecorp01-a-b?", "-acmecorp01-other?");
    let wrong_case = || bare().path("TenantUpdates", "tenantupdates");
    let bad = || bare().token("nonsense");
    vec![
        ("", bare(), 101),
        ("", suffixed(), 101),
        ("", Ask::output("a", None), 101),
        ("", mismatch(), 400),
        ("", bare().path("subsId=a-b", "subsId="), 400),
        ("", bare().path("subsId=a-b", "subsId=a/b"), 400),
        ("", bare().path("tenantId=acmecorp01&", ""), 400),
        ("", bare().path("=JSON", "=YAML"), 400),
        ("", bare().path("=JSON", "=newline_json"), 101),
        ("", bare().path("/v1/", "/v2/"), 404),
        ("", bare().path("TenantUpdates", "Updates"), 404),
        ("", wrong_case(), 404),
        ("", bad(), 401),
        (
            "",
            bare().path("tenantId=acmecorp01", "tenantId=other"),
            401,
        ),
        (
            "",
            Ask {
                authorization: None,
                ..bare()
            },
            401,
        ),
        ("path-suffixed-only", bare(), 404),
        ("path-suffixed-only", suffixed(), 101),
        ("path-bare-only", suffixed(), 404),
        ("path-bare-only", bare(), 101),
        ("path-mismatch-403", mismatch(), 403),
        ("path-query-wins", mismatch(), 101),
        ("path-any-case", wrong_case(), 101),
        ("auth-reject", bare(), 401),
        ("auth-403-xml", bad(), 403),
        ("auth-404", bad(), 404),
        ("auth-302-html", bad(), 302),
        ("token-rotated=NEW", bare(), 401),
        ("token-rotated=NEW", bare().token("NEW"), 101),
        ("output-unset-400", Ask::output("a", None), 400),
        ("subs-id-strict", bare(), 400),
        ("subs-id-max=2", bare(), 400),
        ("subs-id-max=3", bare(), 101),
        ("quota-full", bare(), 429),
        ("maintenance-502-html", bare(), 502),
        ("maintenance-503-html", bare(), 503),
        ("maintenance-504-html", bare(), 504),
        ("upgrade-200-html", bare(), 200),
        ("redirect=wss://vcc-na12b.8x8.com", bare(), 302),
    ]
}

#[tokio::test]
async fn requests_are_answered_as_documented_and_as_faults_want() {
    for (fault, ask, expected) in table() {
        let faults: Vec<&str> = Some(fault)
            .filter(|fault| !fault.is_empty())
            .into_iter()
            .collect();
        let sim = start(Config::default(), &faults).await;
        let path = ask.path.clone();
        assert_eq!(status(&sim, &ask).await, Some(expected), "{fault} {path}");
        if let Some(name) = fault.split('=').next().filter(|name| !name.is_empty()) {
            // A fault that refuses fired if it refused; one that admits if it admitted.
            let admits = ["path-query-wins", "path-any-case"].contains(&name);
            if (expected != 101) || admits {
                assert!(sim.fired(name) > 0, "{name} did not fire");
            }
        }
        let seen = sim.connections();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].status, expected);
        assert_eq!(seen[0].admitted, expected == 101);
    }
}

#[tokio::test]
async fn a_refusal_can_look_like_a_connection() {
    let config = Config {
        max_clients: 0,
        ..Config::default()
    };
    for (fault, ask, ended) in [
        ("auth-101-close", Ask::new("a").token("bad"), Some(1008)),
        (
            "auth-101-close=4001",
            Ask::new("a").token("bad"),
            Some(4001),
        ),
        ("auth-101-silence", Ask::new("a").token("bad"), None),
        ("quota-101-close=1013", Ask::new("a"), Some(1013)),
        ("quota-101-silence", Ask::new("a"), None),
    ] {
        let sim = start(config.clone(), &[fault]).await;
        let mut client = ask.go(&sim).await.unwrap();
        match ended {
            Some(code) => assert_eq!(client.end().await, Ended::Closed(code), "{fault}"),
            None => assert!(client.is_silent(50).await, "{fault}"),
        }
        assert_eq!(sim.fired(fault.split('=').next().unwrap()), 1);
        assert!(!sim.connections()[0].admitted);
        assert_eq!(sim.connected(), 0);
    }
    let sim = start(config, &["auth-in-band"]).await;
    let mut client = Ask::new("a").token("bad").go(&sim).await.unwrap();
    assert_eq!(client.next().await.unwrap().class(), "API");
    assert!(client.is_silent(50).await);
}

#[tokio::test]
async fn a_token_that_is_rotated_while_connected() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    sim.set_fault("token-rotated=NEW").unwrap();
    sim.emit(1);
    assert_eq!(client.events(1).await.len(), 1);
    sim.clear_fault("token-rotated").unwrap();
    sim.set_fault("token-rotated-silent=NEW").unwrap();
    sim.emit(1);
    assert!(client.is_silent(50).await);
    sim.clear_fault("token-rotated-silent").unwrap();
    assert_eq!(client.events(1).await.len(), 1);
    sim.set_fault("token-rotated-close=NEW").unwrap();
    assert_eq!(client.end().await, Ended::Closed(1008));
    assert_eq!(
        Ask::new("a").go(&sim).await.err(),
        Some(Some(StatusCode::UNAUTHORIZED))
    );
    let mut client = Ask::new("a").token("NEW").go(&sim).await.unwrap();
    sim.emit(1);
    assert_eq!(client.events(1).await.len(), 1);
    for fault in ["token-rotated-silent", "token-rotated-close"] {
        assert!(sim.fired(fault) > 0, "{fault}");
    }
}

#[tokio::test]
async fn both_shapes_of_a_token_and_a_user_name_are_known() {
    let config = Config {
        username: Some("api-user".to_owned()),
        ..Config::default()
    };
    let sim = start(config, &[]).await;
    let mut ask = Ask::new("a");
    assert_eq!(status(&sim, &ask).await, Some(401));
    ask.authorization = Some(sapi_protocol::basic_header("api-user", DEMO_TOKEN));
    assert_eq!(status(&sim, &ask).await, Some(101));
}

#[tokio::test]
async fn one_client_too_many() {
    for (fault, expected) in [
        ("quota-401", 401),
        ("quota-403", 403),
        ("quota-409", 409),
        ("quota-429", 429),
        ("quota-503", 503),
    ] {
        let sim = start(
            Config {
                max_clients: 1,
                ..Config::default()
            },
            &[fault],
        )
        .await;
        let _first = connect(&sim, "a").await;
        let refused = Ask::new("b").go(&sim).await.err().flatten().unwrap();
        assert_eq!(refused.as_u16(), expected);
        assert_eq!(sim.fired(fault), 1);
    }
    let sim = start(
        Config {
            max_clients: 1,
            ..Config::default()
        },
        &["quota-accept"],
    )
    .await;
    let (_first, _second) = (connect(&sim, "a").await, connect(&sim, "b").await);
    assert_eq!((sim.connected(), sim.fired("quota-accept")), (2, 2));

    let sim = start(
        Config {
            max_clients: 1,
            ..Config::default()
        },
        &["quota-evict-oldest"],
    )
    .await;
    let mut first = connect(&sim, "a").await;
    let _second = connect(&sim, "b").await;
    assert_eq!(first.end().await, Ended::Closed(1008));
    assert_eq!((sim.connected(), sim.fired("quota-evict-oldest")), (1, 1));
}

#[tokio::test]
async fn slots_that_outlive_their_connection() {
    for fault in ["quota-counts-disconnected", "ghost-slot=60"] {
        let sim = start(
            Config {
                max_clients: 1,
                ..Config::default()
            },
            &[fault],
        )
        .await;
        connect(&sim, "a").await.close().await;
        gone(&sim).await;
        assert!(Ask::new("b").go(&sim).await.is_err(), "{fault}");
        assert!(Ask::new("a").go(&sim).await.is_ok(), "{fault}");
        assert!(sim.fired(fault.split('=').next().unwrap()) > 0, "{fault}");
    }
}

#[tokio::test]
async fn one_id_twice() {
    let sim = start(Config::default(), &["same-subs-id=both"]).await;
    let (mut first, mut second) = (connect(&sim, "a").await, connect(&sim, "a").await);
    sim.emit(20);
    assert_eq!(first.events(20).await, bytes(&made(&sim)));
    assert_eq!(second.events(20).await, bytes(&made(&sim)));

    let sim = start(Config::default(), &["same-subs-id=refuse"]).await;
    let _first = connect(&sim, "a").await;
    assert_eq!(
        Ask::new("a").go(&sim).await.err(),
        Some(Some(StatusCode::CONFLICT))
    );

    let sim = start(Config::default(), &["same-subs-id=split"]).await;
    let (mut first, mut second) = (connect(&sim, "a").await, connect(&sim, "a").await);
    let mut all = Vec::new();
    for _ in 0..20 {
        sim.emit(1);
        tokio::select! {
            event = first.next() => all.push(event.unwrap().into_bytes()),
            event = second.next() => all.push(event.unwrap().into_bytes()),
        }
    }
    assert_eq!(all, bytes(&made(&sim)));

    let sim = start(Config::default(), &["same-subs-id=kick"]).await;
    let mut first = connect(&sim, "a").await;
    let _second = connect(&sim, "a").await;
    assert_eq!(first.end().await, Ended::Closed(1008));
    assert_eq!(sim.fired("same-subs-id"), 1);
}

#[tokio::test]
async fn letter_case_of_an_id() {
    let sim = start(Config::default(), &["subs-id-any-case"]).await;
    connect(&sim, "Relay").await.close().await;
    gone(&sim).await;
    sim.emit(3);
    let mut client = connect(&sim, "rELAY").await;
    assert_eq!(client.events(3).await, bytes(&made(&sim)));
    assert_eq!(sim.fired("subs-id-any-case"), 1);
}

#[tokio::test]
async fn output_types_by_fault() {
    for (fault, output, first) in [
        ("xml-by-default", None, b'<'),
        ("output-ignored", Some("XML"), b'{'),
        ("output-wrong-format", Some("JSON"), b'<'),
        ("output-wrong-format", Some("NEWLINE_XML"), b'{'),
    ] {
        let sim = start(Config::default(), &[fault]).await;
        let mut client = Ask::output("a", output).go(&sim).await.unwrap();
        sim.emit(1);
        assert_eq!(client.events(1).await[0][0], first, "{fault}");
        assert_eq!(sim.fired(fault), 1);
    }
}

#[tokio::test]
async fn the_bridge_takes_the_token_as_a_key_and_knows_no_limit() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let sim = start(
        Config {
            max_clients: 0,
            ..Config::default()
        },
        &["bridge"],
    )
    .await;
    let url = format!("{}{}", sim.ws_url(), Ask::new("a").path);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-api-key", DEMO_TOKEN.parse().unwrap());
    assert!(
        Box::pin(tokio_tungstenite::connect_async(request))
            .await
            .is_ok()
    );
    assert!(sim.fired("bridge") > 0);
}

#[tokio::test]
async fn no_answer_at_all() {
    let sim = start(Config::default(), &["upgrade-reset"]).await;
    assert_eq!(Ask::new("a").go(&sim).await.err(), Some(None));
    assert_eq!(sim.fired("upgrade-reset"), 1);
    let sim = start(Config::default(), &["upgrade-hangs"]).await;
    let ask = Ask::new("a");
    tokio::select! {
        _ = ask.go(&sim) => panic!("answered"),
        () = async { sim.wait_until(|sim| sim.connections().len() == 1).await } => {}
    }
    assert_eq!(sim.connections()[0].status, 0);
}

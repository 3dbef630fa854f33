//! The control endpoints, the test page, and TLS.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sapi_sim::{Config, Connection, DEMO_TOKEN, LedgerEntry, Simulator, Status};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{Ask, bytes, connect, gone, made, start, within};

/// One request.
async fn send(sim: &Simulator, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let stream = TcpStream::connect(sim.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let response = within(sender.send_request(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, within(body.collect()).await.unwrap().to_bytes())
}

async fn get(sim: &Simulator, path: &str) -> Bytes {
    let request = Request::get(path)
        .header("host", "sim")
        .body(Full::default())
        .unwrap();
    let response = send(sim, request).await;
    assert_eq!(response.status(), 200, "{path}");
    response.into_body()
}

async fn post(sim: &Simulator, path: &str, body: &Value) -> (u16, Bytes) {
    let body = Full::from(body.to_string());
    let response = send(
        sim,
        Request::post(path)
            .header("host", "sim")
            .body(body)
            .unwrap(),
    )
    .await;
    (response.status().as_u16(), response.into_body())
}

#[tokio::test]
async fn the_ledger_is_what_a_client_received() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    let (status, _) = post(&sim, "/sim/emit", &json!({"count": 2000})).await;
    assert_eq!(status, 200);
    let events = client.events(2000).await;
    let lines = |body: Bytes| -> Vec<LedgerEntry> {
        std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let ledger = lines(get(&sim, "/sim/ledger").await);
    assert_eq!(bytes(&ledger), events);
    assert_eq!(ledger, sim.ledger());
    assert_eq!(
        lines(get(&sim, "/sim/ledger?from=1990").await),
        ledger[1989..]
    );
    let xml = lines(get(&sim, "/sim/ledger?from=2000&output=XML").await);
    assert!(xml[0].bytes.starts_with(b"<"));
    let line: Value = serde_json::from_slice(&get(&sim, "/sim/ledger?from=2000").await).unwrap();
    let mut keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    keys.sort();
    let expected = "at bytes_base64 class event instance kind n sequence timestamp written";
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
    assert_eq!(line["kind"], "event");
    assert_eq!(line["written"][0]["subsId"], "a");
}

#[tokio::test]
async fn faults_are_set_listed_and_cleared() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    let change = json!({"set": ["split=3", "seq-gap=5"], "clear": []});
    assert_eq!(post(&sim, "/sim/faults", &change).await.0, 200);
    post(&sim, "/sim/emit", &json!({"count": 1})).await;
    client.events(1).await;
    assert_eq!(client.messages.len(), 3);
    let list: Vec<Value> = serde_json::from_slice(&get(&sim, "/sim/faults").await).unwrap();
    let of = |name: &str| {
        list.iter()
            .find(|fault| fault["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("split")["active"], true);
    assert_eq!(of("split")["arg"], "3");
    assert_eq!(of("split")["fired"], 1);
    assert_eq!(of("split")["row"], "B6");
    assert_eq!(
        (&of("seq-gap")["active"], &of("seq-gap")["fired"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        post(&sim, "/sim/faults", &json!({"clear": ["split"]}))
            .await
            .0,
        200
    );
    assert!(sim.faults().iter().all(|fault| !fault.active));
    for bad in [
        json!({"set": ["nonsense"]}),
        json!({"clear": ["nonsense"]}),
        json!({"sets": []}),
    ] {
        assert_eq!(post(&sim, "/sim/faults", &bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn status_rate_and_connections() {
    let sim = start(Config::default(), &[]).await;
    let mut client = connect(&sim, "a").await;
    assert!(Ask::new("b").token("bad").go(&sim).await.is_err());
    assert_eq!(
        post(&sim, "/sim/rate", &json!({"rate": 500.0})).await.0,
        200
    );
    client.events(20).await;
    assert_eq!(post(&sim, "/sim/rate", &json!({"rate": 0})).await.0, 200);
    let own = json!({"bytes_base64": "eyJYIjp7fX0=", "class": "X"});
    assert_eq!(post(&sim, "/sim/emit", &own).await.0, 200);
    loop {
        if client.events(1).await[0] == r#"{"X":{}}"# {
            break;
        }
    }
    let status: Status = serde_json::from_slice(&get(&sim, "/sim/status").await).unwrap();
    assert_eq!((status.connected, status.rate), (1, 0.0));
    assert_eq!(status.events, made(&sim).len() as u64);
    assert_eq!(status.subscriptions[0].subs_id, "a");
    client.close().await;
    gone(&sim).await;
    let seen: Vec<Connection> =
        serde_json::from_slice(&get(&sim, "/sim/connections").await).unwrap();
    assert_eq!(seen, sim.connections());
    assert_eq!((seen[0].status, seen[1].status), (101, 401));
    assert_eq!(seen[0].subs_id.as_deref(), Some("a"));
    assert_eq!(seen[1].subs_id.as_deref(), Some("b"));
    assert!(seen[0].documents > 20 && seen[0].ended.is_some());
}

#[tokio::test]
async fn the_test_page_needs_credentials_and_lets_its_socket_in() {
    let page = "/api/streaming/v1/TenantUpdates.jsp";
    let sim = start(Config::default(), &[]).await;
    let bare = Request::get(page)
        .header("host", "sim")
        .body(Full::default())
        .unwrap();
    let refused = send(&sim, bare).await;
    assert_eq!(refused.status(), 401);
    assert!(
        refused.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let header = sapi_protocol::basic_header("acmecorp01", DEMO_TOKEN);
    let asked = Request::get(page)
        .header("host", "sim")
        .header("authorization", header);
    let response = send(&sim, asked.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200);
    let text = std::str::from_utf8(response.body()).unwrap();
    for label in [
        "Subscription ID",
        "Tenant ID",
        "Desired Output Type",
        "Subscribe",
        "Unsubscribe",
    ] {
        assert!(text.contains(label), "{label}");
    }
    let cookie = response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let url = format!("{}{}", sim.ws_url(), Ask::new("browser").path);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("cookie", cookie.parse().unwrap());
    assert!(
        Box::pin(tokio_tungstenite::connect_async(request))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let sim = start(Config::default(), &[]).await;
    let header = sapi_protocol::basic_header("acmecorp01", DEMO_TOKEN);
    let request = Request::get(Ask::new("a").path).header("host", "sim");
    let request = request
        .header("authorization", header)
        .body(Full::default())
        .unwrap();
    let response = send(&sim, request).await;
    assert_eq!(response.status(), 400);
    assert!(
        std::str::from_utf8(response.body())
            .unwrap()
            .contains("WebSocket")
    );
    assert_eq!(sim.connected(), 0);
}

//! The relay speaks SAPI: one client's tests pass against the simulator and, unchanged, against the
//! relay; and a relay can subscribe to a relay.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, load, soon};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const CLIENT_TOKEN: &str = "5e0f0c8a7d6b4c3e9f8a7b6c5d4e3f2a";

/// A client as one would write it for 8x8.
struct SapiClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Where a client connects to.
struct Service {
    base: String,
    password: String,
}

impl Service {
    async fn subscribe(&self, subs_id: &str, output: &str) -> Result<SapiClient, u16> {
        let path = format!(
            "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?desiredOutputType={output}\
             &tenantId=acmecorp01&subsId={subs_id}"
        );
        self.request(&path, &self.password).await
    }

    async fn request(&self, path: &str, password: &str) -> Result<SapiClient, u16> {
        let mut request = format!("{}{path}", self.base)
            .into_client_request()
            .unwrap();
        let basic = BASE64_STANDARD.encode(format!("acmecorp01:{password}"));
        request
            .headers_mut()
            .insert("authorization", format!("Basic {basic}").parse().unwrap());
        match soon("an answer", connect_async(request)).await {
            Ok((socket, _)) => Ok(SapiClient(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl SapiClient {
    /// The next text message; `None` once the server has closed.
    async fn text(&mut self) -> Option<String> {
        loop {
            match soon("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next documents that are no heartbeats.
    async fn documents(&mut self, count: usize) -> Vec<String> {
        let mut documents = Vec::new();
        while documents.len() < count {
            let text = self.text().await.expect("the stream goes on");
            if !text.contains("ClientCheck") {
                documents.push(text);
            }
        }
        documents
    }

    async fn close(mut self) {
        self.0.close(None).await.ok();
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// What a client written for SAPI relies on.
async fn client_contract(service: &Service, simulator: &Simulator) {
    documents_come_as_they_were_sent(service, simulator).await;
    stored_documents_come_first(service, simulator).await;
    every_output_type(service, simulator).await;
    refusals(service).await;
    a_heartbeat_comes(service).await;
}

fn last_emitted(simulator: &Simulator, count: usize) -> Vec<Bytes> {
    let emitted = emitted(simulator);
    emitted[emitted.len() - count..].to_vec()
}

async fn documents_come_as_they_were_sent(service: &Service, simulator: &Simulator) {
    let mut client = service.subscribe("live", "JSON").await.unwrap();
    simulator.emit(20);
    let received = client.documents(20).await;
    assert_eq!(received, last_emitted(simulator, 20));
    client.close().await;
}

async fn stored_documents_come_first(service: &Service, simulator: &Simulator) {
    let mut client = service.subscribe("stored", "JSON").await.unwrap();
    simulator.emit(5);
    client.documents(5).await;
    client.close().await;
    simulator.emit(7);
    let mut client = service.subscribe("stored", "JSON").await.unwrap();
    let stored = client.documents(7).await;
    assert_eq!(
        stored,
        last_emitted(simulator, 7),
        "what came while it was away"
    );
    simulator.emit(3);
    assert_eq!(
        client.documents(3).await,
        last_emitted(simulator, 3),
        "and then what is new"
    );
    client.close().await;
}

async fn every_output_type(service: &Service, simulator: &Simulator) {
    let mut json = service.subscribe("json", "JSON").await.unwrap();
    let mut lines = service.subscribe("lines", "NEWLINE_JSON").await;
    // The simulator allows three clients, as SAPI does: two at a time are enough here.
    simulator.emit(4);
    let plain = json.documents(4).await;
    let with_newlines = lines.as_mut().unwrap().documents(4).await;
    json.close().await;
    lines.unwrap().close().await;
    for (plain, with_newline) in plain.iter().zip(&with_newlines) {
        assert_eq!(*with_newline, format!("{plain}\n"));
    }

    let mut xml = service.subscribe("xml", "XML").await.unwrap();
    let mut lines = service.subscribe("xml-lines", "NEWLINE_XML").await.unwrap();
    simulator.emit(4);
    let (plain, with_newlines) = (xml.documents(4).await, lines.documents(4).await);
    xml.close().await;
    lines.close().await;
    for ((plain, with_newline), json) in plain
        .iter()
        .zip(&with_newlines)
        .zip(last_emitted(simulator, 4))
    {
        assert_eq!(*with_newline, format!("{plain}\n"));
        let back = sapi_protocol::xml::xml_to_json(plain.as_bytes()).unwrap();
        let (back, json): (Value, Value) = (
            serde_json::from_slice(&back).unwrap(),
            serde_json::from_slice(&json).unwrap(),
        );
        assert_eq!(back, json);
    }
}

async fn refusals(service: &Service) {
    const BARE: &str = "/api/streaming/v1/clientconnect/subscribe/TenantUpdates";
    let cases = [
        (format!("{BARE}?tenantId=acmecorp01&subsId=a"), "wrong", 401),
        (
            format!("{BARE}?tenantId=acmecorp01"),
            service.password.as_str(),
            400,
        ),
        (
            format!("{BARE}-acmecorp01-b?tenantId=acmecorp01&subsId=a"),
            service.password.as_str(),
            400,
        ),
        (
            "/api/streaming/v1/clientconnect/subscribe/Nothing".to_owned(),
            service.password.as_str(),
            404,
        ),
    ];
    for (path, password, status) in cases {
        assert_eq!(
            service.request(&path, password).await.err(),
            Some(status),
            "{path}"
        );
    }
    let suffixed = format!("{BARE}-acmecorp01-a?tenantId=acmecorp01&subsId=a");
    service
        .request(&suffixed, &service.password)
        .await
        .unwrap()
        .close()
        .await;
}

async fn a_heartbeat_comes(service: &Service) {
    let mut client = service.subscribe("heartbeat", "JSON").await.unwrap();
    let heartbeat: Value = serde_json::from_str(&client.text().await.unwrap()).unwrap();
    let check = &heartbeat["ClientCheck"];
    assert_eq!(check["heartbeat"], "[HEARTBEAT]");
    assert_eq!(
        (&check["subscription-id"], &check["tenant-id"]),
        (&"heartbeat".into(), &"acmecorp01".into())
    );
    assert!(check["msgInfo"]["sequenceId"].is_u64(), "{heartbeat}");
    client.close().await;
}

fn quick_heartbeats() -> Config {
    Config {
        heartbeat: std::time::Duration::from_millis(500),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_written_for_sapi_on_the_simulator() {
    let simulator = Simulator::start(quick_heartbeats()).await.unwrap();
    let service = Service {
        base: simulator.ws_url(),
        password: DEMO_TOKEN.to_owned(),
    };
    client_contract(&service, &simulator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_client_on_the_relay() {
    let simulator = Simulator::start(quick_heartbeats()).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.downstream_keys = format!(
        "sapi.heartbeat = \"500ms\"\n[sinks.downstream.clients.legacy]\ntoken = \"{CLIENT_TOKEN}\"\n"
    );
    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    let base = relay.downstream("").await.replacen("http", "ws", 1);
    client_contract(
        &Service {
            base,
            password: CLIENT_TOKEN.to_owned(),
        },
        &simulator,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_subscribes_to_a_relay() {
    const EVENTS: u64 = 6_000;
    let _alone = load::alone().await;
    let config = Config {
        events: Some(EVENTS),
        overlap: 50,
        session_length: std::time::Duration::from_secs(3),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut first = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    first.upstream_keys = "session_length = \"3s\"".to_owned();
    first.downstream_keys = format!(
        "sapi.session_length = \"2s\"\n[sinks.downstream.clients.second]\ntoken = \"{CLIENT_TOKEN}\"\n"
    );
    let first = Relay::start(&first).await;
    let base = first.downstream("").await.replacen("http", "ws", 1);
    let mut second = Setup::new(&base, CLIENT_TOKEN);
    second.upstream_keys = "session_length = \"2s\"".to_owned();
    let second = Relay::start(&second).await;
    // Both must be there before the first event: a new subscription starts at now.
    for relay in [&first, &second] {
        relay
            .status_where("a subscription", |status| {
                status["subscriptions"][0]["state"] == "streaming"
            })
            .await;
    }
    simulator.set_rate(1_000.0);
    soon("the last event", simulator.finished()).await;
    let emitted = emitted(&simulator);
    assert_same(&recorded(&second, emitted.len()).await, &emitted);
    assert!(second.terminate().await.success());
    assert!(first.terminate().await.success());
}

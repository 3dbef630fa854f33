//! What consumers are sent, over each way that needs no broker, against the schemas and asyncapi.json.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use relay_tests::client::Stream;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::Receiver;
use relay_tests::{Relay, http, soon};
use sapi_sim::{Config, Simulator};
use serde_json::{Map, Value};

use super::documents::{Documents, assert_valid};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// A cursor of another journal.
const FOREIGN: &str = "00000000000000ff.1";
const EVENTS: u64 = 300;

struct World {
    simulator: Simulator,
    relay: Relay,
    documents: Documents,
}

impl World {
    async fn start(more: &str) -> Self {
        Self::start_with(more, "").await
    }

    async fn start_with(more: &str, upstream: &str) -> Self {
        let simulator = Simulator::start(Config::default()).await.unwrap();
        let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
        setup.upstream_keys = upstream.to_owned();
        setup.downstream_keys = "sapi.heartbeat = \"200ms\"".to_owned();
        setup.more = more.to_owned();
        let relay = Relay::start(&setup).await;
        simulator.wait_until(|sim| sim.connected() == 1).await;
        simulator.emit(EVENTS);
        Self {
            simulator,
            relay,
            documents: Documents::read(),
        }
    }

    async fn stream(&self, query: &str) -> Stream {
        let url = self.relay.downstream(&format!("/v1/stream?{query}")).await;
        Stream::connect(&url).await
    }
}

async fn next(stream: &mut Stream) -> Value {
    let text = stream.next_text().await.expect("the stream goes on");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_what_the_schemas_say() {
    let world = World::start("").await;
    let event = world.documents.validator("cloudevent.schema.json");
    let mut types = BTreeSet::new();
    let mut stream = world.stream("from=earliest&notices=true").await;
    for _ in 0..=EVENTS {
        let frame = next(&mut stream).await;
        assert_valid(&event, &frame);
        types.insert(frame["type"].as_str().unwrap().to_owned());
    }
    let expected = [
        "com.8x8.cc.AgentStatusChange",
        "com.8x8.cc.Interaction.InteractionCreated",
        "io.sapi-relay.notice.connected",
    ];
    for name in expected {
        assert!(types.contains(name), "{name}: {types:?}");
    }

    let raw = world.documents.validator("events.schema.json");
    let notice = world
        .documents
        .validator("cloudevent.schema.json#/$defs/rawNotice");
    let progress = world
        .documents
        .validator("cloudevent.schema.json#/$defs/progress");
    let mut stream = world.stream("from=earliest&notices=true&format=raw").await;
    let mut notices = 0;
    for _ in 0..=EVENTS {
        let frame = next(&mut stream).await;
        let is_notice = frame.get("relayNotice").is_some();
        assert_valid(if is_notice { &notice } else { &raw }, &frame);
        notices += u64::from(is_notice);
    }
    assert!(notices > 0);
    let mut stream = world.stream("progress=true&types=Nothing").await;
    assert_valid(&progress, &next(&mut stream).await);

    // What concerns one client alone has the same forms.
    let mut stream = world.stream(&format!("from={FOREIGN}")).await;
    let first = next(&mut stream).await;
    assert_valid(&event, &first);
    assert_eq!(first["type"], "io.sapi-relay.notice.cursor_reset");
    let mut stream = world.stream(&format!("from={FOREIGN}&format=raw")).await;
    assert_valid(&notice, &next(&mut stream).await);

    let url = world.relay.downstream("/v1/history?notices=true").await;
    let text = http::get(&url).await.unwrap().text().await.unwrap();
    assert!(text.lines().count() > 300);
    for line in text.lines() {
        assert_valid(&event, &serde_json::from_str(line).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_carry_cloudevents() {
    let world = World::start("").await;
    let event = world.documents.validator("cloudevent.schema.json");
    let url = world
        .relay
        .downstream("/v1/events?from=earliest&notices=true")
        .await;
    let mut body = http::get(&url).await.unwrap().bytes_stream();
    let (mut text, mut checked) = (String::new(), 0);
    while checked <= EVENTS {
        let chunk = soon("a chunk", body.next()).await.unwrap().unwrap();
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                assert_valid(&event, &data);
                assert_eq!(data["relaycursor"], field("id: ").unwrap());
                let kind = field("event: ").unwrap();
                let cloud = data["type"].as_str().unwrap();
                assert!(kind == "notice" || cloud.ends_with(kind), "{block}");
                checked += 1;
            }
            text = rest.to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sapi_face_sends_documents_and_heartbeats() {
    let world = World::start("").await;
    let event = world.documents.validator("events.schema.json");
    let beat = world
        .documents
        .validator("events.schema.json#/$defs/ClientCheck");
    let url = world
        .relay
        .downstream(
            "/api/streaming/v1/clientconnect/subscribe/TenantUpdates?tenantId=acmecorp01&subsId=w",
        )
        .await;
    let mut stream = Stream::connect(&url).await;
    world.simulator.emit(20);
    let (mut events, mut beats) = (0, 0);
    while events < 20 || beats == 0 {
        let frame = next(&mut stream).await;
        assert_valid(&event, &frame);
        match frame.get("ClientCheck") {
            Some(check) => {
                assert_valid(&beat, check);
                beats += 1;
            }
            None => events += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_carry_what_asyncapi_says() {
    let (single, batch) = (Receiver::start().await, Receiver::start().await);
    let more = format!(
        "[sinks.single]\ntype = \"webhook\"\nurl = {:?}\nsecret = {SECRET:?}\nnotices = true\nstart_from = \"earliest\"\n\
         [sinks.batch]\ntype = \"webhook\"\nurl = {:?}\nsecret = {SECRET:?}\nmode = \"batch\"\nstart_from = \"earliest\"\n",
        single.url("/"),
        batch.url("/")
    );
    let world = World::start(&more).await;
    single.accepted(300).await;
    batch.accepted(1).await;
    let documents = &world.documents;
    let headers_of = |name: &str| {
        documents.validator(&format!(
            "asyncapi.json#/components/messages/{name}/headers"
        ))
    };
    let body_of = |name: &str| {
        let payload = &documents.get("asyncapi.json")["components"]["messages"][name]["payload"];
        documents.validator(payload["schema"]["$ref"].as_str().unwrap())
    };
    let (headers_of_one, body_of_one) = (headers_of("webhookEvent"), body_of("webhookEvent"));
    let (headers_of_batch, body_of_batch) = (headers_of("webhookBatch"), body_of("webhookBatch"));
    let body_of_notice = body_of("notice");
    let mut notices = 0;
    for request in single.requests() {
        let body = serde_json::from_slice(&request.body).unwrap();
        let headers = headers(&request.headers);
        assert_valid(&headers_of_one, &headers);
        let is_notice = headers["ce-type"].as_str().unwrap().starts_with("io.");
        notices += u64::from(is_notice);
        assert_valid(
            if is_notice {
                &body_of_notice
            } else {
                &body_of_one
            },
            &body,
        );
    }
    assert!(notices > 0);
    for request in batch.requests() {
        assert_valid(&headers_of_batch, &headers(&request.headers));
        assert_valid(
            &body_of_batch,
            &serde_json::from_slice(&request.body).unwrap(),
        );
    }
}

fn headers(headers: &::http::HeaderMap) -> Value {
    let pairs = headers.iter().map(|(name, value)| {
        let value = Value::from(value.to_str().unwrap());
        (name.as_str().to_owned(), value)
    });
    pairs.collect::<Map<_, _>>().into()
}

/// The attributes are the same in every binding, but for what stands before their names.
#[test]
fn every_binding_has_the_same_attributes() {
    let documents = Documents::read();
    let messages = &documents.get("asyncapi.json")["components"]["messages"];
    let attributes = |message: &str, prefix: &str| -> BTreeSet<String> {
        let properties = messages[message]["headers"]["properties"]
            .as_object()
            .unwrap();
        let names = properties
            .keys()
            .filter_map(|name| name.strip_prefix(prefix));
        names.map(ToOwned::to_owned).collect()
    };
    let kafka = attributes("kafkaEvent", "ce_");
    assert_eq!(kafka.len(), 11);
    assert_eq!(attributes("natsEvent", "ce-"), kafka);
    assert_eq!(attributes("amqpEvent", "cloudEvents:"), kafka);
    assert_eq!(attributes("webhookEvent", "ce-"), kafka);
    let structured = documents.get("cloudevent.schema.json")["properties"]
        .as_object()
        .unwrap();
    let mut structured: BTreeSet<String> = structured.keys().cloned().collect();
    for own in ["data", "data_base64", "datacontenttype"] {
        assert!(structured.remove(own));
    }
    assert_eq!(structured, kafka);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_xml_are_texts() {
    let world = World::start_with("", "output_type = \"XML\"").await;
    let event = world.documents.validator("cloudevent.schema.json");
    let mut stream = world.stream("from=earliest").await;
    for _ in 0..EVENTS {
        let frame = next(&mut stream).await;
        assert_valid(&event, &frame);
        assert_eq!(frame["datacontenttype"], "application/xml");
        assert!(frame["data"].is_string());
    }
}

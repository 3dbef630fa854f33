//! What stands on the wire: headers that hostile values can't break, structured events, TLS and HTTP/2.

use http::Version;
use relay_tests::servers::receiver::Receiver;
use serde_json::Value;

use super::world::{SECRET, World, keys, write};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_stay_inside_their_header() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver.url("/hook"), &keys("")).await;
    world.emit("a\r\nx-injected: 1 \"é%😀", "");
    world.emit("tab\there\0", "");
    receiver.accepted(2).await;
    let requests = receiver.taken();
    let values: Vec<_> = requests
        .iter()
        .map(|request| request.header("ce-subject"))
        .collect();
    // CloudEvents forbids control characters: they are U+FFFD. Then the HTTP binding's percent-encoding.
    assert_eq!(
        values,
        [
            "a%EF%BF%BD%EF%BF%BDx-injected:%201%20%22%C3%A9%25%F0%9F%98%80",
            "tab%EF%BF%BDhere%EF%BF%BD",
        ]
    );
    for request in &requests {
        assert!(request.headers.get("x-injected").is_none());
        assert_eq!(
            request.header("ce-partitionkey"),
            request.header("ce-subject")
        );
        assert!(request.is_signed_by(SECRET));
    }
    world.state("running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_events_can_be_structured() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver.url("/hook"), &keys("format = \"structured\"")).await;
    world.emit("ada", "hello");
    receiver.accepted(1).await;
    let request = receiver.taken().pop().unwrap();
    let content_type = request.header("content-type");
    assert_eq!(content_type, "application/cloudevents+json; charset=UTF-8");
    let event: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["data"]["AgentStatusChange"]["note"], "hello");
    assert!(request.headers.get("ce-id").is_none());
    assert!(request.header("webhook-id").starts_with("evt_"));
    assert!(request.is_signed_by(SECRET));
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_speaks_http_2_with_own_headers() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start_tls(folder.path()).await;
    let token = write(folder.path(), "token", "Bearer hunter2hunter2\n");
    let ca = folder.path().join("cert.pem").display().to_string();
    let own = format!(
        "headers.authorization_file = {token:?}\nheaders.x-tenant = \"acme\"\ntls.ca_file = {ca:?}"
    );
    let world = World::start(&receiver.url("/hook?x=1"), &keys(&own)).await;
    world.emit_many(100, 20);
    receiver.accepted(100).await;
    for request in receiver.taken() {
        assert_eq!(request.version, Version::HTTP_2);
        assert_eq!(request.path, "/hook?x=1");
        assert_eq!(request.header("authorization"), "Bearer hunter2hunter2");
        assert_eq!(request.header("x-tenant"), "acme");
        assert!(request.header("user-agent").starts_with("sapi-relay/"));
        assert!(request.is_signed_by(SECRET));
    }
    let connections = receiver.counts().connections;
    assert!(connections <= 2, "{connections} connections");
    // A certificate that nobody vouches for.
    let stranger = Receiver::start_tls(tempfile::tempdir().unwrap().path()).await;
    let world = world.restart(&stranger.url("/hook"), &keys(&own)).await;
    world.emit("ada", "");
    let row = world.state("retrying").await;
    let error = &row["last_error"];
    assert!(
        error["text"].as_str().unwrap().contains("certificate"),
        "{error}"
    );
    assert!(
        error["remedy"].as_str().unwrap().contains("tls.ca_file"),
        "{error}"
    );
    assert_eq!(stranger.counts().requests, 0);
}

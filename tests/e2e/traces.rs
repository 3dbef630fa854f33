//! Traces of sampled events, as an OpenTelemetry collector is sent them.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use relay_tests::ledger::recorded;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, until};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};

const EVENTS: usize = 200;

async fn simulator() -> Simulator {
    let quiet = Config {
        rate: 0.0,
        wait_clients: 1,
        ..Config::default()
    };
    Simulator::start(quiet).await.unwrap()
}

/// A relay with a file sink that traces to a collector.
async fn start(
    simulator: &Simulator,
    collector: &Receiver,
    one_in: usize,
) -> (Relay, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = format!(
        "[traces]\nendpoint = {:?}\none_in = {one_in}\nheaders.authorization = \"Bearer hunter2\"\n\
         [sinks.archive]\ntype = \"file\"\npath = {:?}\nstart_from = \"earliest\"\n",
        collector.url("/v1/traces"),
        home.path().join("archive"),
    );
    let relay = Relay::start(&setup).await;
    let connected = simulator.wait_until(|simulator| simulator.connected() == 1);
    connected.await;
    (relay, home)
}

fn requests(collector: &Receiver) -> Vec<ExportTraceServiceRequest> {
    let requests = collector.requests().into_iter();
    let decode = |body| ExportTraceServiceRequest::decode(body).unwrap();
    requests.map(|request| decode(request.body)).collect()
}

fn spans(collector: &Receiver) -> Vec<Span> {
    let resources = requests(collector)
        .into_iter()
        .flat_map(|it| it.resource_spans);
    let scopes = resources.flat_map(|it| it.scope_spans);
    scopes.flat_map(|it| it.spans).collect()
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_every_event_is_told_to_a_collector() {
    let (simulator, collector) = (simulator().await, Receiver::start().await);
    let (relay, _home) = start(&simulator, &collector, 1).await;
    simulator.emit(EVENTS as u64);
    let ids: HashSet<String> = recorded(&relay, EVENTS)
        .await
        .into_iter()
        .map(|event| event.id)
        .collect();
    // Two for each: beside the events, the relay's own notices may be among them.
    let traced = async || {
        let spans = spans(&collector);
        let id = |span: &Span| text(&span.attributes, "cloudevents.event_id").to_owned();
        let of_events = spans.into_iter().filter(|span| ids.contains(&id(span)));
        let of_events: Vec<_> = of_events.collect();
        (of_events.len() == 2 * EVENTS).then_some(of_events)
    };
    let spans = until("two spans for each event", traced).await;
    let mut traces: HashMap<Vec<u8>, Vec<Span>> = HashMap::new();
    for span in spans {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    assert_eq!(traces.len(), EVENTS);
    for mut trace in traces.into_values() {
        trace.sort_by_key(|span| span.name.clone());
        let [commit, deliver] = &*trace else {
            panic!("{trace:?}");
        };
        assert_eq!((&*commit.name, &*deliver.name), ("commit", "deliver"));
        assert!(commit.parent_span_id.is_empty());
        assert_eq!(deliver.parent_span_id, commit.span_id);
        assert_eq!(text(&deliver.attributes, "sapi_relay.sink"), "archive");
        assert_eq!(text(&commit.attributes, "sapi.subscription"), "relay_a");
        let times = [
            commit.start_time_unix_nano,
            deliver.start_time_unix_nano,
            deliver.end_time_unix_nano,
        ];
        assert!(times.is_sorted(), "{times:?}");
        assert!(commit.start_time_unix_nano <= commit.end_time_unix_nano);
    }
    for request in collector.requests() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        assert_eq!(request.header("authorization"), "Bearer hunter2");
        assert!(!request.holds("agentId"), "events stay where they are");
    }
    let resource = requests(&collector).swap_remove(0).resource_spans;
    let resource = resource[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), "sapi-relay");
    let sent = relay.metric("sapi_relay_trace_spans_total{result=\"sent\"}");
    assert!(sent.await.unwrap() >= 2.0 * EVENTS as f64);
    assert!(!relay.log().contains("hunter2"));
    // What waits when it stops is sent as well.
    simulator.emit(1);
    recorded(&relay, EVENTS + 1).await;
    let before = self::spans(&collector).len();
    assert!(relay.terminate().await.success());
    assert!(self::spans(&collector).len() >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_the_same_events_at_every_step() {
    let (simulator, collector) = (simulator().await, Receiver::start().await);
    let (relay, _home) = start(&simulator, &collector, 4).await;
    simulator.emit(4 * EVENTS as u64);
    recorded(&relay, 4 * EVENTS).await;
    let settled = |status: &serde_json::Value| {
        let sinks = status["sinks"].as_array().unwrap().iter();
        sinks.filter(|sink| sink["lag_events"] != 0).count() == 0
    };
    relay.status_where("everything is delivered", settled).await;
    assert!(relay.terminate().await.success());
    let spans = spans(&collector);
    let of = |name: &str| -> HashSet<Vec<u8>> {
        let spans = spans.iter().filter(|span| span.name == name);
        spans.map(|span| span.trace_id.clone()).collect()
    };
    let (committed, delivered) = (of("commit"), of("deliver"));
    assert!(
        (EVENTS / 2..EVENTS * 2).contains(&committed.len()),
        "{}",
        committed.len()
    );
    assert_eq!(delivered, committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_holds_nothing_up() {
    let (simulator, collector) = (simulator().await, Receiver::start().await);
    collector.answers_all(Answer::status(503));
    let (relay, _home) = start(&simulator, &collector, 1).await;
    for round in 1..=3 {
        simulator.emit(EVENTS as u64);
        recorded(&relay, round * EVENTS).await;
        collector.asked(round).await;
    }
    let failed = || async {
        let failed = relay.metric("sapi_relay_trace_spans_total{result=\"failed\"}");
        failed.await.filter(|count| *count > 0.0)
    };
    until("failures are counted", failed).await;
    let log = relay.log();
    let said = log.matches("traces could not be sent").count();
    assert!((1..=2).contains(&said), "{log}");
    assert!(relay.terminate().await.success());
}

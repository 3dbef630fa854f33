//! The forms against CloudEvents 1.0.2 and its HTTP binding, with events out of a real journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use relay_journal::{Log, LogOptions};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

const ARRIVAL: u64 = 1_764_000_000_123;

fn head<'a>() -> Head<'a> {
    Head {
        format: Format::Json,
        id_hash: 1,
        content_hash: 2,
        sequence: Some(4_294_967_297),
        timestamp: Some(ARRIVAL - 1_000),
        id: "acme:inst:7:9",
        subscription: "relay_a",
        class: "Interaction",
        event_type: "InteractionCreated",
        key: "int-17-phone",
        media: "phone",
        instance: "inst",
    }
}

fn event(kind: Kind, head: &Head<'_>, payload: &[u8]) -> Event {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        segment_age: Duration::from_hours(1),
        identity: "acme".to_owned(),
        reserve_bytes: 0,
    };
    let (mut writer, _, _) = Log::open(dir.path(), options).unwrap();
    let (mut group, mut bytes) = (writer.begin(), Vec::new());
    head.encode(&mut bytes);
    group.push(kind as u8, ARRIVAL, &bytes, payload);
    let record = writer.commit(group).unwrap().records.remove(0);
    Event::read(record, &Arc::default()).unwrap()
}

fn source() -> Source {
    Source::new("acme", "00000000000000ff".parse().unwrap())
}

fn json(event: &Event) -> (Value, String) {
    let mut out = Vec::new();
    structured(event, &source(), &mut out);
    let text = String::from_utf8(out).unwrap();
    (serde_json::from_str(&text).unwrap(), text)
}

#[test]
fn every_attribute_stands_where_the_contract_says() {
    let (value, _) = json(&event(Kind::Event, &head(), br#"{"a":1}"#));
    let wanted = serde_json::json!({
        "specversion": "1.0",
        "id": "acme:inst:7:9",
        "source": "urn:8x8:cc:acme",
        "type": "com.8x8.cc.Interaction.InteractionCreated",
        "subject": "int-17-phone",
        "time": "2025-11-24T15:59:59.123Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000001",
        "sapisequence": "4294967297",
        "sapiinstance": "inst",
        "partitionkey": "int-17-phone",
        "relaycursor": "00000000000000ff.1",
        "data": {"a": 1},
    });
    assert_eq!(value, wanted);
}

#[test]
fn a_class_that_is_its_own_type_stands_once_and_what_is_absent_is_left_out() {
    let bare = Head {
        class: "AgentStatusChange",
        event_type: "AgentStatusChange",
        key: "",
        instance: "",
        sequence: None,
        timestamp: None,
        ..head()
    };
    let (value, _) = json(&event(Kind::Event, &bare, b"{}"));
    assert_eq!(value["type"], "com.8x8.cc.AgentStatusChange");
    assert_eq!(value["time"], "2025-11-24T16:00:00.123Z", "arrival");
    for absent in ["subject", "partitionkey", "sapisequence", "sapiinstance"] {
        assert_eq!(value.get(absent), None, "{absent}");
    }
}

#[test]
fn a_notice_has_a_type_of_its_own() {
    let notice = Head {
        class: "notice",
        event_type: "certain_loss",
        id: "notice:00000000000000ff.1",
        ..head()
    };
    let (value, _) = json(&event(Kind::Notice, &notice, br#"{"kind":"certain_loss"}"#));
    assert_eq!(value["type"], "io.sapi-relay.notice.certain_loss");
    assert_eq!(value["id"], "notice:00000000000000ff.1");
}

#[test]
fn an_absurd_time_gives_way_to_arrival() {
    let day = 24 * 60 * 60 * 1000;
    for (timestamp, sane) in [
        (ARRIVAL - 7 * day, true),
        (ARRIVAL - 7 * day - 1, false),
        (ARRIVAL + day, true),
        (ARRIVAL + day + 1, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let event = event(
            Kind::Event,
            &Head {
                timestamp: Some(timestamp),
                ..head()
            },
            b"{}",
        );
        let time = Attributes::of(&event, &source()).time_ms();
        assert_eq!(time, if sane { timestamp } else { ARRIVAL }, "{timestamp}");
    }
}

#[test]
fn line_breaks_between_tokens_go_and_nothing_else_does() {
    let document = "{\r\n  \"a\" : [ 1.0,\n\t2e5 ],\r\"b\\n\": \"x\\r\\n\\u00e9  \",\n \"big\":12345678901234567890123 }";
    let (_, text) = json(&event(Kind::Event, &head(), document.as_bytes()));
    let wanted = "\"data\":{  \"a\" : [ 1.0,\t2e5 ],\"b\\n\": \"x\\r\\n\\u00e9  \", \"big\":12345678901234567890123 }}";
    assert!(text.ends_with(wanted), "{text}");
    assert!(!text.contains(['\n', '\r']));
}

#[test]
fn xml_is_a_string_and_what_is_no_text_is_base64() {
    let xml = Head {
        format: Format::Xml,
        ..head()
    };
    let document = "<a b=\"1\">\r\n\tä\u{1}\\</a>";
    let (value, text) = json(&event(Kind::Event, &xml, document.as_bytes()));
    assert_eq!(value["data"], document);
    assert_eq!(value["datacontenttype"], "application/xml");
    assert!(!text.contains(['\n', '\r']));
    let (value, _) = json(&event(Kind::Event, &xml, b"<a>\xe4\xf6</a>"));
    assert_eq!(value["data_base64"], "PGE+5PY8L2E+");
    assert_eq!(value.get("data"), None);
}

#[test]
fn header_values_are_encoded_as_each_binding_says() {
    // The example of the HTTP binding, section 3.1.3.2.
    let euro = Head {
        key: "Euro € 😀",
        id: "100% \"sure\"",
        ..head()
    };
    let event = event(Kind::Event, &euro, b"{}");
    let source = source();
    let attributes = Attributes::of(&event, &source);
    let headers = |binding| attributes.headers(binding).collect::<HashMap<_, _>>();
    let http = headers(Binding::Http);
    assert_eq!(http["ce-subject"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(http["ce-id"], "100%25%20%22sure%22");
    assert_eq!(http["ce-specversion"], "1.0");
    assert_eq!(http["ce-sequence"], "00000000000000000001");
    assert_eq!(headers(Binding::Nats), http);
    let kafka = headers(Binding::Kafka);
    assert_eq!(
        (&*kafka["ce_subject"], &*kafka["ce_partitionkey"]),
        ("Euro € 😀", "Euro € 😀")
    );
    assert_eq!(
        headers(Binding::Amqp)["cloudEvents:type"],
        "com.8x8.cc.Interaction.InteractionCreated"
    );
    assert!(http.keys().all(|name| !name.contains("datacontenttype")));
    assert_eq!(http.len(), 11);
}

#[test]
fn control_characters_never_reach_an_attribute_and_ids_stay_apart() {
    let hostile = |id| Head {
        id,
        key: "a\r\nb\u{7f}\u{85}\u{fffe}",
        class: "C\n",
        event_type: "T\0",
        ..head()
    };
    let one = event(Kind::Event, &hostile("x\n"), b"{}");
    let two = event(Kind::Event, &hostile("x\r"), b"{}");
    let source = source();
    let (one, two) = (Attributes::of(&one, &source), Attributes::of(&two, &source));
    assert_eq!((&*one.id(), &*two.id()), ("x%0A", "x%0D"));
    assert_eq!(one.event_type(), "com.8x8.cc.C\u{fffd}.T\u{fffd}");
    let forbidden = |value: &str| value.chars().any(|c| c.is_control() || c == '\u{fffe}');
    for binding in [Binding::Http, Binding::Nats, Binding::Kafka, Binding::Amqp] {
        assert!(one.headers(binding).all(|(_, value)| !forbidden(&value)));
    }
}

#[test]
fn a_server_sent_event_has_one_line_each() {
    let hostile = Head {
        event_type: "T\ndata: forged\r\n\r\n",
        ..head()
    };
    let event = event(Kind::Event, &hostile, b"{\n\"a\":\r\n1}");
    let (mut data, mut out) = (Vec::new(), Vec::new());
    structured(&event, &source(), &mut data);
    sse(&event, &source(), &data, &mut out);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.split(['\n', '\r']).collect();
    assert_eq!(lines.len(), 5, "{text:?}");
    assert_eq!(lines[0], "id: 00000000000000ff.1");
    assert!(lines[1].starts_with("event: T\u{fffd}data: forged"));
    assert_eq!(
        lines[2].strip_prefix("data: ").map(str::as_bytes),
        Some(&*data)
    );
    assert_eq!(&lines[3..], ["", ""]);
    let mut beat = Vec::new();
    sse_heartbeat(&source().cursor(Offset(7)), &mut beat);
    assert_eq!(beat, b"id: 00000000000000ff.7\n\n");
}

#[test]
fn a_tenant_that_is_no_uri_is_encoded() {
    let source = Source::new("acme corp/ü", "00000000000000ff".parse().unwrap());
    assert_eq!(source.uri(), "urn:8x8:cc:acme%20corp%2F%C3%BC");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_spliced_in_is_the_document(document in any_json(), crlf: bool, texts in prop::array::uniform4(".{0,20}")) {
        let mut pretty = serde_json::to_string_pretty(&document).unwrap();
        if crlf {
            pretty = pretty.replace('\n', "\r\n");
        }
        let [id, key, class, instance] = &texts;
        let head = Head { id, class, key, instance, ..head() };
        let event = event(Kind::Event, &head, pretty.as_bytes());
        let (value, text) = json(&event);
        prop_assert_eq!(&value["data"], &document);
        let members: HashMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
        let one_line = pretty.replace(['\r', '\n'], "");
        prop_assert_eq!(members["data"].get(), one_line.trim());
        prop_assert!(!text.contains(['\n', '\r']));
    }
}

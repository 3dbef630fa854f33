use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::samples;

fn to_xml(json: &str) -> String {
    String::from_utf8(json_to_xml(json.as_bytes()).unwrap()).unwrap()
}

fn to_json(xml: &str) -> String {
    String::from_utf8(xml_to_json(xml.as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_samples_come_back_as_they_were() {
    for sample in samples::ALL {
        let there: Value = serde_json::from_str(sample).unwrap();
        let back: Value = serde_json::from_str(&to_json(&to_xml(sample))).unwrap();
        assert_eq!(back, there);
    }
}

#[test]
fn the_shape_is_the_documented_one() {
    let json = r#"{"Interaction":{"attachedData":{"attachedDatum":[{"attachedDataKey":"@pri","attachedDataValue":100},{"attachedDataKey":"a&b","attachedDataValue":""}]},"isQueued":false,"none":null}}"#;
    assert_eq!(
        to_xml(json),
        "<Interaction><attachedData><attachedDatum><attachedDataKey>@pri</attachedDataKey><attachedDataValue>100</attachedDataValue></attachedDatum>\
         <attachedDatum><attachedDataKey>a&amp;b</attachedDataKey><attachedDataValue/></attachedDatum></attachedData><isQueued>false</isQueued><none/></Interaction>"
    );
    assert_eq!(to_json(&to_xml(json)), json.replace("null", "\"\""));
}

#[test]
fn text_is_typed_by_how_it_reads() {
    let cases = [
        ("100", "100"),
        ("-7", "-7"),
        ("0", "0"),
        ("0.50", "0.50"),
        ("1669235836708123456789", "1669235836708123456789"),
        ("true", "true"),
        ("false", "false"),
        ("0123", "\"0123\""),
        ("+15515557212", "\"+15515557212\""),
        ("1e5", "\"1e5\""),
        ("-0", "\"-0\""),
        ("-", "\"-\""),
        ("1.", "\"1.\""),
        (".5", "\".5\""),
        ("True", "\"True\""),
        ("null", "\"null\""),
        ("", "\"\""),
        (" 1", "\" 1\""),
        ("1 ", "\"1 \""),
    ];
    for (text, json) in cases {
        assert_eq!(
            to_json(&format!("<A><b>{text}</b></A>")),
            format!("{{\"A\":{{\"b\":{json}}}}}")
        );
    }
}

#[test]
fn elements_make_members_and_lists() {
    let cases = [
        (
            "<A><b>1</b><c>x</c><b>2</b></A>",
            r#"{"A":{"b":[1,2],"c":"x"}}"#,
        ),
        (
            "<A><attachedDatum><k>a</k></attachedDatum></A>",
            r#"{"A":{"attachedDatum":[{"k":"a"}]}}"#,
        ),
        (
            "<?xml version='1.0'?>\n<A>\n  <b>1</b>\n</A>\n",
            r#"{"A":{"b":1}}"#,
        ),
        (
            "<A x='1' y=\"a&quot;b\">t</A>",
            r#"{"A":{"x":1,"y":"a\"b","content":"t"}}"#,
        ),
        (
            "<A><b/>text<!-- no --><![CDATA[<&]]></A>",
            r#"{"A":{"b":"","content":"text<&"}}"#,
        ),
        ("<A/>", r#"{"A":""}"#),
        ("<_/>", "{}"),
    ];
    for (xml, json) in cases {
        assert_eq!(to_json(xml), json, "{xml}");
    }
}

#[test]
fn roots_without_one_key_come_back() {
    for json in [
        r#"[{"Interaction":{"a":1}},{"Interaction":{"a":2}}]"#,
        r#"{"A":1,"B":2}"#,
        r#"{"A":[1,2]}"#,
        r#"{"_":{"_":1}}"#,
        r#"{"A":{"b":[[1,2],[3,4]]}}"#,
        "{}",
    ] {
        assert_eq!(to_json(&to_xml(json)), json, "{}", to_xml(json));
    }
    assert_eq!(to_json(&to_xml("[]")), "{}");
}

#[test]
fn what_xml_cannot_hold_is_replaced() {
    assert_eq!(
        to_json(&to_xml(r#"{"A":"a\u0000b\ud800\r\n"}"#)),
        "{\"A\":\"a\u{fffd}b\u{fffd}\\r\\n\"}"
    );
}

#[test]
fn what_is_no_document_is_refused() {
    for bytes in [
        &b""[..],
        b"17",
        b"{",
        b"{\"a\":1} x",
        b"{\"a\":\"\xff\"}",
        b"<A/>",
    ] {
        assert_eq!(json_to_xml(bytes), Err(ConvertError::InvalidJson));
    }
    for bytes in [&b""[..], b"{}", b"<A>", b"<A></B>", b"<A>\xff</A>"] {
        assert_eq!(xml_to_json(bytes), Err(ConvertError::InvalidXml));
    }
}

/// What a value becomes on its way through XML, by the documented mapping.
fn through_xml(value: &Value) -> Value {
    match value {
        Value::Null => "".into(),
        Value::String(text) if text == "true" || text == "false" => {
            serde_json::from_str(text).unwrap()
        }
        Value::Object(map) if map.is_empty() => "".into(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), member(value)))
            .collect(),
        Value::Array(items) if items.is_empty() => "".into(),
        Value::Array(items) => items.iter().map(through_xml).collect(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn member(value: &Value) -> Value {
    let only = value
        .as_array()
        .filter(|items| items.len() == 1)
        .and_then(|items| items.first());
    through_xml(only.unwrap_or(value))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        "[a-zé<&>\"'\n\r 😀]{0,8}x".prop_map(Value::from),
        "\\+[0-9]{3}|0[0-9]{3}|true|".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_@x1 ]{0,4}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back_as_the_mapping_says(class in "[A-Z@_x]{1,3}", value in value()) {
        let json = serde_json::json!({ class: value });
        let xml = to_xml(&json.to_string());
        let document = crate::Document::parse(xml.clone().into()).unwrap();
        prop_assert_eq!(document.format(), crate::Format::Xml);
        let back: Value = serde_json::from_str(&to_json(&xml)).unwrap();
        prop_assert_eq!(back, through_xml(&json), "{}", xml);
    }

    #[test]
    fn xml_converts_to_json_that_parses(xml in samples::xml_document()) {
        serde_json::from_str::<Value>(&to_json(&xml)).unwrap();
    }
}

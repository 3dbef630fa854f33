use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::samples;

fn parse(text: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn reason(bytes: &[u8]) -> MalformedReason {
    Document::parse(Bytes::copy_from_slice(bytes))
        .unwrap_err()
        .reason
}

fn hash(text: &str) -> u128 {
    parse(text).content_hash()
}

/// Class, type, key, media and sequence of each of the vendor's samples.
const SAMPLES: [(&str, &str, &str, &str, u64); 6] = [
    ("ClientCheck", "ClientCheck", "ClientCheck", "", 70),
    (
        "AgentStatusChange",
        "AgentStatusChange",
        "ag64oyEUb_Sk6bxVB9P5yaaa",
        "",
        215,
    ),
    (
        "AgentProvChange",
        "AgentSkillChanged",
        "ag64oyEUb_Sk6bxVB9P5yaaa",
        "",
        219,
    ),
    (
        "Interaction",
        "InteractionCreated",
        "int-184a63564dc-ohWfVIbHJz2Hr2JFhAfdlb4Fa-phone-00-acmecorp01",
        "phone",
        224,
    ),
    (
        "Interaction",
        "InteractionQueued",
        "int-184a63564dc-ohWfVIbHJz2Hr2JFhAfdlb4Fa-phone-00-acmecorp01",
        "phone",
        225,
    ),
    (
        "Interaction",
        "InteractionDeleted",
        "int-184a645e074-zGIsMxOkCYzQ8yg68e3t61i7A-phone-00-acmecorp01",
        "phone",
        251,
    ),
];

#[test]
fn the_samples_read_as_documented_in_both_formats() {
    for (sample, (class, kind, key, media, sequence)) in samples::ALL.iter().zip(SAMPLES) {
        let xml = crate::xml::json_to_xml(sample.as_bytes()).unwrap();
        for text in [
            *sample,
            &samples::compact(sample),
            std::str::from_utf8(&xml).unwrap(),
        ] {
            let document = parse(text);
            assert_eq!(document.bytes(), text.trim());
            assert_eq!(document.class(), class);
            assert_eq!(document.event_type(), kind);
            assert_eq!(document.key(), key);
            assert_eq!(document.media(), media);
            let info = document.msg_info();
            assert_eq!(
                info.instance.as_deref(),
                Some("us1tomcat04.us1.whitepj.net-sapi-v1")
            );
            assert_eq!(info.sequence, Some(sequence));
            assert!(info.timestamp.is_some_and(|at| at / 100_000_000 == 16692));
            assert_eq!(document.is_heartbeat(), class == "ClientCheck");
            agree(&document);
        }
    }
}

/// What is looked up at once is what is looked up one by one.
fn agree(document: &Document) {
    let labels = document.labels();
    assert_eq!(labels.class, document.class());
    assert_eq!(labels.event_type, document.event_type());
    assert_eq!(labels.key, document.key());
    assert_eq!(labels.media, document.media());
    assert_eq!(labels.is_heartbeat(), document.is_heartbeat());
    assert_eq!(labels.is_heartbeat(), document.class() == "ClientCheck");
}

#[test]
fn labels_are_what_is_looked_up_one_by_one_whatever_is_missing_or_escaped() {
    for text in [
        "{}",
        r#"{"Clie\u006etCheck":{}}"#,
        r#"{"Interaction":{"event":"","agentId":7,"mediaType":"chat"}}"#,
        r#"{"Interaction":{"event":"E\u00e9","interactionGUID":"int-1a-b-pho\u006ee-00-t","mediaType":"x"}}"#,
        r#"{"Other":{"event":"E","interactionGUID":"no guid","mediaType":"x"}}"#,
        "<ClientCheck/>",
        "<Interaction><event>E&amp;</event><agentId>a</agentId></Interaction>",
    ] {
        agree(&parse(text));
    }
}

#[test]
fn digits_are_numbers_only_in_plain_decimal() {
    let most = u64::MAX.to_string();
    for (text, number) in [
        ("7", Some(7)),
        ("\"7\"", Some(7)),
        ("0", Some(0)),
        (&most, Some(u64::MAX)),
        ("9999999999999999999", Some(9_999_999_999_999_999_999)),
        ("99999999999999999999", None),
        ("\"07\"", None),
        ("\"\\u0037\"", Some(7)),
        ("\"7 \"", None),
        ("\"\"", None),
        ("-7", None),
        ("7.0", None),
    ] {
        let document = parse(&format!(r#"{{"A":{{"msgInfo":{{"sequenceId":{text}}}}}}}"#));
        assert_eq!(document.msg_info().sequence, number, "{text}");
    }
}

/// These hashes lie on disk: if this test fails, the change is wrong, not the test.
#[test]
fn content_hashes_stay_what_they_are() {
    let hashes: Vec<String> = samples::ALL
        .iter()
        .map(|text| format!("{:032x}", hash(text)))
        .collect();
    let golden = include_str!("../../testdata/content_hashes.txt");
    let xml = format!("{:032x}", hash("<A b='1'><c>&lt;x</c><d/><msgInfo/></A>"));
    let list = format!("{:032x}", hash(r#"{"A":[1,"1",true,null,{},[],-0.5e1]}"#));
    let all = hashes
        .into_iter()
        .chain([xml, list])
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(all, golden.trim_end());
}

#[test]
fn a_document_without_a_class_has_one_all_the_same() {
    for text in ["[]", "{}", "[{\"Interaction\":{}}]", "{\"\":1}"] {
        let document = parse(text);
        assert_eq!(document.class(), "_");
        assert_eq!(
            (document.event_type(), document.key(), document.media()),
            ("_".into(), "_".into(), "".into())
        );
    }
}

#[test]
fn the_inner_event_is_the_type_of_two_classes_only() {
    assert_eq!(parse(r#"{"Interaction":{"event":"A"}}"#).event_type(), "A");
    assert_eq!(
        parse(r#"{"AgentProvChange":{"event":17}}"#).event_type(),
        "17"
    );
    assert_eq!(
        parse(r#"{"Interaction":{"event":""}}"#).event_type(),
        "Interaction"
    );
    assert_eq!(
        parse(r#"{"Interaction":{"event":null}}"#).event_type(),
        "Interaction"
    );
    assert_eq!(
        parse(r#"{"Interaction":{"x":{"event":"A"}}}"#).event_type(),
        "Interaction"
    );
    assert_eq!(
        parse(r#"{"AgentStatusChange":{"event":"A"}}"#).event_type(),
        "AgentStatusChange"
    );
    assert_eq!(parse(r#"{"Other":{},"event":"A"}"#).event_type(), "Other");
}

#[test]
fn the_key_is_guid_then_agent_then_type_verbatim() {
    assert_eq!(
        parse(r#"{"A":{"agentId":"b","interactionGUID":"a"}}"#).key(),
        "a"
    );
    assert_eq!(
        parse(r#"{"A":{"agentId":0.10,"interactionGUID":""}}"#).key(),
        "0.10"
    );
    assert_eq!(
        parse(r#"{"A":{"agentId":12345678901234567890123}}"#).key(),
        "12345678901234567890123"
    );
    assert_eq!(
        parse(r#"{"A":{"agentId":{"a":1},"interactionGUID":[1]}}"#).key(),
        "A"
    );
    assert_eq!(parse(r#"{"A":{"agent\u0049d":"\u00e9\n"}}"#).key(), "é\n");
    assert_eq!(
        parse("<A><agentId>a&amp;<![CDATA[<b>]]></agentId></A>").key(),
        "a&<b>"
    );
}

#[test]
fn media_comes_from_the_guid_first() {
    let media = |guid: &str| {
        parse(&format!(
            r#"{{"I":{{"interactionGUID":"{guid}","mediaType":"email"}}}}"#
        ))
        .media()
        .into_owned()
    };
    assert_eq!(media("int-184a63564dc-ohWf-chat-00-acmecorp01"), "chat");
    assert_eq!(media("int-184a63564dc-oh-Wf-x-sms-07-acme-corp-01"), "sms");
    assert_eq!(media("int-zz-ohWf-chat-00-acmecorp01"), "email");
    assert_eq!(media("int-184a63564dc-ohWf-chat-00"), "email");
    assert_eq!(media("something"), "email");
    assert_eq!(parse(r#"{"I":{"mediaType":"phone"}}"#).media(), "phone");
}

#[test]
fn msg_info_takes_plain_decimals_only() {
    let info = |inside: &str| {
        let text = format!(r#"{{"A":{{"msgInfo":{{{inside}}}}}}}"#);
        let document = parse(&text);
        let info = document.msg_info();
        (
            info.instance.map(Cow::into_owned),
            info.sequence,
            info.timestamp,
        )
    };
    let full = (Some("i".to_owned()), Some(7), Some(u64::MAX));
    assert_eq!(
        info(r#""instanceId":"i","sequenceId":7,"timestamp":18446744073709551615"#),
        full
    );
    assert_eq!(
        info(r#""instanceId":"i","sequenceId":"7","timestamp":"18446744073709551615""#),
        full
    );
    for number in [
        "-1",
        "1.0",
        "1e3",
        "18446744073709551616",
        "\"07\"",
        "\"\"",
        "\" 7\"",
        "\"+7\"",
        "null",
        "[7]",
        "true",
    ] {
        assert_eq!(
            info(&format!(r#""sequenceId":{number}"#)).1,
            None,
            "{number}"
        );
    }
    assert_eq!(info(r#""instanceId":"""#).0, None);
    assert_eq!(info(r#""instanceId":12"#).0.as_deref(), Some("12"));
    assert_eq!(info("").0, None);
    assert_eq!(info(r#""sequenceId":0"#).1, Some(0));
}

#[test]
fn what_is_given_twice_in_msg_info_is_not_known() {
    let document = parse(
        r#"{"A":{"msgInfo":{"instanceId":"i","sequenceId":1,"sequenceId":2,"sequenceId":1,"timestamp":3}}}"#,
    );
    assert_eq!(document.msg_info().sequence, None);
    // A second msgInfo is content.
    let twice = |second: u32| {
        format!(r#"{{"A":{{"msgInfo":{{"sequenceId":1}},"msgInfo":{{"sequenceId":{second}}}}}}}"#)
    };
    assert_eq!(parse(&twice(2)).msg_info().sequence, Some(1));
    assert_ne!(hash(&twice(2)), hash(&twice(3)));
}

#[test]
fn msg_info_counts_only_inside_the_class() {
    assert_eq!(
        parse(r#"{"A":{"x":{"msgInfo":{"sequenceId":1}}}}"#)
            .msg_info()
            .sequence,
        None
    );
    assert_eq!(
        parse(r#"{"A":{},"msgInfo":{"sequenceId":1}}"#)
            .msg_info()
            .sequence,
        None
    );
    assert_eq!(
        parse(r#"[{"msgInfo":{"sequenceId":1}}]"#)
            .msg_info()
            .sequence,
        None
    );
    assert_ne!(
        hash(r#"{"A":{"x":{"msgInfo":1}}}"#),
        hash(r#"{"A":{"x":{"msgInfo":2}}}"#)
    );
}

#[test]
fn the_content_hash_leaves_msg_info_out() {
    let json = |info: &str| format!(r#"{{"A":{{"a":1{info}}}}}"#);
    assert_eq!(
        hash(&json("")),
        hash(&json(r#","msgInfo":{"sequenceId":1}"#))
    );
    assert_eq!(hash(&json("")), hash(&json(r#","msg\u0049nfo":"x""#)));
    let xml = |info: &str| format!("<A><a>1</a>{info}</A>");
    assert_eq!(
        hash(&xml("")),
        hash(&xml("<msgInfo><sequenceId>1</sequenceId></msgInfo>"))
    );
    assert_ne!(hash(&xml("")), hash(&xml("<x><msgInfo/></x>")));
}

#[test]
fn the_content_hash_is_structural() {
    let same = [
        (
            r#"{"A":{"a":1,"b":[1,2]}}"#,
            " {\"A\" :\n{ \"b\":[1 ,2],\t\"a\":1 } } ",
        ),
        (
            r#"{"A":{"a":"é/\n"}}"#,
            r#"{"\u0041":{"a":"\u00E9\/\u000a"}}"#,
        ),
        (r#"{"A":{"a":1,"a":2}}"#, r#"{"A":{"a":2,"a":1}}"#),
        (
            "<A><a>1</a><b/></A>",
            "<A>\n <a >1</a>\n <!-- x --><b></b><?p?>\n</A >",
        ),
        (
            "<A b='1' c='2'>&lt;é</A>",
            "<A c=\"2\"\n b = \"1\">&#60;<![CDATA[é]]></A>",
        ),
    ];
    for (one, other) in same {
        assert_eq!(hash(one), hash(other), "{one} {other}");
    }
    let all = [
        r#"{"A":{}}"#,
        r#"{"A":[]}"#,
        r#"{"A":null}"#,
        r#"{"A":""}"#,
        r#"{"A":0}"#,
        r#"{"A":"0"}"#,
        r#"{"A":0.0}"#,
        r#"{"A":-0}"#,
        r#"{"A":[0]}"#,
        r#"{"A":[[0]]}"#,
        r#"{"A":[0,1]}"#,
        r#"{"A":[1,0]}"#,
        r#"{"A":true}"#,
        r#"{"A":"true"}"#,
        r#"{"A":{"a":1}}"#,
        r#"{"A":{"a":1,"a":1}}"#,
        r#"{"A":{"a":1,"a":1,"a":1}}"#,
        r#"{"A":{"a":{"b":1}}}"#,
        r#"{"A":{"a":1},"b":1}"#,
        r#"{"B":{"a":1}}"#,
        r#"{"A":"\ud800"}"#,
        r#"{"A":"\ud801"}"#,
        r#"{"A":"\ufffd"}"#,
        r#"{"A":9007199254740993}"#,
        r#"{"A":9007199254740992}"#,
        "<A/>",
        "<B/>",
        "<A a='1'/>",
        "<A><a>1</a></A>",
        "<A>1</A>",
        "<A><a/>1</A>",
        "<A>1<a/></A>",
        "<A><a/><a/></A>",
        "<A> </A>",
        "<A><a/><b/></A>",
        "<A><b/><a/></A>",
        "<A>&nbsp;</A>",
        "<A>&amp;nbsp;</A>",
        "<A><a><b/></a></A>",
    ];
    let distinct: std::collections::HashSet<u128> = all.iter().map(|text| hash(text)).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn what_stands_around_a_document_is_left_out() {
    let around = "\u{feff}\r\n<?xml version=\"1.0\" encoding='UTF-8'?>\n<!-- > -->\t";
    assert_eq!(
        parse(&format!("{around}<A>x</A>\n<!-- y -->\n")).bytes(),
        "<A>x</A>"
    );
    assert_eq!(parse("\u{feff} {\"A\":1}\r\n").bytes(), "{\"A\":1}");
}

#[test]
fn what_is_no_document_says_why() {
    use MalformedReason::{InvalidJson, InvalidUtf8, InvalidXml, NotADocument, Truncated};
    let cases: [(&[u8], MalformedReason); 32] = [
        (b"", NotADocument),
        (b" \n", NotADocument),
        (b"17", NotADocument),
        (b"hello", NotADocument),
        (b"\"a\"", NotADocument),
        (b"{", Truncated),
        (b"{\"a\":tru", Truncated),
        (b"{\"a\":-", Truncated),
        (b"[1", Truncated),
        (b"<A>", Truncated),
        (b"<!-- ", Truncated),
        (b"{]", InvalidJson),
        (b"{\"a\"}", InvalidJson),
        (b"{\"a\":}", InvalidJson),
        (b"[1,]", InvalidJson),
        (b"{\"a\":01}", InvalidJson),
        (b"{'a':1}", InvalidJson),
        (b"{\"a\":\"\n\"}", InvalidJson),
        (b"[\"\\x\"]", InvalidJson),
        (b"[\"\\u00g0\"]", InvalidJson),
        (b"[1.]", InvalidJson),
        (b"[1e]", InvalidJson),
        (b"[+1]", InvalidJson),
        (b"[nul ]", InvalidJson),
        (b"{} {}", InvalidJson),
        (b"{\"a\":1,}", InvalidJson),
        (b"<A></B>", InvalidXml),
        (b"<A/><B/>", InvalidXml),
        (b"<A b=1/>", InvalidXml),
        (b"<A b='<'/>", InvalidXml),
        (b"<A><?xml version='1.0'?></A>", InvalidXml),
        (b"{\"a\":\"\xff\"}", InvalidUtf8),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            reason(bytes),
            expected,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_depth_of_128_is_as_deep_as_it_goes() {
    let json = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let xml = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert_eq!(parse(&json(128)).bytes().len(), 256);
    assert_eq!(reason(json(129).as_bytes()), MalformedReason::InvalidJson);
    assert_eq!(parse(&xml(128)).class(), "a");
    assert_eq!(reason(xml(129).as_bytes()), MalformedReason::InvalidXml);
}

fn shuffled(value: &Value, rng: &mut impl FnMut() -> usize) -> String {
    match value {
        Value::Object(map) => {
            let mut members: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("\"{}\" :{}", escaped(key), shuffled(value, rng)))
                .collect();
            if !members.is_empty() {
                let by = rng() % members.len();
                members.rotate_left(by);
            }
            format!("{{ {} }}", members.join("\n,"))
        }
        Value::Array(items) => {
            format!(
                "[{}]",
                items
                    .iter()
                    .map(|item| shuffled(item, rng))
                    .collect::<Vec<_>>()
                    .join(" ,\t")
            )
        }
        Value::String(text) => format!("\"{}\"", escaped(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn escaped(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| format!("\\u{unit:04X}"))
        .collect::<Vec<_>>()
        .concat()
}

proptest! {
    #[test]
    fn the_grammar_is_serde_jsons(text in samples::json_value(), cut in any::<prop::sample::Index>(), byte in prop::sample::select(b" {}[],:\"\\0a-".to_vec())) {
        let mut bytes = format!("[{text}]").into_bytes();
        let at = cut.index(bytes.len());
        prop_assert!(Document::parse(bytes.clone().into()).is_ok());
        bytes[at] = byte;
        let theirs = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&bytes).is_ok();
        // A broken root can be another kind of value, which is none of ours.
        let ours = Document::parse(bytes.clone().into()).is_ok();
        prop_assert_eq!(ours, theirs && (bytes[0] == b'[' || bytes[0] == b'{' || bytes[0] == b' ') && !bytes.trim_ascii().starts_with(b"\"") && bytes.trim_ascii().first().is_some_and(|b| b"[{".contains(b)), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn order_blanks_and_escapes_do_not_change_the_hash(text in "[a-zé]{0,3}", inner in proptest::collection::btree_map("[a-zé\"]{1,4}", samples::json_value(), 0..5), turn in any::<usize>()) {
        let members: Vec<String> = inner.iter().map(|(key, value)| format!("{}:{value}", serde_json::to_string(key).unwrap())).collect();
        let document = format!("{{\"A{text}\":{{{}}}}}", members.join(","));
        // Repeated keys and the digits of numbers end here: what is left is compared.
        let value: Value = serde_json::from_str(&document).unwrap();
        let document = value.to_string();
        let mut at = turn;
        let other = shuffled(&value, &mut || { at = at.wrapping_mul(31).wrapping_add(7); at });
        prop_assert_eq!(hash(&other), hash(&document));
    }

    #[test]
    fn another_value_changes_the_hash(one in samples::json_value(), other in samples::json_value()) {
        let same = serde_json::from_str::<Value>(&one).unwrap() == serde_json::from_str::<Value>(&other).unwrap();
        prop_assume!(!same);
        let first = format!("{{\"A\":{{\"a\":{one}}}}}");
        let second = format!("{{\"A\":{{\"a\":{other}}}}}");
        prop_assert_ne!(hash(&first), hash(&second));
    }

    #[test]
    fn every_prefix_is_incomplete(text in samples::document(), cut in any::<prop::sample::Index>()) {
        let at = cut.index(text.len());
        if at > 0 {
            prop_assert_eq!(read(&text.as_bytes()[..at]).err(), Some(Stop::Incomplete));
        }
        prop_assert_eq!(read(text.as_bytes()).ok().map(|parsed| parsed.end), Some(text.len()));
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(prop::sample::select(b"{}[]<>/!?-\"'\\=&;:,0eux\xff\xc3 \nA".to_vec()), 0..60)) {
        if let Ok(document) = Document::parse(bytes.into()) {
            document.key();
            document.media();
            document.msg_info();
        }
    }
}

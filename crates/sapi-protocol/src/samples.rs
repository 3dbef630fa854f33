//! For tests: the vendor's sample events, and generators of documents.

use proptest::prelude::*;

/// The sample events of the vendor's page, character by character, a newline after each.
pub(crate) const ALL: [&str; 6] = [
    include_str!("../testdata/samples/heartbeat.json"),
    include_str!("../testdata/samples/agent_status_change.json"),
    include_str!("../testdata/samples/agent_prov_change.json"),
    include_str!("../testdata/samples/interaction_created.json"),
    include_str!("../testdata/samples/interaction_queued.json"),
    include_str!("../testdata/samples/interaction_deleted.json"),
];

pub(crate) fn compact(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value.to_string()
}

/// A JSON value as text; keys are lower-case, so that no value looks like an event of its own.
pub(crate) fn json_value() -> impl Strategy<Value = String> {
    let text =
        "[ -~é\"\\\\{}\\[\\]<>\n😀]{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap());
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
    ];
    let literal = prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned);
    let blank = "[ \t]{0,2}";
    prop_oneof![text, number, literal].prop_recursive(5, 24, 4, move |inner| {
        let member = ("[a-z@]{1,6}", blank, inner.clone(), blank)
            .prop_map(|(key, before, value, after)| format!("\"{key}\"{before}:{value}{after}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..4)
                .prop_map(|members| format!("{{{}}}", members.join(" , "))),
        ]
    })
}

/// A JSON document with a class.
pub(crate) fn json_document() -> impl Strategy<Value = String> {
    ("[A-Z][A-Za-z]{0,8}", json_value(), proptest::bool::ANY).prop_map(|(class, value, pretty)| {
        let document = format!("{{\"{class}\":{value}}}");
        if pretty {
            document.replace(" , ", ",\n  ")
        } else {
            document
        }
    })
}

fn xml_element() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -%'-;=?-~é]{1,8}",
        Just("&amp;".to_owned()),
        Just("<![CDATA[<b>]]x]]>".to_owned()),
        Just("<!-- <c> - -->".to_owned()),
        Just("<?pi a?b?>".to_owned()),
        Just("\n  ".to_owned()),
    ];
    let attribute = "( [a-z]{1,4} ?= ?(\"[ -!#-%'-;=-~]{0,6}\"|'[a>/\"]{0,4}'))?";
    let leaf = proptest::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat());
    leaf.prop_recursive(4, 16, 3, move |inner| {
        let element = ("[a-z]{1,4}", attribute, inner).prop_map(|(name, attribute, content)| {
            if content.is_empty() {
                format!("<{name}{attribute}/>")
            } else {
                format!("<{name}{attribute}>{content}</{name} >")
            }
        });
        proptest::collection::vec(element, 1..3).prop_map(|elements| elements.concat())
    })
}

/// An XML document with a class.
pub(crate) fn xml_document() -> impl Strategy<Value = String> {
    ("[A-Z][A-Za-z]{0,8}", xml_element())
        .prop_map(|(class, content)| format!("<{class}>{content}</{class}>"))
}

/// A document in either format.
pub(crate) fn document() -> impl Strategy<Value = String> {
    prop_oneof![json_document(), xml_document()]
}

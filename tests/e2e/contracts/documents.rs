//! The documents themselves: read, found to be what they claim to be, and made into validators.

use std::collections::BTreeMap;
use std::path::Path;

use jsonschema::Validator;
use relay_core::notice::{NoticeKind, Verdict};
use relay_core::status::SinkState;
use serde_json::{Value, json};

/// What the documents call themselves: nothing is fetched from there.
const BASE: &str = "https://github.com/sapi-relay/sapi-relay/contracts/";

/// Every document, by its name.
pub(super) struct Documents(BTreeMap<String, Value>);

impl Documents {
    pub(super) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sapi-relay/contracts");
        let files = std::fs::read_dir(folder).unwrap();
        let documents = files.map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let document = serde_json::from_str(&text);
            (
                name,
                document.unwrap_or_else(|error| panic!("{path:?}: {error}")),
            )
        });
        Self(documents.collect())
    }

    pub(super) fn get(&self, name: &str) -> &Value {
        &self.0[name]
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// What holds a value against a schema: a document's name, perhaps with a pointer.
    pub(super) fn validator(&self, schema: &str) -> Validator {
        let embedded = self.0.iter().map(|(name, document)| {
            let mut document = document.clone();
            document["$id"] = format!("{BASE}{name}").into();
            (name.clone(), document)
        });
        let bundle = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("{BASE}{schema}"),
            "$defs": embedded.collect::<serde_json::Map<_, _>>(),
        });
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&bundle);
        validator.unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

/// Holds a value against a schema.
///
/// # Panics
/// With everything that is wrong.
pub(super) fn assert_valid(validator: &Validator, value: &Value) {
    let errors = validator.iter_errors(value);
    let errors: Vec<_> = errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn each_is_what_it_claims_to_be() {
    let documents = Documents::read();
    let asyncapi = jsonschema::validator_for(&fixture("asyncapi-3.0.0.schema.json")).unwrap();
    let openapi = jsonschema::validator_for(&fixture("openapi-3.1.schema.json")).unwrap();
    for name in documents.names() {
        let document = documents.get(name);
        if name == "asyncapi.json" {
            assert_valid(&asyncapi, document);
        } else if name.ends_with(".openapi.json") {
            assert_valid(&openapi, document);
        } else {
            assert_eq!(document["$id"], format!("{BASE}{name}"));
            jsonschema::meta::validate(document).unwrap();
            documents.validator(name);
            continue;
        }
        assert_eq!(
            document["info"]["version"],
            env!("CARGO_PKG_VERSION"),
            "{name}"
        );
    }
    // The meta-schemas do refuse.
    let mut broken = documents.get("asyncapi.json").clone();
    broken["operations"]["sendKafka"]["action"] = "shout".into();
    assert!(!asyncapi.is_valid(&broken));
    let mut broken = documents.get("admin.openapi.json").clone();
    broken["paths"]["/livez"]["get"]["responses"] = json!([]);
    assert!(!openapi.is_valid(&broken));
}

/// Every `$ref` of every document leads somewhere.
#[test]
fn every_reference_leads_somewhere() {
    let documents = Documents::read();
    for name in documents.names() {
        let mut references = Vec::new();
        collect(documents.get(name), &mut references);
        for reference in references {
            let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
            let file = if file.is_empty() { name } else { file };
            let found = documents.0.get(file).and_then(|it| it.pointer(pointer));
            assert!(found.is_some(), "{name}: {reference}");
        }
    }
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| collect(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        _ => {}
    }
}

#[test]
fn closed_lists_are_those_of_the_code() {
    let documents = Documents::read();
    let notice = documents.get("notice.schema.json");
    let kinds: Vec<_> = NoticeKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(notice["properties"]["kind"]["enum"], json!(kinds));
    let verdicts = [
        Verdict::Recovered,
        Verdict::PossibleLoss,
        Verdict::CertainLoss,
        Verdict::Unverified,
    ];
    let verdicts = verdicts.map(Verdict::as_str);
    assert_eq!(notice["properties"]["verdict"]["enum"], json!(verdicts));
    let states = SinkState::ALL.map(SinkState::as_str);
    let sink = &documents.get("status.schema.json")["$defs"]["sink"];
    assert_eq!(sink["properties"]["state"]["enum"], json!(states));
}

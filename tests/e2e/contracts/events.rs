//! What the simulator emits against the schema of events.

use std::collections::BTreeSet;

use relay_tests::ledger::emitted;
use sapi_sim::{Config, Simulator};
use serde_json::{Value, json};

use super::documents::{Documents, assert_valid};

/// The class and the event's name of everything that the vendor's overview page shows.
const OVERVIEW: [(&str, &str); 22] = [
    ("AgentProvChange", "AgentSkillChanged"),
    ("AgentProvChange", "AgentSkillCreated"),
    ("AgentStatusChange", ""),
    ("Interaction", "InteractionAccepted"),
    ("Interaction", "InteractionAssigned"),
    ("Interaction", "InteractionCreated"),
    ("Interaction", "InteractionCustomerAccepted"),
    ("Interaction", "InteractionDeAssigned"),
    ("Interaction", "InteractionDeassigned"),
    ("Interaction", "InteractionDeleted"),
    ("Interaction", "InteractionEndPostProcess"),
    ("Interaction", "InteractionJoinLinesRequest"),
    ("Interaction", "InteractionParticipantChange"),
    ("Interaction", "InteractionPostProcess"),
    ("Interaction", "InteractionQueued"),
    ("Interaction", "InteractionReconnect"),
    ("Interaction", "InteractionRecordingReady"),
    ("Interaction", "InteractionRecordingStarted"),
    ("Interaction", "InteractionTransferRequest"),
    ("Interaction", "LineHoldStatus"),
    ("Interaction", "Interaction Hold/Unhold"),
    ("ClientCheck", ""),
];

async fn events(faults: &[&str]) -> Vec<Value> {
    let config = Config {
        preload: 8_000,
        preload_subs: vec!["somebody".to_owned()],
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let emitted = emitted(&simulator);
    assert_eq!(emitted.len(), 8_000);
    for fault in faults {
        let name = fault.split('=').next().unwrap();
        assert!(simulator.fired(name) > 0, "{fault} did not fire");
    }
    let parsed = emitted.iter().map(|bytes| serde_json::from_slice(bytes));
    parsed.map(Result::unwrap).collect()
}

/// A document's class and the name of its event.
fn name(event: &Value) -> (&str, &str) {
    let (class, body) = event.as_object().unwrap().iter().next().unwrap();
    (class, body["event"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn every_event_of_every_call_flow_is_as_the_schema_says() {
    let documents = Documents::read();
    let schema = documents.get("events.schema.json");
    let validator = documents.validator("events.schema.json");
    let mut seen = BTreeSet::new();
    let events = events(&[]).await;
    for event in &events {
        assert_valid(&validator, event);
        let (class, event_name) = name(event);
        seen.insert((class, event_name));
        // Nothing that 8x8 documents is missing from the schema.
        let declared = &schema["$defs"][class]["properties"];
        for field in event[class].as_object().unwrap().keys() {
            assert!(declared.get(field).is_some(), "{class}.{field}");
        }
    }
    let elsewhere = ["Interaction Hold/Unhold"];
    for (class, event) in OVERVIEW {
        let named = &schema["$defs"][class]["properties"]["event"]["anyOf"][0]["enum"];
        let listed = event.is_empty() || named.as_array().unwrap().contains(&json!(event));
        assert!(listed, "{class} {event} is not in the schema");
        let here = class != "ClientCheck" && !elsewhere.contains(&event);
        assert_eq!(seen.contains(&(class, event)), here, "{class} {event}");
    }
}

#[tokio::test]
async fn what_8x8_might_write_otherwise_is_allowed_too() {
    let validator = Documents::read().validator("events.schema.json");
    for fault in [
        "seq-string",
        "no-msg-info",
        "empty-msg-info",
        "no-instance",
        "unknown-class=5",
        "unknown-fields",
        "event-spelling",
        "call-state-odd",
    ] {
        for event in events(&[fault]).await {
            assert_valid(&validator, &event);
        }
    }
    for event in [
        json!({"Interaction": {"event": "InteractionCreated", "attachedData": ""}}),
        json!({"Interaction": {"attachedData": {"attachedDatum": {"attachedDataKey": "pho", "attachedDataValue": "+1"}}}}),
        json!({"Interaction": {"callingName": 447_799_147_855_u64, "isDirectAccess": "false", "msgInfo": ""}}),
        json!({"Interaction": {"inboundChannelid": "N/A", "queueList": "591,592", "status": "pause"}}),
        json!({"AgentStatusChange": {"agentId": 7, "newState": "5"}}),
        json!({"AgentUpdate": {"anything": [1, {"at": "all"}]}}),
    ] {
        assert_valid(&validator, &event);
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let validator = Documents::read().validator("events.schema.json");
    for wrong in [
        json!({}),
        json!([]),
        json!("Interaction"),
        json!({"Interaction": 5}),
        json!({"Interaction": {"interactionGUID": {"id": 1}}}),
        json!({"Interaction": {"isQueued": "perhaps"}}),
        json!({"Interaction": {"attachedData": {"attachedDatum": [5]}}}),
        json!({"Interaction": {"msgInfo": {"sequenceId": "seven"}}}),
        json!({"AgentStatusChange": {"newState": "busy"}}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Dialect, FLOWS, World};
use crate::content::{Stamp, StampStyle};

fn documents(seed: u64, count: u64, dialect: Dialect) -> Vec<Value> {
    let mut world = World::new(seed, "acmecorp01", 30);
    (0..count)
        .map(|n| {
            let stamp = Stamp {
                instance: "i".into(),
                sequence: n,
                timestamp: n,
            };
            let content = world.next(1_669_235_827_942 + n * 100, dialect);
            serde_json::from_slice(&content.stamped(&stamp, StampStyle::Numbers).bytes).unwrap()
        })
        .collect()
}

/// (event, callState) of every line, in order of emission.
fn lines(documents: &[Value]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut lines: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for body in documents
        .iter()
        .filter_map(|document| document.get("Interaction"))
    {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        lines
            .entry(text("interactionGUID").unwrap())
            .or_default()
            .push((
                text("event").unwrap(),
                text("callState").unwrap_or_else(|| "NA".to_owned()),
            ));
    }
    lines
}

#[test]
fn every_flow_comes_and_each_line_keeps_the_order_of_its_rows() {
    let lines = lines(&documents(7, 30_000, Dialect::default()));
    let mut expected: BTreeMap<Vec<(String, String)>, &str> = BTreeMap::new();
    for flow in FLOWS {
        for line in [super::flows::Line::One, super::flows::Line::Two] {
            let rows: Vec<(String, String)> = flow
                .rows
                .iter()
                .filter(|row| row.line == line)
                .map(|row| {
                    (
                        row.event.to_owned(),
                        row.call_state().unwrap_or("NA").to_owned(),
                    )
                })
                .collect();
            if !rows.is_empty() {
                expected.insert(rows, flow.name);
            }
        }
    }
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for rows in lines.values() {
        if let Some(flow) = expected.get(rows) {
            *seen.entry(flow).or_default() += 1;
        } else {
            // Still under way at the end: a prefix of some flow.
            assert!(
                expected.keys().any(|full| full.starts_with(rows)),
                "{rows:?}"
            );
        }
    }
    for flow in expected.values() {
        assert!(seen.contains_key(flow), "{flow} never came: {seen:?}");
    }
}

#[test]
fn interactions_interleave_and_attached_data_grows() {
    let documents = documents(3, 5_000, Dialect::default());
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut switches, mut last) = (0, "");
    for body in documents
        .iter()
        .filter_map(|document| document.get("Interaction"))
    {
        let guid = body["interactionGUID"].as_str().unwrap();
        let size = body["attachedData"]["attachedDatum"]
            .as_array()
            .unwrap()
            .len();
        assert!(size >= *sizes.get(guid).unwrap_or(&0));
        sizes.insert(guid, size);
        switches += u32::from(guid != last);
        last = guid;
    }
    assert!(switches > 1000, "{switches}");
}

#[test]
fn agents_live_by_the_documented_states() {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for body in documents(5, 20_000, Dialect::default())
        .iter()
        .filter_map(|document| document.get("AgentStatusChange"))
    {
        let agent = body["agentId"].as_str().unwrap().to_owned();
        let state = body["newState"].as_u64().unwrap();
        let before = last.insert(agent, state).unwrap_or(1);
        let allowed: &[u64] = match before {
            1 => &[2],
            2 | 3 | 5 | 8 => &[4],
            4 => &[1, 3, 5, 6, 7],
            6 => &[7],
            7 => &[8, 4, 6],
            other => panic!("state {other}"),
        };
        assert!(allowed.contains(&state), "{before} -> {state}");
    }
    assert!(last.len() > 20);
}

/// Names in the order they are written, at the body's level and in attachedData.
fn names(document: &[u8]) -> (Vec<String>, Vec<String>) {
    let text = std::str::from_utf8(document).unwrap();
    let keys: Vec<String> = text
        .split("\"attachedDataKey\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let value: Value = serde_json::from_slice(document).unwrap();
    let mut members: Vec<String> = value["Interaction"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    members.sort_by_key(|name| text.find(&format!("\"{name}\":")).unwrap());
    (members, keys)
}

#[test]
fn interactions_have_the_members_of_the_vendors_samples_in_their_order() {
    let samples = [
        (
            "InteractionCreated",
            "attachedData callState event inboundChannelid interactionEventTS interactionGUID msgInfo resourceType",
            "@pri callingName cha cnt con med pho phoneNum remoteCallingName remotePhoneNum tok",
        ),
        (
            "InteractionQueued",
            "attachedData callState direction event eventTS inboundChannelid interactionEventTS interactionGUID \
             isAgentInitiated mediaType msgInfo priority queueId queueList queueTime resourceType transactionNum",
            "@pri callingName cha channelName cnt con med otim pcsOffered pho phoneNum priority que queueDirection \
             remoteCallingName remotePhoneNum tenantName tenantRecServer tenantSkillName tim tok",
        ),
        (
            "InteractionDeleted",
            "attachedData callHangupReason callState dispositionCode event hangupInitiator inboundChannelid \
             interactionEventTS interactionGUID isAgentInitiated isDirectAccess isQueued mediaType msgInfo \
             recordingMode rejectReason resourceType",
            "",
        ),
    ];
    let mut world = World::new(2, "acmecorp01", 20);
    let stamp = Stamp {
        instance: "i".into(),
        sequence: 1,
        timestamp: 1,
    };
    let all: Vec<_> = (0..3000)
        .map(|n| world.next(1_669_235_827_942 + n, Dialect::default()))
        .map(|content| content.stamped(&stamp, StampStyle::Numbers).bytes)
        .collect();
    for (event, members, keys) in samples {
        let marks = [format!("\"event\":\"{event}\""), "\"@pri\"".to_owned()];
        let sample = all.iter().find(|document| {
            let text = std::str::from_utf8(document).unwrap();
            // An inbound call that no agent has yet, as in the samples.
            marks.iter().all(|mark| text.contains(mark))
                && !text.contains("\"agentId\"")
                && text.contains("\"eventTS\"") == (event == "InteractionQueued")
        });
        let (written, attached) = names(sample.unwrap());
        assert_eq!(
            written,
            members.split_whitespace().collect::<Vec<_>>(),
            "{event}"
        );
        if !keys.is_empty() {
            assert_eq!(
                attached,
                keys.split_whitespace().collect::<Vec<_>>(),
                "{event}"
            );
        }
    }
}

#[test]
fn a_guid_has_the_vendors_shape_and_names_its_media() {
    let mut media = std::collections::BTreeSet::new();
    for body in documents(6, 5_000, Dialect::default())
        .iter()
        .filter_map(|document| document.get("Interaction"))
    {
        let guid = body["interactionGUID"].as_str().unwrap();
        let parts: Vec<&str> = guid.split('-').collect();
        let [int, time, id, medium, number, tenant] = parts[..] else {
            panic!("{guid}")
        };
        assert_eq!(
            (int, number, tenant, id.len()),
            ("int", "00", "acmecorp01", 25)
        );
        assert!(u64::from_str_radix(time, 16).unwrap() >= 1_669_235_827_942);
        let resource = body["resourceType"].as_u64().unwrap();
        assert_eq!(
            ["phone", "email", "chat"][usize::try_from(resource).unwrap()],
            medium
        );
        assert!(body.get("mediaType").is_none_or(|named| named == medium));
        media.insert(medium.to_owned());
    }
    assert_eq!(media.len(), 3);
}

#[test]
fn the_seed_decides() {
    assert_eq!(
        documents(9, 2_000, Dialect::default()),
        documents(9, 2_000, Dialect::default())
    );
    assert_ne!(
        documents(9, 50, Dialect::default()),
        documents(10, 50, Dialect::default())
    );
}

#[test]
fn a_dialect_changes_words_alone() {
    let odd = documents(
        4,
        5_000,
        Dialect {
            spelling: true,
            printed_states: true,
        },
    );
    let text = serde_json::to_string(&odd).unwrap();
    for word in [
        "InteractionDeAssigned",
        "Interaction Hold/Unhold",
        "\"NA\"",
        "\"CUSTOMER\"",
    ] {
        assert!(text.contains(word), "{word}");
    }
    assert!(!text.contains("\"InteractionDeassigned\""));
}

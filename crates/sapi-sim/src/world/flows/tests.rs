//! The rows against the tables of the vendor's overview page, event and callState verbatim.

use super::{FLOWS, Line, Party};

const INBOUND: &str = "
InteractionCreated | CS_QUEUED
InteractionQueued | CS_QUEUED
InteractionAssigned | CS_QUEUED
InteractionAccepted | CS_CONNECTED
InteractionPostProcess | CS_DISCONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED";

const OUTBOUND: &str = "
InteractionCreated | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionRecordingStarted | NA
InteractionAccepted | CS_INPROGRESS
InteractionCustomerAccepted | CS_CONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeAssigned | CS_DISCONNECTED";

const CONFERENCE: &str = "
InteractionCreated | CS_IDLE
InteractionQueued | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionAccepted | CS_INPROGRESS
InteractionCustomerAccepted | CS_CONNECTED
InteractionCreated | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionAccepted | CS_INPROGRESS
InteractionAssigned | CS_INPROGRESS
InteractionAccepted | CS_CONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionReconnect | CS_DISCONNECTED
InteractionParticipantChange | CS_CONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeleted | CEC_DISCONNECT_NORMAL
InteractionJoinLinesRequest | NA
InteractionPostProcess | CS_DISCONNECTED
InteractionParticipantChange | CS_DISCONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionPostProcess | CS_DISCONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeleted | CEC_DISCONNECT_NORMAL";

const TRANSFER_TO_AGENT: &str = "
InteractionCreated | CS_IDLE
InteractionQueued | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionAccepted | CS_INPROGRESS
InteractionCustomerAccepted | CS_CONNECTED
InteractionCreated | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionAccepted | CS_INPROGRESS
InteractionAssigned | CS_INPROGRESS
InteractionAccepted | CS_CONNECTED
InteractionTransferRequest | NA
InteractionPostProcess | CS_DISCONNECTED
InteractionParticipantChange | CS_CONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionPostProcess | CS_DISCONNECTED
InteractionReconnect | CS_DISCONNECTED
InteractionParticipantChange | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeleted | CS_DISCONNECTED
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionParticipantChange | CS_DISCONNECTED
InteractionPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeleted | CUSTOMER";

const TRANSFER_TO_QUEUE: &str = "
InteractionCreated | CS_IDLE
InteractionQueued | CS_IDLE
InteractionAssigned | CS_IDLE
InteractionAccepted | CS_INPROGRESS
InteractionCustomerAccepted | CS_CONNECTED
InteractionPostProcess | CS_DISCONNECTED
InteractionCreated | CS_IDLE
InteractionQueued | CS_IDLE
InteractionEndPostProcess | CS_DISCONNECTED
InteractionDeassigned | CS_DISCONNECTED
InteractionDeleted | CS_DISCONNECTED";

#[test]
fn the_flows_are_the_overviews_tables() {
    for (name, table) in [
        ("Inbound call", INBOUND),
        ("Outbound call without queue", OUTBOUND),
        ("Outbound call with queue", OUTBOUND),
        ("Outbound conference call (with queue)", CONFERENCE),
        ("Transfer of call to another agent", TRANSFER_TO_AGENT),
        ("Transfer of a call to an inbound queue", TRANSFER_TO_QUEUE),
    ] {
        let flow = FLOWS.iter().find(|flow| flow.name == name).unwrap();
        let rows: Vec<String> = flow
            .rows
            .iter()
            .map(|row| format!("{} | {}", row.event, row.printed))
            .collect();
        assert_eq!(rows, table.trim().lines().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn call_states_are_states() {
    for row in FLOWS.iter().flat_map(|flow| flow.rows) {
        assert_eq!(row.call_state().is_none(), row.printed == "NA");
        assert!(
            row.call_state()
                .is_none_or(|state| state.starts_with("CS_"))
        );
        assert_eq!(row.event == "InteractionDeleted", !row.initiator.is_empty());
    }
}

#[test]
fn a_line_begins_with_its_creation_and_a_second_agent_needs_a_second_line() {
    for flow in FLOWS {
        for line in [Line::One, Line::Two] {
            let first = flow.rows.iter().find(|row| row.line == line);
            assert!(
                first.is_none_or(|row| row.event == "InteractionCreated"),
                "{}",
                flow.name
            );
        }
        let second = flow.rows.iter().any(|row| row.party == Party::Second);
        assert!(
            !second || flow.rows.iter().any(|row| row.line == Line::Two),
            "{}",
            flow.name
        );
    }
}

//! Owns the call flows of the vendor's overview page, row by row, as data: which event, in which
//! call state, of which line, for which agent. It does not know what the events say.

/// The line an event is about: a conference or transfer has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The customer's call.
    One,
    /// The call to the second agent, or the new call in the inbound queue.
    Two,
}

/// The agent an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// Nobody yet.
    Nobody,
    /// The agent who has the call first.
    First,
    /// The agent it is transferred to, or who joins it.
    Second,
}

/// One row of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// `event`, spelt as in the vendor's table.
    pub(crate) event: &'static str,
    /// The callState column as printed: `NA` and hang-up words included.
    pub(crate) printed: &'static str,
    /// The line.
    pub(crate) line: Line,
    /// The agent.
    pub(crate) party: Party,
    /// Who hung up, for `InteractionDeleted`.
    pub(crate) initiator: &'static str,
}

impl Row {
    /// The callState a document carries: absent where the table says `NA`, and `CS_DISCONNECTED` where
    /// it prints a hang-up reason or initiator (as the vendor's sample of that event has it).
    pub(crate) fn call_state(&self) -> Option<&'static str> {
        match self.printed {
            "NA" => None,
            state if state.starts_with("CS_") => Some(state),
            _ => Some("CS_DISCONNECTED"),
        }
    }
}

/// One of the vendor's example sequences.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Its heading on the overview page, or what it is.
    pub(crate) name: &'static str,
    /// The call comes from a customer.
    pub(crate) inbound: bool,
    /// How often it happens, relative to the others.
    pub(crate) weight: u32,
    /// Its rows, in order.
    pub(crate) rows: &'static [Row],
}

const fn row(event: &'static str, printed: &'static str, line: Line, party: Party) -> Row {
    Row {
        event,
        printed,
        line,
        party,
        initiator: "",
    }
}

const fn deleted(printed: &'static str, line: Line, party: Party, initiator: &'static str) -> Row {
    Row {
        event: "InteractionDeleted",
        printed,
        line,
        party,
        initiator,
    }
}

use Line::{One, Two};
use Party::{First, Nobody, Second};

const INBOUND: &[Row] = &[
    row("InteractionCreated", "CS_QUEUED", One, Nobody),
    row("InteractionQueued", "CS_QUEUED", One, Nobody),
    row("InteractionAssigned", "CS_QUEUED", One, First),
    row("InteractionAccepted", "CS_CONNECTED", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
];

const OUTBOUND: &[Row] = &[
    row("InteractionCreated", "CS_IDLE", One, First),
    row("InteractionAssigned", "CS_IDLE", One, First),
    row("InteractionRecordingStarted", "NA", One, First),
    row("InteractionAccepted", "CS_INPROGRESS", One, First),
    row("InteractionCustomerAccepted", "CS_CONNECTED", One, First),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeAssigned", "CS_DISCONNECTED", One, First),
];

const CONFERENCE: &[Row] = &[
    row("InteractionCreated", "CS_IDLE", One, First),
    row("InteractionQueued", "CS_IDLE", One, First),
    row("InteractionAssigned", "CS_IDLE", One, First),
    row("InteractionAccepted", "CS_INPROGRESS", One, First),
    row("InteractionCustomerAccepted", "CS_CONNECTED", One, First),
    row("InteractionCreated", "CS_IDLE", Two, First),
    row("InteractionAssigned", "CS_IDLE", Two, Second),
    row("InteractionAccepted", "CS_INPROGRESS", Two, Second),
    row("InteractionAssigned", "CS_INPROGRESS", Two, Second),
    row("InteractionAccepted", "CS_CONNECTED", Two, Second),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", Two, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", Two, First),
    row("InteractionReconnect", "CS_DISCONNECTED", Two, Second),
    row("InteractionParticipantChange", "CS_CONNECTED", One, Second),
    row("InteractionDeassigned", "CS_DISCONNECTED", Two, Second),
    deleted("CEC_DISCONNECT_NORMAL", Two, Second, "SYSTEM"),
    row("InteractionJoinLinesRequest", "NA", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, First),
    row(
        "InteractionParticipantChange",
        "CS_DISCONNECTED",
        One,
        Second,
    ),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, Second),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, Second),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, Second),
    deleted("CEC_DISCONNECT_NORMAL", One, Second, "AGENT"),
];

const TRANSFER_TO_AGENT: &[Row] = &[
    row("InteractionCreated", "CS_IDLE", One, First),
    row("InteractionQueued", "CS_IDLE", One, First),
    row("InteractionAssigned", "CS_IDLE", One, First),
    row("InteractionAccepted", "CS_INPROGRESS", One, First),
    row("InteractionCustomerAccepted", "CS_CONNECTED", One, First),
    row("InteractionCreated", "CS_IDLE", Two, First),
    row("InteractionAssigned", "CS_IDLE", Two, Second),
    row("InteractionAccepted", "CS_INPROGRESS", Two, Second),
    row("InteractionAssigned", "CS_INPROGRESS", Two, Second),
    row("InteractionAccepted", "CS_CONNECTED", Two, Second),
    row("InteractionTransferRequest", "NA", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionParticipantChange", "CS_CONNECTED", One, Second),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", Two, Second),
    row("InteractionReconnect", "CS_DISCONNECTED", Two, Second),
    row(
        "InteractionParticipantChange",
        "CS_DISCONNECTED",
        Two,
        Second,
    ),
    row("InteractionDeassigned", "CS_DISCONNECTED", Two, Second),
    deleted("CS_DISCONNECTED", Two, Second, "SYSTEM"),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, Second),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, Second),
    row(
        "InteractionParticipantChange",
        "CS_DISCONNECTED",
        One,
        Second,
    ),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, Second),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, Second),
    deleted("CUSTOMER", One, Second, "CUSTOMER"),
];

const TRANSFER_TO_QUEUE: &[Row] = &[
    row("InteractionCreated", "CS_IDLE", One, First),
    row("InteractionQueued", "CS_IDLE", One, First),
    row("InteractionAssigned", "CS_IDLE", One, First),
    row("InteractionAccepted", "CS_INPROGRESS", One, First),
    row("InteractionCustomerAccepted", "CS_CONNECTED", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionCreated", "CS_IDLE", Two, Nobody),
    row("InteractionQueued", "CS_IDLE", Two, Nobody),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
    deleted("CS_DISCONNECTED", One, First, "AGENT"),
];

/// The vendor's sample: the caller hangs up while in the IVR.
const ABANDONED: &[Row] = &[
    row("InteractionCreated", "CS_QUEUED", One, Nobody),
    deleted("CS_DISCONNECTED", One, Nobody, "CUSTOMER"),
];

/// The overview's event table beyond its sequences: hold and unhold (as the event is really called)
/// and a recording that is ready.
const INBOUND_HELD: &[Row] = &[
    row("InteractionCreated", "CS_QUEUED", One, Nobody),
    row("InteractionQueued", "CS_QUEUED", One, Nobody),
    row("InteractionAssigned", "CS_QUEUED", One, First),
    row("InteractionAccepted", "CS_CONNECTED", One, First),
    row("InteractionRecordingStarted", "NA", One, First),
    row("LineHoldStatus", "CS_HOLD", One, First),
    row("LineHoldStatus", "CS_CONNECTED", One, First),
    row("InteractionPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionEndPostProcess", "CS_DISCONNECTED", One, First),
    row("InteractionDeassigned", "CS_DISCONNECTED", One, First),
    deleted("CS_DISCONNECTED", One, First, "CUSTOMER"),
    row("InteractionRecordingReady", "NA", One, First),
];

const fn flow(name: &'static str, inbound: bool, weight: u32, rows: &'static [Row]) -> Flow {
    Flow {
        name,
        inbound,
        weight,
        rows,
    }
}

/// Every flow: the overview's seven, then the vendor's sample and the rest of its event table.
pub(crate) static FLOWS: &[Flow] = &[
    flow("Inbound call", true, 30, INBOUND),
    flow("Outbound call without queue", false, 12, OUTBOUND),
    flow("Outbound call with queue", false, 12, OUTBOUND),
    flow(
        "Outbound conference call (with queue)",
        false,
        6,
        CONFERENCE,
    ),
    flow(
        "Transfer of call to another agent",
        false,
        8,
        TRANSFER_TO_AGENT,
    ),
    flow(
        "Transfer of a call to an inbound queue",
        false,
        8,
        TRANSFER_TO_QUEUE,
    ),
    flow(
        "Incoming call ended by caller while in IVR",
        true,
        6,
        ABANDONED,
    ),
    flow(
        "Inbound call with hold and recording",
        true,
        18,
        INBOUND_HELD,
    ),
];

#[cfg(test)]
mod tests;

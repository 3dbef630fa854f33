//! Owns the faults of what documents say, broken ones included (B6, B22, B23, B24): their names and
//! words, not the emission that carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    TRUNCATED = "B6" "truncated" Number(10), "each so-many-th event is cut in its middle";
    INVALID_UTF8 = "B6" "invalid-utf8" Number(10), "each so-many-th event has bytes that are no UTF-8, in a binary message";
    INVALID_TEXT_UTF8 = "B6" "invalid-text-utf8" Number(10), "each so-many-th event has bytes that are no UTF-8, in a text message: the client must fail the connection";
    NOT_A_DOCUMENT = "B6" "not-a-document" Number(10), "after each so-many-th event comes a line of plain text";
    #[once] HUGE = "B6" "huge" Number(20_000_000), "the next event is so many bytes long";
    UNKNOWN_CLASS = "B22" "unknown-class" Number(5), "each so-many-th event has a top-level key that is not documented";
    UNKNOWN_FIELDS = "B22" "unknown-fields" Nothing, "events carry fields that are not documented, objects and nulls among them";
    ARRAY_OF_EVENTS = "B22" "array-of-events" Number(5), "each so-many-th event is a root array that holds it";
    EVENT_SPELLING = "B23" "event-spelling" Nothing, "Deassigned is DeAssigned, and a hold says Interaction Hold/Unhold";
    CALL_STATE_ODD = "B24" "call-state-odd" Nothing, "call states are the words printed in the overview: NA, CEC_DISCONNECT_NORMAL, CUSTOMER";
}

//! Owns the faults of how sessions end (B12, B26): their names and words, not the session that
//! carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    CUT_CODE = "B12" "cut-code" Number(1001), "the cut closes with this code (1000 without a fault); 1006 drops the connection without a Close";
    CUT_RESET = "B12" "cut-reset" Nothing, "the cut is a TCP reset";
    CUT_EARLY = "B12" "cut-early" Number(30), "sessions are cut after so many seconds";
    CUT_NEVER = "B12" "cut-never" Nothing, "sessions are not cut";
    CUT_FROM_FIRST_EVENT = "B12" "cut-from-first-event" Nothing, "the session's age counts from the first event";
    #[once] CUT_NOW = "B12" "cut-now" Number(1000), "every session is cut now, with this code; 1006 drops without a Close";
    #[once] TCP_RESET = "B12" "tcp-reset" Nothing, "every session gets a TCP reset now";
    CLOSE_NEVER_ANSWERED = "B26" "close-never-answered" Nothing, "a client's Close is not answered, nor is anything written after it";
    CLOSE_LATE = "B26" "close-late" Number(3000), "a client's Close is answered so many ms later";
    CLOSE_WRITES_ON = "B26" "close-writes-on" Number(5), "so many more events are written after a client's Close, before the answer";
}

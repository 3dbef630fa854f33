//! Owns the faults of msgInfo and of order (B9, B20, B25): their names and words, not the numbering
//! that carries them out.

use super::{
    Takes::{Nothing, Number, Text},
    family,
};

family! {
    #[once] SEQ_RESTART = "B9" "seq-restart" Number(1), "the sequence starts again at this number";
    #[once] SEQ_GAP = "B9" "seq-gap" Number(7), "so many sequence numbers are skipped";
    #[once] INSTANCE_SWITCH = "B9" "instance-switch" Text("NAME"), "another instance id from now on; with --numbering instance its own series";
    INSTANCES = "B9" "instances" Number(2), "so many instance ids take turns on one connection";
    SEQ_RESTART_ON_CONNECT = "B9" "seq-restart-on-connect" Nothing, "the sequence starts at 1 at each connect";
    SEQ_OUT_OF_ORDER = "B9" "seq-out-of-order" Number(5), "each so-many-th event swaps its number with the next one";
    SEQ_STRING = "B9" "seq-string" Nothing, "sequence number and timestamp are text";
    NO_MSG_INFO = "B9" "no-msg-info" Nothing, "events have no msgInfo";
    EMPTY_MSG_INFO = "B9" "empty-msg-info" Nothing, "events have an empty msgInfo";
    NO_INSTANCE = "B20" "no-instance" Nothing, "msgInfo has no instanceId";
    OTHERS_HEARTBEATS = "B9" "others-heartbeats" Number(2), "each heartbeat uses up so many more numbers, as heartbeats of others would";
    CLOCK_STEP = "B25" "clock-step" Number(3_600_000), "the server's clock is so many ms behind";
}

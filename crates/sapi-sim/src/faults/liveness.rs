//! Owns the faults of heartbeats, silence and first connects (B11, B14): their names and words, not
//! the session that carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    HEARTBEAT_OFF = "B11" "heartbeat-off" Nothing, "no heartbeats";
    HEARTBEAT_IDLE_ONLY = "B11" "heartbeat-idle-only" Nothing, "a heartbeat only where no event was written for its period";
    HEARTBEAT_PING = "B11" "heartbeat-ping" Nothing, "WebSocket pings instead of heartbeats";
    HEARTBEAT_NOT_IN_REPLAY = "B11" "heartbeat-not-in-replay" Nothing, "no heartbeats while stored events are waiting";
    CLOSE_ON_TEXT = "B11" "close-on-text" Nothing, "a text message of the client closes the connection (1003)";
    EXPECT_PONG = "B11" "expect-pong" Nothing, "pings with the heartbeats; a client that did not answer the one before is closed (1002)";
    SILENT = "B11" "silent" Nothing, "connected, but not a byte is written any more, nor a ping answered";
    FIRST_SILENCE = "B14" "first-silence" Number(30), "nothing for so many seconds after the connect";
    FIRST_HISTORY = "B14" "first-history" Number(10), "a new subscription gets the last so many events";
    FIRST_UNTIL_EVENT = "B14" "first-until-event" Nothing, "no heartbeats before the first event";
}

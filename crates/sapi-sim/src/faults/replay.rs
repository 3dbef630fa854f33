//! Owns the faults of what happens around a reconnect (B7, B8, B10): their names and words, not the
//! queue that carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    REPLAY_ONE_MESSAGE = "B7" "replay-one-message" Nothing, "all stored events in one message";
    REPLAY_NEWEST_FIRST = "B7" "replay-newest-first" Nothing, "stored events come newest first";
    REPLAY_INTERLEAVED = "B7" "replay-interleaved" Nothing, "stored and live events take turns";
    REPLAY_LIVE_FIRST = "B7" "replay-live-first" Number(5), "so many live events come before the stored ones";
    REPLAY_HEARTBEATS = "B7" "replay-heartbeats" Nothing, "heartbeats are stored and replayed too";
    REPLAY_DELAY = "B7" "replay-delay" Number(3000), "stored events come so many ms after the connect";
    REPLAY_DUPLICATES = "B8" "replay-duplicates" Number(5), "the last so many written events are replayed again, like --overlap";
    #[once] HALF_OPEN_LOSS = "B8" "half-open-loss" Number(5), "so many events after a session's first are written into a dead socket and count as delivered; then the connection drops";
    REQUEUE_AT_TAIL = "B8" "requeue-at-tail" Nothing, "events that were being written when the connection ended come after the stored ones";
    #[once] CUT_DURING_REPLAY = "B8" "cut-during-replay" Number(10), "the connection drops after so many replayed events; the next one gets the rest";
    REPLAY_REST_LOST = "B8" "replay-rest-lost" Nothing, "with cut-during-replay: the rest is lost";
    REPLAY_WHOLE_AGAIN = "B8" "replay-whole-again" Nothing, "with cut-during-replay: the whole set comes again";
    RESTAMP = "B10" "restamp" Nothing, "replayed events get a new sequence number and time";
    SAME_CONTENT_DIFFERENT_ID = "B10" "same-content-different-id" Number(10), "each so-many-th event is emitted twice, numbered apart";
    SAME_ID_DIFFERENT_CONTENT = "B10" "same-id-different-content" Number(10), "each so-many-th event carries the msgInfo of the one before";
}

//! Owns the faults of the store for disconnected subscriptions and of slow readers (B13, B18): their
//! names and words, not the queue that carries them out.

use super::{
    Takes::{Nothing, Number},
    family,
};

family! {
    CACHE_DROP_OLDEST = "B13" "cache-drop-oldest" Number(100), "the store holds so many events; the oldest are dropped";
    CACHE_DROP_NEWEST = "B13" "cache-drop-newest" Number(100), "the store holds so many events; the newest are dropped";
    CACHE_LOST = "B13" "cache-lost" Nothing, "a reconnect is a new subscription: what was stored is lost";
    CACHE_SHORT = "B13" "cache-short" Number(60), "the store lasts so many seconds after the disconnect";
    SLOW_DROP = "B18" "slow-drop" Number(5000), "a write that takes longer than so many ms drops the connection; the events are stored";
    SLOW_DISCARD = "B18" "slow-discard" Number(1000), "while more than so many events wait for a connected client, the oldest are dropped";
}

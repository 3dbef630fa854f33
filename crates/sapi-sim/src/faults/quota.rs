//! Owns the faults of the limit of clients and of a subsId used twice (B4, B5, B26 slots): their
//! names and words, not the admission that carries them out.

use super::{
    Takes::{Choice, Nothing, Number},
    family,
};

/// What can happen to the second connection of a subsId.
pub(crate) const SAME_ID_WORDS: &[&str] = &["kick", "both", "refuse", "split"];

family! {
    QUOTA_401 = "B4" "quota-401" Nothing, "one client too many: 401 (429 without a fault)";
    QUOTA_403 = "B4" "quota-403" Nothing, "one client too many: 403";
    QUOTA_409 = "B4" "quota-409" Nothing, "one client too many: 409";
    QUOTA_429 = "B4" "quota-429" Nothing, "one client too many: 429 with Retry-After";
    QUOTA_503 = "B4" "quota-503" Nothing, "one client too many: 503";
    QUOTA_101_CLOSE = "B4" "quota-101-close" Number(1008), "one client too many: 101, then closed with this code";
    QUOTA_101_SILENCE = "B4" "quota-101-silence" Nothing, "one client too many: 101, then not a byte";
    QUOTA_EVICT_OLDEST = "B4" "quota-evict-oldest" Nothing, "one client too many: the oldest is closed (1008)";
    QUOTA_ACCEPT = "B4" "quota-accept" Nothing, "there is no limit of clients";
    QUOTA_FULL = "B4" "quota-full" Nothing, "the quota counts as used up by others: every upgrade is one too many";
    QUOTA_COUNTS_DISCONNECTED = "B4" "quota-counts-disconnected" Nothing, "a disconnected subsId keeps its slot until its cache expires";
    SAME_SUBS_ID = "B5" "same-subs-id" Choice(SAME_ID_WORDS), "a subsId connected twice: the new one kicks the old (the default), both get everything, the new one is refused (409), or the events are split";
    GHOST_SLOT = "B26" "ghost-slot" Number(30), "the slot of a closed connection is freed only after so many seconds";
}

//! The webhook sink against the real thing.

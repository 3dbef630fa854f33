//! The kafka sink against the real thing.

//! Tests of the memory of ids.

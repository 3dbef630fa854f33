//! Tests of continuity.

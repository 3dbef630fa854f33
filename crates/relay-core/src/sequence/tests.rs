//! Tests of the numbering.

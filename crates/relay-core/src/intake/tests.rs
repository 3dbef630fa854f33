//! Intake end to end, with a real journal.

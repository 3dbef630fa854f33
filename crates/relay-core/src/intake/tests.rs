//! Intake end to end, with a real journal in a temporary directory.

mod admits;
mod contents;
mod disk;
mod failures;
mod restarts;
mod rig;
mod tells;

use rig::{Doc, Rig};

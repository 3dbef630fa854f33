//! The simulator's ledger against what was delivered: each event once, bytes identical, in order.

use sapi_sim::LedgerEntry;

use crate::client::StreamEvent;

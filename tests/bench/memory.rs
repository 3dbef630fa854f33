//! The relay's peak of resident memory, beside the budgets that are in force when it is read.

use anyhow::{Context, Result};
use relay_tests::Relay;

use crate::process::memory_kib;
use crate::report::{Row, at_most};

const MIB: f64 = 1024.0 * 1024.0;
/// What a relay may take that holds nothing.
const OWN: f64 = 96.0;
/// `bus.memory`, as the relays here have it.
const BUS: f64 = 64.0;
/// Of a connection.
const CLIENT: f64 = 8.0 / 1024.0;

/// The peak of a relay that serves so many clients. The memory of ids counts as far as it is
/// filled: its budget is for hours of events.
pub(crate) async fn peak(case: &str, relay: &Relay, clients: u64) -> Result<Row> {
    let measured = memory_kib(relay.pid(), "VmHWM")? / 1024.0;
    let dedup = relay.metric("sapi_relay_dedup_memory_bytes").await;
    let dedup = dedup.context("the memory of ids is measured")? / MIB;
    let clients = clients as f64 * CLIENT;
    let budgets = OWN + BUS + dedup + clients;
    Ok(Row::new(
        format!("{case}peak resident memory"),
        format!("{measured:.0} MiB"),
        at_most(
            measured,
            budgets,
            format!(
                "{budgets:.0} MiB ({OWN} own, {BUS} bus, {dedup:.0} dedup as filled, {clients:.1} clients)"
            ),
        ),
    ))
}

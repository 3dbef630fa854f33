//! The scenarios, in the order of the page.

mod backlog;
mod commit;
mod fanout;
mod idle;
mod intake;
mod latency;
mod replay;
mod webhook;

use std::pin::Pin;

use anyhow::Result;
use relay_tests::Relay;
use relay_tests::relay::{Setup, offset};

use crate::Bench;
use crate::report::Row;

type Run = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Result<Vec<Row>>> + 'a>>;

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// What is measured, and what bounds it.
    pub(crate) how: &'static str,
    /// Runs it.
    pub(crate) run: Run,
}

pub(crate) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "commit",
        title: "Commit stage fed from memory",
        how: "Parsed documents of 1 KiB handed to the intake in process as fast as it takes them, until they are durable: \
              dedup, encoding, one write and one fdatasync a group, publication on the bus, once the bus is full. In turn \
              with a bare preallocated file that gets groups of as many records, each as large as in the journal, by the \
              same calls: one write and one fdatasync a group.",
        run: |bench| Box::pin(commit::run(bench)),
    },
    Scenario {
        name: "intake",
        title: "Intake end to end",
        how: "The simulator writes pre-encoded documents over one subscription as fast as the relay reads them, until \
              the journal has them all. Nobody consumes. Generator and relay share the cores.",
        run: |bench| Box::pin(intake::run(bench)),
    },
    Scenario {
        name: "latency",
        title: "Latency at 2,000 events a second",
        how: "One event a write, at an exact pace, to one client: from before the write on the upstream socket to after \
              the read on the client's, fsync included. The commit window is 2 ms; the disk's own fdatasync is measured \
              right before and after.",
        run: |bench| Box::pin(latency::run(bench)),
    },
    Scenario {
        name: "fanout",
        title: "Clients",
        how: "CPU of a delivery is the relay's CPU with clients less its CPU without, at the same rate, by the number of \
              deliveries. Together is how many events arrive in one write and so leave in one flush. The bare program writes frames of \
              the same size to as many sockets at the same pace, and nothing else: the machine's own price. The three are \
              measured in turn, three times, and the middle one counts. Memory a \
              connection is the relay's own anonymous memory after a burst has drained, less that before they came.",
        run: |bench| Box::pin(fanout::run(bench)),
    },
    Scenario {
        name: "replay",
        title: "Replay from disk",
        how: "Clients that start at `earliest` behind a journal that memory does not hold (the page cache may), \
              CloudEvents format. Relay and clients share the cores.",
        run: |bench| Box::pin(replay::run(bench)),
    },
    Scenario {
        name: "backlog",
        title: "A backlog arriving at once",
        how: "A million stored events on connect, with one client that follows live.",
        run: |bench| Box::pin(backlog::run(bench)),
    },
    Scenario {
        name: "idle",
        title: "Idle",
        how: "One subscription that brings a heartbeat a minute, no client, over 20 s.",
        run: |bench| Box::pin(idle::run(bench)),
    },
    Scenario {
        name: "webhook",
        title: "Webhooks",
        how: "A full journal, delivered to an endpoint over loopback HTTP, one signed request an event, 8 at once, in order per \
              key. The bare loop sends the same requests, signed, with the same headers, by the same client, without order, \
              cursor or confirmation, to the same receiver; in turn, three times, and the middle one counts. Receiver and \
              sender share the cores.",
        run: |bench| Box::pin(webhook::run(bench)),
    },
];

/// A relay subscribed to `upstream`, with a journal on the disk that is measured.
async fn relay(upstream: &str, journal: &tempfile::TempDir) -> Relay {
    let mut setup = Setup::new(upstream, sapi_sim::DEMO_TOKEN).dir(journal.path());
    setup.upstream_keys = "path_style = \"bare\"".to_owned();
    setup.log = "warn,sapi_relay=info".to_owned();
    Relay::start(&setup).await
}

/// Waits until the journal's last offset is at least `last`.
async fn committed(relay: &Relay, last: u64) -> Result<()> {
    loop {
        let have = offset(&relay.status().await["journal"]["last"]);
        if have >= last {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

//! The scenarios, in the order of the page.

mod backlog;
mod commit;
mod delivery;
mod fanout;
mod idle;
mod intake;
mod kafka;
mod latency;
mod nats;
mod rabbitmq;
mod replay;
mod together;
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

pub(crate) const SCENARIOS: [Scenario; 12] = [
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
        name: "kafka",
        title: "Kafka",
        how: "A full journal into a topic of one partition of Apache Kafka on this machine: acks=all, the idempotent \
              producer, lz4, every delivery report awaited. The bare loop hands records to librdkafka from one thread, \
              as its performance tool does, with the same settings, queue and bodies, keys and headers (a thousand \
              records that the relay wrote, over and over): it reads no journal, makes no record from an event, keeps \
              no cursor. In turn, three times, a new topic each, and the middle one counts. Server and sender share \
              the cores.",
        run: |bench| Box::pin(kafka::run(bench)),
    },
    Scenario {
        name: "nats",
        title: "JetStream",
        how: "A full journal into a stream of nats-server on this machine: on file, with a duplicate window of ten \
              minutes, every acknowledgement awaited. The bare pipeline publishes with async-nats the same subjects, \
              bodies and headers (a thousand messages that the relay wrote, over and over, each with a Nats-Msg-Id of \
              its own, as long as the relay's), up to 8,192 acknowledgements outstanding, the relay's own bound: it \
              reads no journal, makes no message from an event, keeps neither order per key nor a cursor. In turn, \
              three times, into the stream made anew, and the middle one counts. Server and sender share the cores.",
        run: |bench| Box::pin(nats::run(bench)),
    },
    Scenario {
        name: "rabbitmq",
        title: "RabbitMQ",
        how: "A full journal into a durable queue of RabbitMQ on this machine, by a topic exchange: persistent, \
              mandatory, every confirm awaited. The bare pipeline publishes with lapin the same routing keys, bodies \
              and properties (a thousand messages that the relay wrote, over and over), up to 8,192 confirms \
              outstanding, the relay's own bound: it reads no journal, makes no message from an event, looks for no \
              returned one, keeps no cursor. In turn, three times, into the emptied queue, and the middle one counts. \
              Server and sender share the cores.",
        run: |bench| Box::pin(rabbitmq::run(bench)),
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
    Scenario {
        name: "together",
        title: "Every sink together",
        how: "1,000 events a second, each in a write of its own, to Kafka, JetStream, RabbitMQ, a webhook and 20 \
              WebSocket clients at once, for 20 s after 5 s that warm the servers up. Latency is from before the write \
              on the upstream socket to the event's arrival at a consumer of each destination, all in this process. \
              Servers, relay, source and consumers share the machine: p99 is judged where it was less than 80% busy, \
              against a tenth of a second, which people take for at once.",
        run: |bench| Box::pin(together::run(bench)),
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

//! What the scenarios of sinks share: a full journal, a relay that delivers it, and turns beside a bare loop.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use relay_tests::Relay;
use relay_tests::relay::Setup;
use sapi_sim::{Burst, Config, Simulator};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{committed, relay};
use crate::Bench;
use crate::process::Cpu;
use crate::report::{Row, at_least, count};

/// Turns of each; the middle one counts.
const TURNS: usize = 3;
/// How often the relay is asked how far it is: seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(50);
/// Without any event for so long, the destination takes none.
const PATIENCE: Duration = Duration::from_secs(30);
/// A share of the bare loop that every sink has to reach.
const SHARE: f64 = 0.7;

/// How fast somebody was, and what it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    events: f64,
    seconds: f64,
    cpu: Cpu,
}

impl Speed {
    fn rate(&self) -> f64 {
        self.events / self.seconds
    }
}

/// A journal with events in it.
pub(super) async fn filled(bench: &Bench, events: u64) -> Result<TempDir> {
    let burst = Burst {
        events,
        ..Burst::default()
    };
    let config = Config {
        burst: Some(burst),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await?;
    let journal = bench.journal()?;
    let relay = relay(&simulator.ws_url(), &journal).await;
    committed(&relay, events).await?;
    relay.terminate().await;
    simulator.stop().await;
    Ok(journal)
}

/// A relay on a full journal, with one sink that begins at its beginning.
#[derive(Debug)]
pub(super) struct Delivering {
    pub(super) relay: Relay,
    sink: String,
}

/// How far it was, when.
#[derive(Clone, Copy)]
struct Mark {
    events: f64,
    at: Instant,
    cpu: Cpu,
}

impl Delivering {
    /// Starts it, the sink under a name that this journal has no cursor of.
    pub(super) async fn start(journal: &TempDir, keys: &str) -> Self {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let sink = format!("sink{}", NAMES.fetch_add(1, Relaxed));
        // Nobody is there: the upstream brings nothing more.
        let mut setup = Setup::new("ws://127.0.0.1:9", sapi_sim::DEMO_TOKEN).dir(journal.path());
        setup.more = format!("[sinks.{sink}]\nstart_from = \"earliest\"\n{keys}");
        setup.log = "warn,sapi_relay=info".to_owned();
        Self {
            relay: Relay::start(&setup).await,
            sink,
        }
    }

    async fn mark(&self) -> Result<Mark> {
        let series = format!("sapi_relay_sink_delivered_total{{sink=\"{}\"}}", self.sink);
        Ok(Mark {
            events: self.relay.metric(&series).await.unwrap_or(0.0),
            at: Instant::now(),
            cpu: Cpu::of(self.relay.pid())?,
        })
    }

    /// Waits until all are confirmed. What counts lies between the first look at which some were and the last
    /// before all were: neither start nor end is in it.
    async fn all(&self, events: u64) -> Result<Speed> {
        let mut marks: Vec<Mark> = Vec::new();
        let mut moved = Instant::now();
        loop {
            let mark = self.mark().await?;
            let before = marks.last().map_or(0.0, |mark| mark.events);
            if mark.events > before {
                moved = mark.at;
                marks.push(mark);
            }
            if mark.events >= events as f64 {
                break;
            }
            ensure!(
                moved.elapsed() < PATIENCE,
                "the relay stands at {before} events: {:#}",
                self.relay.status().await["sinks"]
            );
            tokio::time::sleep(LOOK).await;
        }
        if marks.len() > 2 {
            marks.pop();
        }
        let (Some(first), Some(last)) = (marks.first(), marks.last()) else {
            anyhow::bail!("nothing was delivered");
        };
        ensure!(last.events > first.events, "too few events to measure");
        Ok(Speed {
            events: last.events - first.events,
            seconds: (last.at - first.at).as_secs_f64(),
            cpu: last.cpu.less(first.cpu),
        })
    }
}

/// The relay's speed through a journal, by a sink with such keys.
pub(super) async fn delivered(journal: &TempDir, events: u64, keys: &str) -> Result<Speed> {
    let delivering = Delivering::start(journal, keys).await;
    let speed = delivering.all(events).await?;
    delivering.relay.terminate().await;
    Ok(speed)
}

/// Runs while a bare loop does: from its first event to the last one's confirmation.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    cpu: Cpu,
}

impl Clock {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            cpu: Cpu::of(std::process::id())?,
            start: Instant::now(),
        })
    }

    pub(super) fn stop(self, events: u64) -> Result<Speed> {
        Ok(Speed {
            events: events as f64,
            seconds: self.start.elapsed().as_secs_f64(),
            cpu: Cpu::since(std::process::id(), self.cpu)?,
        })
    }
}

/// Runs a bare loop on one of the runtime's threads, as the relay's sinks run on its own.
pub(super) async fn aside(
    bare: impl Future<Output = Result<Speed>> + Send + 'static,
) -> Result<Speed> {
    let mut task = JoinSet::new();
    task.spawn(bare);
    let ended = task.join_next().await;
    ended.context("the loop was spawned")??
}

/// The relay and a bare loop by turns, so that both have the same machine and the same server.
#[derive(Debug)]
pub(super) struct Turns {
    relay: Speed,
    bare: Speed,
}

impl Turns {
    /// Takes them; the middle one of each counts.
    pub(super) async fn take(
        mut bare: impl AsyncFnMut() -> Result<Speed>,
        mut relay: impl AsyncFnMut() -> Result<Speed>,
    ) -> Result<Self> {
        let (mut relays, mut bares) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            bares.push(bare().await?);
            relays.push(relay().await?);
        }
        Ok(Self {
            relay: middle(relays),
            bare: middle(bares),
        })
    }

    /// `bare`: what the loop is called.
    pub(super) fn rows(&self, bare: &str) -> Vec<Row> {
        let share = self.relay.rate() / self.bare.rate();
        vec![
            Row::new(
                format!("{bare}, events a second"),
                count(self.bare.rate()),
                "",
            ),
            Row::new("the relay, events a second", count(self.relay.rate()), ""),
            Row::new(
                "the relay's share of it",
                format!("{:.0}%", share * 100.0),
                at_least(share, SHARE, format!("{:.0}%", SHARE * 100.0)),
            ),
            Row::new(
                "CPU of the relay an event, reading the journal included",
                self.relay.cpu.each(self.relay.events),
                "",
            ),
        ]
    }

    /// For loops that have this process to themselves.
    pub(super) fn bare_cpu(&self) -> Row {
        let Speed { cpu, events, .. } = self.bare;
        Row::new("CPU of the bare loop an event", cpu.each(events), "")
    }
}

/// A way of delivering beside the one that is judged.
pub(super) fn beside(what: &str, speed: Speed) -> Row {
    Row::new(format!("{what}, events a second"), count(speed.rate()), "")
}

fn middle(mut of: Vec<Speed>) -> Speed {
    of.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    of.swap_remove(of.len() / 2)
}

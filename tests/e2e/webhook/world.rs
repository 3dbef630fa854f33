//! A simulator, a relay with one webhook sink, a receiver.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use relay_tests::Relay;
use relay_tests::http;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::{Receiver, Request};
use sapi_sim::{Config, Simulator};
use serde_json::Value;

pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(super) const NEXT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the relay's sink is made of: TOML, without its url.
pub(super) fn keys(more: &str) -> String {
    format!(
        "secret = {SECRET:?}\nstart_from = \"earliest\"\nretry_min = \"50ms\"\nretry_max = \"300ms\"\n{more}"
    )
}

/// A relay that delivers to a receiver, and what feeds it.
pub(super) struct World {
    pub(super) simulator: Simulator,
    pub(super) relay: Relay,
    pub(super) setup: Setup,
    pub(super) journal: tempfile::TempDir,
    numbers: AtomicU64,
}

impl World {
    /// A relay whose sink has a url, and more keys.
    pub(super) async fn start(url: &str, keys: &str) -> Self {
        let config = Config {
            rate: 0.0,
            ..Config::default()
        };
        let simulator = Simulator::start(config).await.unwrap();
        let journal = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN).dir(journal.path());
        setup.more = sink(url, keys);
        let relay = Relay::start(&setup).await;
        simulator.wait_until(|sim| sim.connected() == 1).await;
        Self {
            simulator,
            relay,
            setup,
            journal,
            numbers: AtomicU64::new(0),
        }
    }

    /// The same relay again, perhaps with another configuration.
    pub(super) async fn restart(self, url: &str, keys: &str) -> Self {
        let Self {
            simulator,
            relay,
            mut setup,
            journal,
            numbers,
        } = self;
        assert!(relay.terminate().await.success());
        setup.more = sink(url, keys);
        let relay = Relay::start(&setup).await;
        simulator.wait_until(|sim| sim.connected() == 1).await;
        Self {
            simulator,
            relay,
            setup,
            journal,
            numbers,
        }
    }

    /// Rewrites the running relay's configuration.
    pub(super) fn rewrite(&self, url: &str, keys: &str) {
        let path = self.relay.home().join("relay.toml");
        let old = std::fs::read_to_string(&path).unwrap();
        let new = old.replace(&self.setup.more, &sink(url, keys));
        std::fs::write(path, new).unwrap();
    }

    /// Emits an event of an agent, with a note in it; returns its number.
    pub(super) fn emit(&self, agent: &str, note: &str) -> u64 {
        let number = self.numbers.fetch_add(1, Relaxed) + 1;
        let agent = Value::from(agent);
        let json = format!(
            r#"{{"AgentStatusChange":{{"agentId":{agent},"note":"{note}","msgInfo":{{"instanceId":"i","sequenceId":{number},"timestamp":{}}}}}}}"#,
            1_000_000 + number
        );
        self.simulator.emit_raw("AgentStatusChange", json);
        number
    }

    /// Emits so many events, of so many agents in turn.
    pub(super) fn emit_many(&self, count: usize, agents: usize) {
        for number in 0..count {
            self.emit(&format!("agent{}", number % agents), "");
        }
    }

    /// The sink's row of `/v1/status`, once it is as wanted.
    pub(super) async fn row(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let status = self
            .relay
            .status_where(what, |status| row(status).is_some_and(&wanted))
            .await;
        row(&status).unwrap().clone()
    }

    /// The sink's row once it is in a state.
    pub(super) async fn state(&self, state: &str) -> Value {
        self.row(state, |row| row["state"] == state).await
    }

    /// The dead letters.
    pub(super) async fn dead_letters(&self) -> Vec<Value> {
        let url = self.relay.admin("/v1/dead-letters").await;
        let page: Value = http::get(&url).await.unwrap().json().await.unwrap();
        let items = page.get("items").or(page.get("dead_letters"));
        items.unwrap_or(&page).as_array().unwrap().clone()
    }

    /// A metric of the sink.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let series = format!("sapi_relay_{name}{{sink=\"hook\"}}");
        self.relay.metric(&series).await.unwrap_or_default()
    }
}

fn row(status: &Value) -> Option<&Value> {
    let mut sinks = status["sinks"].as_array()?.iter();
    sinks.find(|sink| sink["name"] == "hook")
}

fn sink(url: &str, keys: &str) -> String {
    format!("[sinks.hook]\ntype = \"webhook\"\nurl = {url:?}\n{keys}\n")
}

/// The ids of requests.
pub(super) fn ids(requests: &[Request]) -> Vec<String> {
    let ids = requests.iter().map(|request| request.header("webhook-id"));
    ids.map(ToOwned::to_owned).collect()
}

/// The numbers of the events that it took.
pub(super) fn numbers(receiver: &Receiver) -> Vec<u64> {
    receiver.events().iter().map(|event| event.number).collect()
}

/// A file with a text.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

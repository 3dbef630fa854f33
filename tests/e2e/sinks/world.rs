//! A simulator, a relay with the sinks that a test names, and its operator.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use relay_tests::relay::{Setup, offset};
use relay_tests::servers::receiver::{Answer, Receiver};
use relay_tests::{Relay, Stream, http, soon};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use serde_json::Value;
use tempfile::TempDir;

/// All of it.
pub(super) struct World {
    pub(super) simulator: Simulator,
    pub(super) relay: Relay,
    pub(super) setup: Setup,
    pub(super) home: TempDir,
    numbers: AtomicU64,
}

impl World {
    /// A relay with sections of sinks, as TOML; they are made from the folder for their files.
    pub(super) async fn start(sinks: impl FnOnce(&Path) -> String) -> Self {
        let simulator = Simulator::start(Config::default()).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut setup =
            Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(&home.path().join("journal"));
        setup.more = sinks(home.path());
        let relay = again(&simulator, &setup).await;
        Self {
            simulator,
            relay,
            setup,
            home,
            numbers: AtomicU64::new(0),
        }
    }

    /// SIGTERM, and the same relay again.
    pub(super) async fn restart(self) -> Self {
        assert!(self.relay.terminate().await.success());
        let relay = again(&self.simulator, &self.setup).await;
        Self { relay, ..self }
    }

    /// SIGKILL, and the same relay again.
    pub(super) async fn kill(self) -> Self {
        self.relay.kill().await;
        let relay = again(&self.simulator, &self.setup).await;
        Self { relay, ..self }
    }

    /// SIGHUP with other sections of sinks: whether the relay took them.
    pub(super) async fn reload(&mut self, sinks: &str) -> bool {
        let fresh = Setup {
            more: sinks.to_owned(),
            ..self.setup.clone()
        };
        let taken = self.relay.reload(&fresh).await;
        if taken {
            self.setup = fresh;
        }
        taken
    }

    /// Emits an event of a class and a type; returns its number.
    pub(super) fn emit_as(&self, class: &str, event: &str, note: &str) -> u64 {
        let number = self.numbers.fetch_add(1, Relaxed) + 1;
        let json = format!(
            r#"{{"{class}":{{"event":"{event}","agentId":"ada","note":"{note}","msgInfo":{{"instanceId":"i","sequenceId":{number},"timestamp":{}}}}}}}"#,
            1_000_000 + number
        );
        self.simulator.emit_raw(class, json);
        number
    }

    /// Emits an event with a note in it; returns its number.
    pub(super) fn emit(&self, note: &str) -> u64 {
        self.emit_as("Interaction", "InteractionCreated", note)
    }

    /// Emits so many events.
    pub(super) fn emit_many(&self, count: usize) {
        for _ in 0..count {
            self.emit("");
        }
    }

    /// A sink's row of `/v1/status`, once it is as wanted.
    pub(super) async fn sink(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let is_wanted = |status: &Value| row(status, name).is_some_and(&wanted);
        let status = self.relay.status_where(what, is_wanted).await;
        row(&status, name).unwrap().clone()
    }

    /// The same, once it is in a state.
    pub(super) async fn state(&self, name: &str, state: &str) -> Value {
        self.sink(name, state, |row| row["state"] == state).await
    }

    /// Waits until everything that was emitted is in the journal; returns the offset of the last of it,
    /// which notices stand before.
    pub(super) async fn arrived(&self) -> u64 {
        let url = self.relay.downstream("/v1/stream?from=earliest").await;
        let mut stream = Stream::connect(&url).await;
        let last = format!("\"sequenceId\":{},", self.numbers.load(Relaxed));
        loop {
            let event = stream.next_event().await;
            if !event.is_notice() && event.data.get().contains(&last) {
                return offset(&event.relaycursor.into());
            }
        }
    }

    /// Waits until a sink has passed everything that was emitted.
    pub(super) async fn settled(&self, name: &str) {
        let last = self.arrived().await;
        let settled = |row: &Value| row["lag_events"] == 0 && offset(&row["cursor"]) >= last;
        self.sink(name, "everything settled", settled).await;
    }

    /// When the subscription was connected.
    pub(super) async fn connected_at(&self) -> String {
        let at = |status: &Value| {
            let at = status["subscriptions"][0]["connected_at"].as_str();
            at.map(ToOwned::to_owned)
        };
        // The simulator knows of a connection before the relay shows it.
        let connected = |status: &Value| at(status).is_some();
        at(&self.relay.status_where("connected", connected).await).unwrap()
    }

    /// A metric of a sink.
    pub(super) async fn metric(&self, name: &str, sink: &str) -> Option<f64> {
        let series = format!("sapi_relay_{name}{{sink=\"{sink}\"}}");
        self.relay.metric(&series).await
    }

    /// All of `/metrics`.
    pub(super) async fn metrics(&self) -> String {
        let url = self.relay.admin("/metrics").await;
        http::get(&url).await.unwrap().text().await.unwrap()
    }

    /// What a command against the relay says, which succeeds.
    pub(super) async fn told(&self, command: &[&str]) -> String {
        let output = self.relay.command(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that fails.
    pub(super) async fn refused(&self, command: &[&str]) -> String {
        let output = self.relay.command(command).await;
        assert!(!output.status.success(), "{command:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The notes of the dead letters of a sink, by command.
    pub(super) async fn letters(&self, command: &str, sink: &str) -> Vec<Value> {
        let told = self.told(&["dead-letters", command, "--sink", sink]).await;
        let lines = told.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A relay that is subscribed.
async fn again(simulator: &Simulator, setup: &Setup) -> Relay {
    let relay = Relay::start(setup).await;
    let subscribed = simulator.wait_until(|simulator| simulator.connected() == 1);
    soon("a subscription", subscribed).await;
    relay
}

fn row<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let mut sinks = status["sinks"].as_array()?.iter();
    sinks.find(|sink| sink["name"] == name)
}

/// A section of a file sink.
pub(super) fn file(name: &str, path: &Path, keys: &str) -> String {
    let path = path.join(name).display().to_string();
    format!("[sinks.{name}]\ntype = \"file\"\npath = {path:?}\n{keys}\n")
}

/// A section of a webhook sink with short waits.
pub(super) fn hook(name: &str, url: &str, keys: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = \"webhook\"\nurl = {url:?}\nstart_from = \"earliest\"\nretry_min = \"50ms\"\nretry_max = \"300ms\"\n{keys}\n"
    )
}

/// A receiver that refuses, for good, what holds the word poison.
pub(super) async fn refusing() -> Receiver {
    let receiver = Receiver::start().await;
    receiver.answers(|request| {
        if request.holds("poison") {
            Answer::status(422).body("no such agent")
        } else {
            Answer::ok()
        }
    });
    receiver
}

/// The numbers of the events that it took.
pub(super) fn numbers(receiver: &Receiver) -> Vec<u64> {
    receiver.events().iter().map(|event| event.number).collect()
}

/// The lines of a file sink.
pub(super) fn lines(path: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path.join(name)).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The types of CloudEvents.
pub(super) fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    types.collect()
}

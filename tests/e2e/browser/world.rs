//! A simulator, a relay with a webhook sink, a receiver, and a browser that shows the dashboard.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use relay_tests::browser::Browser;
use relay_tests::proxy::Proxy;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::Receiver;
use relay_tests::{Relay, soon};
use sapi_sim::{Config, Simulator};
use tempfile::TempDir;

/// The subscription that the tests look at.
pub(super) const SUBSCRIPTION: &str = "[data-subscription='relay_a']";
/// The webhook sink.
pub(super) const HOOK: &str = "[data-sink='hook']";

/// All of it.
pub(super) struct World {
    pub(super) simulator: Simulator,
    /// Between the relay and the simulator.
    pub(super) proxy: Proxy,
    pub(super) receiver: Receiver,
    pub(super) relay: Relay,
    pub(super) browser: Browser,
    _files: TempDir,
    numbers: AtomicU64,
}

impl World {
    /// Starts it, with nothing emitted yet, and more keys of `[admin]`.
    pub(super) async fn start(subscriptions: usize, admin: &str) -> Self {
        let simulator = Simulator::start(quiet()).await.unwrap();
        let proxy = Proxy::start(simulator.addr()).await;
        let receiver = Receiver::start().await;
        let files = tempfile::tempdir().unwrap();
        let upstream = format!("ws://{}", proxy.address());
        let mut setup = Setup::new(&upstream, sapi_sim::DEMO_TOKEN).subscriptions(subscriptions);
        setup.upstream_keys = "backoff.network_max = \"1s\"".to_owned();
        setup.more = format!(
            "[sinks.hook]\ntype = \"webhook\"\nurl = {url:?}\nstart_from = \"earliest\"\nretry_min = \"50ms\"\nretry_max = \"300ms\"\n\
             [sinks.archive]\ntype = \"file\"\npath = {path:?}\n",
            url = receiver.url("/hook"),
            path = files.path().join("events.ndjson").display().to_string(),
        );
        setup.admin_keys = admin.to_owned();
        let (relay, browser) = tokio::join!(Relay::start(&setup), Browser::start());
        let wanted = subscriptions;
        let connected = simulator.wait_until(|sim| sim.connected() == wanted);
        soon("the subscriptions", connected).await;
        Self {
            simulator,
            proxy,
            receiver,
            relay,
            browser,
            _files: files,
            numbers: AtomicU64::new(0),
        }
    }

    /// Shows the dashboard.
    pub(super) async fn show(&self) {
        self.browser.open(&self.relay.admin("/").await).await;
        self.browser
            .until("the board", "!document.getElementById('board').hidden")
            .await;
    }

    /// Stops the simulator. Another one stands where the proxy does not lead to yet.
    pub(super) async fn stop_simulator(&mut self) {
        let other = Simulator::start(quiet()).await.unwrap();
        std::mem::replace(&mut self.simulator, other).stop().await;
    }

    /// Emits a change of an agent's status, with a note in it.
    pub(super) fn emit(&self, agent: &str, note: &str) {
        let number = self.numbers.fetch_add(1, Relaxed) + 1;
        let json = serde_json::json!({ "AgentStatusChange": {
            "agentId": agent, "note": note,
            "msgInfo": { "instanceId": "i", "sequenceId": number, "timestamp": 1_000_000 + number },
        }});
        self.simulator
            .emit_raw("AgentStatusChange", json.to_string());
    }

    /// Asserts that the page has nothing to complain of.
    pub(super) async fn assert_no_complaint(&self) {
        assert_eq!(self.browser.console().await, Vec::<String>::new());
    }
}

/// A simulator that emits what it is told to.
pub(super) fn quiet() -> Config {
    Config {
        rate: 0.0,
        ..Config::default()
    }
}

/// The text of the part of a page below a selector, as an expression.
pub(super) fn text(css: &str) -> String {
    format!("(document.querySelector({css:?})?.innerText ?? '')")
}

/// The number of elements, as an expression.
pub(super) fn number(css: &str) -> String {
    format!("document.querySelectorAll({css:?}).length")
}

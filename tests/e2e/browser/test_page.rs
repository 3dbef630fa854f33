//! The test page of SAPI, the same on the relay and on the simulator.

use relay_tests::browser::Browser;
use relay_tests::relay::Setup;
use relay_tests::{Relay, soon};
use sapi_sim::{DEMO_TOKEN, Simulator};

use super::world::{quiet, text};

const CLIENT_TOKEN: &str = "page-token";
const PAGE: &str = "/api/streaming/v1/TenantUpdates.jsp";

fn emit(simulator: &Simulator, number: u64) {
    let json = format!(
        r#"{{"AgentStatusChange":{{"agentId":"agent{number}","msgInfo":{{"instanceId":"i","sequenceId":{number},"timestamp":{}}}}}}}"#,
        1_000_000 + number
    );
    simulator.emit_raw("AgentStatusChange", json);
}

/// The agents of the updates that the page shows, the newest first.
const AGENTS: &str =
    "[...document.getElementById('updates').textContent.matchAll(/agent\\d+/g)].join()";

async fn page_contract(browser: &Browser, simulator: &Simulator, name: &str) {
    let shows = |wanted: &str| format!("{AGENTS} === {wanted:?}");
    let says = |wanted: &str| format!("{}.startsWith({wanted:?})", text("#state"));
    browser.fill("#subs", "page_test").await;
    browser.click("#subscribe").await;
    browser.until("a subscription", &says("Subscribed.")).await;
    emit(simulator, 1);
    emit(simulator, 2);
    browser.until("the updates", &shows("agent2,agent1")).await;
    browser.screenshot(name).await;
    browser.click("#unsubscribe").await;
    browser.until("the end", &says("Unsubscribed.")).await;
    browser.click("#clear").await;
    emit(simulator, 3);
    emit(simulator, 4);
    browser.click("#subscribe").await;
    browser.until("a subscription", &says("Subscribed.")).await;
    browser
        .until("what was stored", &shows("agent4,agent3"))
        .await;
    emit(simulator, 5);
    browser
        .until("what comes now", &shows("agent5,agent4,agent3"))
        .await;
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_page_on_the_simulator() {
    let simulator = Simulator::start(quiet()).await.unwrap();
    let browser = Browser::start().await;
    let page = format!("http://acmecorp01:{DEMO_TOKEN}@{}{PAGE}", simulator.addr());
    browser.open(&page).await;
    let hidden = browser.run("return document.querySelector('label.token').offsetParent === null");
    assert_eq!(hidden.await, true, "no second login");
    page_contract(&browser, &simulator, "test-page-simulator").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_page_on_the_relay() {
    let simulator = Simulator::start(quiet()).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.downstream_keys =
        format!("[sinks.downstream.clients.page]\ntoken = \"{CLIENT_TOKEN}\"\n");
    let (relay, browser) = tokio::join!(Relay::start(&setup), Browser::start());
    let connected = simulator.wait_until(|sim| sim.connected() == 1);
    soon("the relay's subscription", connected).await;
    browser.open(&relay.downstream(PAGE).await).await;
    browser.fill("#tenant", "acmecorp01").await;
    browser.fill("#token", "guess").await;
    browser.click("#subscribe").await;
    let refused = format!("{}.startsWith('Refused')", text("#state"));
    browser.until("the refusal", &refused).await;
    // That a login failed is for the console; from here on it has to be silent.
    assert_eq!(browser.console().await.len(), 1);
    browser.fill("#token", CLIENT_TOKEN).await;
    page_contract(&browser, &simulator, "test-page-relay").await;
    browser.close().await;
}

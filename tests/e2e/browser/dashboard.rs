//! The dashboard as a whole: it loads, in both themes and on a phone, and shows a subscription's fall.

use relay_tests::client::Stream;
use relay_tests::servers::receiver::Answer;
use tokio::task::JoinSet;

use super::world::{SUBSCRIPTION, World, number, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_the_relay_in_both_themes_and_on_a_phone() {
    let world = World::start(2, "").await;
    let browser = &world.browser;
    let url = world.relay.downstream("/v1/stream").await;
    let mut client = Stream::connect(&url.replacen("http", "ws", 1)).await;
    let mut reading = JoinSet::new();
    reading.spawn(async move { while client.next_text().await.is_some() {} });
    world.simulator.set_rate(40.0);
    // One event that the webhook does not want, so that there is a dead letter to be seen.
    world.receiver.answers(|request| {
        if request.holds("unwanted") {
            Answer::status(400).body("the note is not wanted")
        } else {
            Answer::ok()
        }
    });
    world.emit("unwanted", "unwanted");
    browser.prefer("light").await;
    world.show().await;
    for (what, expression) in [
        ("a title", "document.title === 'sapi-relay'".to_owned()),
        ("health", format!("{} === 'Ready'", text("#health"))),
        (
            "the tenant",
            format!("{} === 'acmecorp01'", text("#tenant")),
        ),
        (
            "both subscriptions",
            format!("{} === 2", number("#subscriptions .state[data-tone=good]")),
        ),
        (
            "the countdown",
            format!("/Expected cut in \\d+/.test({})", text(SUBSCRIPTION)),
        ),
        (
            "the last byte",
            format!(
                "/Last byte\\n(just now|\\d+ s ago)/.test({})",
                text(SUBSCRIPTION)
            ),
        ),
        ("two sinks", format!("{} === 2", number("#sinks > li"))),
        (
            "the client",
            format!("/Connected\\n1/.test({})", text("#clients")),
        ),
        (
            "a dead letter",
            format!("/the note is not wanted/.test({})", text("#letters")),
        ),
        ("types", format!("{} > 3", number("#rates li"))),
        ("plots", format!("{} >= 4", number(".plot canvas"))),
        (
            "a rate",
            format!(
                "Number({}) > 10",
                text("#figures .figure:first-child .value")
            ),
        ),
        ("the tail", format!("{} > 20", number("#tail tr"))),
    ] {
        browser.until(what, &expression).await;
    }
    // Plots that show something.
    browser.until("half a minute's samples", "performance.getEntriesByType('resource').filter((it) => it.name.includes('/v1/overview')).length > 8").await;
    browser.screenshot("dashboard-light").await;
    browser.prefer("dark").await;
    browser
        .until(
            "the dark theme",
            "document.documentElement.dataset.theme === 'dark'",
        )
        .await;
    browser.screenshot("dashboard-dark").await;
    browser.click("#theme").await;
    browser
        .until(
            "the chosen theme",
            "document.documentElement.dataset.theme === 'light'",
        )
        .await;
    browser.click("#theme").await;
    browser.on_a_phone().await;
    browser
        .until(
            "a page as wide as the phone",
            "innerWidth <= 400 && document.documentElement.scrollWidth <= innerWidth",
        )
        .await;
    browser.screenshot("dashboard-phone").await;
    world.assert_no_complaint().await;
    world.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_down_and_comes_back() {
    let mut world = World::start(1, "").await;
    let pill = text(&format!("{SUBSCRIPTION} .state"));
    world.show().await;
    world
        .browser
        .until("streaming", &format!("{pill} === 'streaming'"))
        .await;
    world.stop_simulator().await;
    let browser = &world.browser;
    browser
        .until(
            "the fall",
            &format!("{pill}.startsWith('backing off: network')"),
        )
        .await;
    browser
        .until(
            "its figure",
            &format!("{}.includes('0/1')", text("#figures")),
        )
        .await;
    browser
        .until(
            "its trouble",
            &format!("{}.includes('Last trouble')", text(SUBSCRIPTION)),
        )
        .await;
    browser.screenshot("subscription-down").await;
    world.proxy.retarget(world.simulator.addr());
    browser
        .until("its return", &format!("{pill} === 'streaming'"))
        .await;
    browser
        .until(
            "the reconnect",
            &format!("/Reconnects\\n[1-9]/.test({})", text(SUBSCRIPTION)),
        )
        .await;
    browser
        .until(
            "a notice of it",
            &format!("{}.includes('disconnected')", text("#gaps")),
        )
        .await;
    world.assert_no_complaint().await;
    world.browser.close().await;
}

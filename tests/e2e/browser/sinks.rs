//! Sinks on the dashboard: lag that grows and falls, pausing, dead letters that are retried.

use relay_tests::servers::receiver::Answer;

use super::world::{HOOK, World, number, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_falls_behind_and_catches_up() {
    let world = World::start(1, "").await;
    let browser = &world.browser;
    let pill = text(&format!("{HOOK} .state"));
    let lag = |events: u32| format!("{}.includes('Lag\\n{events} event')", text(HOOK));
    world.show().await;
    browser
        .until("running", &format!("{pill} === 'running'"))
        .await;
    world
        .receiver
        .answers_all(Answer::status(503).body("<b>out of order</b>"));
    for number in 0..30 {
        world.emit(&format!("agent{number}"), "");
    }
    browser.until("lag", &lag(30)).await;
    browser
        .until("the state", &format!("{pill} === 'retrying'"))
        .await;
    browser
        .until(
            "the error",
            &format!("{}.includes('503')", text(&format!("{HOOK} .trouble"))),
        )
        .await;
    browser.screenshot("sink-retrying").await;
    world.receiver.answers_all(Answer::ok());
    browser.until("no lag", &lag(0)).await;
    browser
        .until("the state", &format!("{pill} === 'running'"))
        .await;
    world.receiver.accepted(30).await;

    browser
        .click(&format!("{HOOK} button[aria-label='pause hook']"))
        .await;
    browser
        .until("the pause", &format!("{pill} === 'paused'"))
        .await;
    world.emit("late", "");
    browser.until("lag", &lag(1)).await;
    browser
        .click(&format!("{HOOK} button[aria-label='resume hook']"))
        .await;
    browser.until("no lag", &lag(0)).await;
    world.receiver.accepted(31).await;

    world
        .receiver
        .answers_all(Answer::status(404).body("nobody is here"));
    world.emit("lost", "");
    browser
        .until("the block", &format!("{pill} === 'blocked'"))
        .await;
    let remedy = text(&format!("{HOOK} .remedy"));
    browser.until("a remedy", &format!("{remedy} !== ''")).await;
    browser.screenshot("sink-blocked").await;
    world.assert_no_complaint().await;
    world.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_retried_and_hostile_texts_stay_texts() {
    const HOSTILE: &str =
        "<img src=x onerror=\"window.harmed = 1\"><script>window.harmed = 1</script>";
    let world = World::start(1, "").await;
    let browser = &world.browser;
    world
        .receiver
        .answers_all(Answer::status(400).body(HOSTILE));
    world.show().await;
    world.emit(HOSTILE, HOSTILE);
    world.emit("second", "");
    browser
        .until("both", &format!("{} === 2", number("#letters tr")))
        .await;
    browser
        .click("#letters tr:first-child td.actions button:first-child")
        .await;
    browser
        .until(
            "its bytes",
            &format!("{}.includes('onerror')", text("#details-text")),
        )
        .await;
    browser.click("#details form button").await;
    browser
        .until(
            "the tail",
            &format!("{}.includes('onerror')", text("#tail")),
        )
        .await;
    let harmed = browser.run("return [Boolean(window.harmed), document.querySelectorAll('img[src=x], body script').length]");
    assert_eq!(harmed.await, serde_json::json!([false, 0]));

    world.receiver.answers_all(Answer::ok());
    browser
        .click("#letters tr:first-child td.actions button:last-child")
        .await;
    browser
        .until(
            "the answer",
            &format!("{}.includes('1 event delivered')", text("#letters-note")),
        )
        .await;
    browser
        .until("one less", &format!("{} === 1", number("#letters tr")))
        .await;
    browser.click("#letters-bar button").await;
    browser
        .until("none", &format!("{} === 0", number("#letters tr")))
        .await;
    let ids = world.receiver.events().len();
    assert_eq!(ids, 2, "each of them once");
    world.assert_no_complaint().await;
    world.browser.close().await;
}

//! The dashboard of a relay with an admin token.

use relay_tests::http;

use super::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_dashboard_and_stays_out_of_reach() {
    let world = World::start(1, "token = \"letmein\"").await;
    let browser = &world.browser;
    let url = world.relay.admin("/").await;
    assert_eq!(http::get(&url).await.unwrap().status(), 401);
    browser.open(&url).await;
    browser
        .until("the form", "!document.getElementById('login').hidden")
        .await;
    assert_eq!(
        browser
            .run("return document.getElementById('board').hidden")
            .await,
        true
    );
    browser.screenshot("login").await;
    browser.fill("#token", "guess").await;
    browser.click("#login button").await;
    browser
        .until(
            "the refusal",
            &format!("{} === 'wrong admin token'", text("#login-refusal")),
        )
        .await;
    browser.fill("#token", "letmein").await;
    browser.click("#login button").await;
    let streaming = format!("{}.includes('streaming')", text("#subscriptions"));
    browser.until("the board", &streaming).await;
    world.emit("anna", "");
    browser
        .until("the tail", &format!("{}.includes('anna')", text("#tail")))
        .await;
    browser.reload().await;
    browser.until("the board again", &streaming).await;
    let seen = browser.run("return document.cookie + JSON.stringify(localStorage) + document.documentElement.outerHTML");
    assert!(!seen.await.as_str().unwrap().contains("letmein"));
    assert_eq!(browser.run("return document.cookie").await, "");
    browser
        .click("#sinks li[data-sink='hook'] button[aria-label='pause hook']")
        .await;
    browser
        .until(
            "the pause",
            &format!("{}.includes('paused')", text("#sinks")),
        )
        .await;
    browser.click("#logout").await;
    browser
        .until("the form", "!document.getElementById('login').hidden")
        .await;
    let locked = browser.run("return fetch('/v1/status').then((answer) => answer.status)");
    assert_eq!(locked.await, 401);
    world.browser.close().await;
}

//! The live tail of the dashboard.

use relay_tests::load;
use serde_json::Value;

use super::world::{World, number, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_filters_pauses_and_shows_an_event_whole() {
    let world = World::start(1, "").await;
    let browser = &world.browser;
    let keys = "[...document.querySelectorAll('#tail tr:not(.notice) td:nth-child(3)')].map((it) => it.textContent).join()";
    let shows = |wanted: &str| format!("{keys} === {wanted:?}");
    world.show().await;
    world.emit("anna", "billing");
    world.emit("bert", "support");
    world.emit("cleo", "billing");
    browser
        .until("all, the newest first", &shows("cleo,bert,anna"))
        .await;
    browser.fill("#tail-text", "BILL agentstatus").await;
    browser.until("two of them", &shows("cleo,anna")).await;
    world.emit("dora", "support");
    world.emit("emil", "billing");
    browser.until("what passes", &shows("emil,cleo,anna")).await;

    browser.click("#tail-pause").await;
    world.emit("fred", "billing");
    browser
        .until(
            "what waits",
            &format!("{}.includes('paused, 1 event waiting')", text("#tail-note")),
        )
        .await;
    assert_eq!(
        browser.run(&format!("return {keys}")).await,
        "emil,cleo,anna"
    );
    browser.click("#tail-pause").await;
    browser
        .until("what has waited", &shows("fred,emil,cleo,anna"))
        .await;

    browser.click("#tail tr:first-child button").await;
    browser
        .until(
            "all of it",
            &format!(
                "{}.includes('\"note\": \"billing\"')",
                text("#details-text")
            ),
        )
        .await;
    browser.click("#details form button").await;
    browser.fill("#tail-text", "").await;
    browser.fill("#tail-types", "Interaction/*\n").await;
    world.emit("gina", "");
    world.simulator.emit(500);
    browser
        .until(
            "interactions",
            &format!("{} > 5", number("#tail tr:not(.notice)")),
        )
        .await;
    let others = browser.run("return [...document.querySelectorAll('#tail tr:not(.notice)')].filter((row) => row.event.class !== 'Interaction').length");
    assert_eq!(others.await, 0);
    world.assert_no_complaint().await;
    browser.fill("#tail-types", "a,,b\n").await;
    browser
        .until(
            "why not",
            &format!("{}.includes('types:')", text("#tail-note")),
        )
        .await;
    world.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_stays_smooth_at_a_thousand_events_a_second() {
    const EVENTS: u64 = 8_000;
    let _alone = load::alone().await;
    let world = World::start(1, "").await;
    let browser = &world.browser;
    world.show().await;
    world.simulator.set_rate(1_000.0);
    browser
        .until("a full tail", &format!("{} === 100", number("#tail tr")))
        .await;
    browser
        .run("window.frames_ = { count: 0, longest: 0, rows: 0, from: performance.now(), last: performance.now() };
              const tick = (now) => {
                  const it = window.frames_;
                  it.count += 1;
                  it.longest = Math.max(it.longest, now - it.last);
                  it.last = now;
                  it.rows = Math.max(it.rows, document.getElementById('tail').childElementCount);
                  requestAnimationFrame(tick);
              };
              requestAnimationFrame(tick);")
        .await;
    let shown = || async {
        let text = browser.text("#tail-note").await;
        let count: String = text
            .split(" event")
            .next()
            .unwrap_or_default()
            .replace(',', "");
        count.parse::<u64>().unwrap_or(0)
    };
    let before = shown().await;
    relay_tests::until("events enough", || async {
        (shown().await >= before + EVENTS).then_some(())
    })
    .await;
    let frames = browser
        .run("return { ...window.frames_, ms: performance.now() - window.frames_.from }")
        .await;
    let of = |name: &str| frames.get(name).and_then(Value::as_f64).unwrap();
    let rate = of("count") / (of("ms") / 1000.0);
    println!(
        "{rate:.0} frames a second, the longest {:.0} ms, {:.0} events a second",
        of("longest"),
        1000.0 * EVENTS as f64 / of("ms")
    );
    assert!(of("rows") <= 100.0, "{frames}");
    // Sixty where the machine is free; what runs beside this takes its part. A page that drew each event
    // by itself, or kept its rows, would stand still.
    assert!(rate >= 2.0, "{frames}");
    assert!(of("longest") < 3_000.0, "{frames}");
    world.assert_no_complaint().await;
    world.browser.close().await;
}

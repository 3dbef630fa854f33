//! What the relay makes of answers, seen from outside: state, remedy, log, metric, dead letter.

use std::time::Duration;

use relay_tests::servers::receiver::{Answer, Receiver};
use rustix::process::Signal;

use super::world::{NEXT_SECRET, SECRET, World, keys, numbers, write};

/// An endpoint that answers in one way blocks the sink with a remedy that holds a word; then it goes on.
async fn blocks(answer: Answer, named: &str, remedy: &str) -> World {
    let receiver = Receiver::start().await;
    receiver.answers_all(answer);
    let more = "headers.authorization = \"Bearer hunter2hunter2\"";
    let world = World::start(&receiver.url("/hook?token=hunter3hunter3"), &keys(more)).await;
    world.emit_many(3, 1);
    let row = world.state("blocked").await;
    let error = &row["last_error"];
    assert!(error["text"].as_str().unwrap().contains(named), "{error}");
    assert!(
        error["remedy"].as_str().unwrap().contains(remedy),
        "{error}"
    );
    let log = world.relay.log();
    assert!(log.contains(named) && log.contains(remedy), "{log}");
    let status = world.relay.status().await.to_string();
    for secret in ["hunter2hunter2", "hunter3hunter3", SECRET] {
        assert!(
            !log.contains(secret) && !status.contains(secret),
            "{log}\n{status}"
        );
    }
    let series = "sapi_relay_sink_state{sink=\"hook\",state=\"blocked\"}";
    assert_eq!(world.relay.metric(series).await, Some(1.0));
    assert!(world.metric("sink_up").await < 0.5);
    receiver.answers_all(Answer::ok());
    receiver.accepted(3).await;
    world.state("running").await;
    assert_eq!(numbers(&receiver), [1, 2, 3]);
    let first = &receiver.requests()[0];
    assert_eq!(first.header("authorization"), "Bearer hunter2hunter2");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_block_with_a_remedy() {
    // It even says what it was sent.
    let echo = format!("no such user: Bearer hunter2hunter2, {SECRET}");
    blocks(
        Answer::status(401).body(&echo),
        "401 Unauthorized",
        "secret",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_content_type_blocks_with_a_remedy() {
    blocks(Answer::status(415), "415 Unsupported Media Type", "format").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start().await;
    let to = elsewhere.url("/hook?token=hunter3hunter3");
    let answer = Answer::status(307).header("location", &to);
    blocks(answer, "307 Temporary Redirect, to http://", "url").await;
    assert_eq!(elsewhere.counts().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_disables_across_a_restart_until_the_url_changes() {
    let receiver = Receiver::start().await;
    receiver.answers_all(Answer::status(410));
    let world = World::start(&receiver.url("/old"), &keys("")).await;
    world.emit_many(3, 1);
    let row = world.state("disabled").await;
    assert!(!row["last_error"]["remedy"].as_str().unwrap().is_empty());
    let asked = receiver.counts().requests;
    receiver.answers_all(Answer::ok());
    let world = world.restart(&receiver.url("/old"), &keys("")).await;
    world.emit_many(3, 1);
    let row = world
        .row("disabled, and behind", |row| {
            row["lag_events"].as_u64() >= Some(6)
        })
        .await;
    assert_eq!(row["state"], "disabled");
    assert_eq!(receiver.counts().requests, asked, "nobody asked again");
    let world = world.restart(&receiver.url("/new"), &keys("")).await;
    receiver.accepted(6).await;
    world.state("running").await;
    assert_eq!(numbers(&receiver), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_becomes_a_dead_letter_and_the_rest_goes_on() {
    let receiver = Receiver::start().await;
    receiver.answers(|request| {
        if request.holds("poison") {
            Answer::status(422).body("\u{1b}[31mno such\r\nfield")
        } else {
            Answer::ok()
        }
    });
    let world = World::start(&receiver.url("/hook"), &keys("")).await;
    for number in 0..30 {
        let note = if number % 10 == 4 { "poison" } else { "" };
        world.emit("ada", note);
    }
    receiver.accepted(27).await;
    world.row("all settled", |row| row["lag_events"] == 0).await;
    let wanted: Vec<u64> = (1..=30).filter(|number| number % 10 != 5).collect();
    assert_eq!(numbers(&receiver), wanted);
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert_eq!(
            letter["reason"],
            "422 Unprocessable Entity: [31mno such field"
        );
        assert_eq!(letter["sink"], "hook");
    }
    assert!((world.metric("sink_rejected_total").await - 3.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_is_split_until_the_event_is_found() {
    let receiver = Receiver::start().await;
    receiver.answers(|request| {
        if request.holds("poison") {
            Answer::status(400).body("bad")
        } else if request.body.len() > 4_000 {
            Answer::status(413)
        } else {
            Answer::ok()
        }
    });
    let more = "mode = \"batch\"\nbatch_events = 64";
    let world = World::start(&receiver.url("/hook"), &keys(more)).await;
    for number in 0..200 {
        let note = if number == 77 { "poison" } else { "" };
        world.emit(&format!("agent{}", number % 5), note);
    }
    world.emit("huge", &"x".repeat(5_000));
    world.emit("ada", "");
    relay_tests::until("the last event", || async {
        numbers(&receiver).contains(&202).then_some(())
    })
    .await;
    world.row("all settled", |row| row["lag_events"] == 0).await;
    let wanted: Vec<u64> = (1..=202)
        .filter(|number| ![78, 201].contains(number))
        .collect();
    assert_eq!(numbers(&receiver), wanted, "in order, each once");
    let letters = world.dead_letters().await;
    let reasons: Vec<_> = letters
        .iter()
        .map(|letter| letter["reason"].as_str().unwrap())
        .collect();
    assert_eq!(letters.len(), 2, "{reasons:?}");
    assert!(reasons.contains(&"400 Bad Request: bad"), "{reasons:?}");
    assert!(reasons.contains(&"413 Payload Too Large"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_or_dribbles_holds_nobody_up() {
    let receiver = Receiver::start().await;
    receiver.answers_all(Answer::hang());
    let world = World::start(&receiver.url("/hook"), &keys("timeout = \"500ms\"")).await;
    world.emit_many(20, 4);
    let row = world.state("retrying").await;
    let text = row["last_error"]["text"].as_str().unwrap();
    assert!(text.contains("within 500ms"), "{text}");
    receiver.answers_all(Answer::status(500).stuck());
    let named = |row: &serde_json::Value| {
        row["last_error"]["text"]
            .as_str()
            .unwrap()
            .contains("500 Internal")
    };
    world.row("an answer whose body never ends", named).await;
    // What the head says counts: nothing is sent again for the sake of its body.
    receiver.answers_all(Answer::ok().stuck());
    receiver.accepted(20).await;
    world
        .row("all delivered", |row| row["lag_events"] == 0)
        .await;
    let distinct = numbers(&receiver).len();
    assert_eq!(distinct, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_costs_no_memory() {
    let receiver = Receiver::start().await;
    receiver.answers_all(Answer::status(500).endless());
    let world = World::start(&receiver.url("/hook"), &keys("")).await;
    world.emit_many(50, 50);
    receiver.asked(20).await;
    receiver.answers_all(Answer::ok().endless());
    receiver.accepted(50).await;
    world
        .row("all delivered", |row| row["lag_events"] == 0)
        .await;
    let peak = world.relay.peak_memory() >> 20;
    assert!(peak < 128, "{peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_with_two_signatures() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "secret", &format!("{SECRET}\n"));
    let own = keys(&format!("secret_file = {file:?}"));
    let own = own.replace(&format!("secret = {SECRET:?}\n"), "");
    let url = receiver.url("/hook");
    let world = World::start(&url, &own).await;
    world.emit("ada", "");
    receiver.accepted(1).await;
    write(
        folder.path(),
        "secret",
        &format!("{NEXT_SECRET}\n{SECRET}\n"),
    );
    world.relay.signal(Signal::HUP);
    relay_tests::until("both signatures", || async {
        let number = world.emit("ada", "");
        receiver.accepted(usize::try_from(number).unwrap()).await;
        let requests = receiver.taken();
        let last = requests.last().unwrap();
        assert!(last.is_signed_by(SECRET));
        last.is_signed_by(NEXT_SECRET).then_some(())
    })
    .await;
    let first = &receiver.taken()[0];
    assert!(first.is_signed_by(SECRET) && !first.is_signed_by(NEXT_SECRET));
    assert!(!first.is_signed_by("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    // The list in the configuration is the same thing.
    let both = format!("secret = [{NEXT_SECRET:?}, {SECRET:?}]");
    world.rewrite(
        &url,
        &own.replace(&format!("secret_file = {file:?}"), &both),
    );
    write(folder.path(), "secret", "");
    world.relay.signal(Signal::HUP);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !world.relay.log().contains("\"changed\"") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let number = world.emit("ada", "");
    receiver.accepted(usize::try_from(number).unwrap()).await;
    let last = receiver.taken().pop().unwrap();
    assert!(last.is_signed_by(SECRET) && last.is_signed_by(NEXT_SECRET));
}

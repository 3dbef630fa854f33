//! What becomes of what a destination refuses for good, and what an operator does about it.

use std::collections::BTreeSet;

use relay_tests::servers::receiver::{Answer, Receiver};
use serde_json::Value;

use super::world::{World, hook, numbers, refusing};

/// A relay whose destination refuses the second and the fourth of five.
async fn refused(receiver: &Receiver, keys: &str) -> World {
    let world = World::start(|_| hook("hook", &receiver.url("/"), keys)).await;
    for note in ["", "poison", "", "poison", ""] {
        world.emit(note);
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_listed_exported_and_retried_by_command() {
    let receiver = refusing().await;
    let world = refused(&receiver, "").await;
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 3, 5]);
    assert_eq!(world.metric("sink_rejected_total", "hook").await, Some(2.0));
    assert_eq!(world.metric("dead_letters", "hook").await, Some(2.0));
    let world = world.restart().await;
    let listed = world.letters("list", "hook").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed, world.letters("export", "hook").await);
    assert!(world.letters("list", "upstream").await.is_empty());
    for letter in &listed {
        assert_eq!(letter["origin"], "sink");
        assert_eq!(letter["sink"], "hook");
        assert_eq!(letter["subscription"], "relay_a");
        assert_eq!(letter["reason"], "422 Unprocessable Entity: no such agent");
        assert_eq!(letter["truncated"], false);
        assert!(
            letter["event_id"]
                .as_str()
                .unwrap()
                .starts_with("acmecorp01:i:")
        );
    }

    let retry = ["dead-letters", "retry", "--sink", "hook"];
    world.state("hook", "running").await;
    let answer = async |command: &[&str]| -> Value {
        serde_json::from_str(&world.told(command).await).unwrap()
    };
    let told = answer(&retry).await;
    assert_eq!(
        (&told["delivered"], &told["refused"]),
        (&0.into(), &2.into())
    );
    assert_eq!(told["text"], "422 Unprocessable Entity: no such agent");
    receiver.answers_all(Answer::ok());
    let id = listed[1]["id"].to_string();
    let told = answer(&["dead-letters", "retry", "--id", &id]).await;
    assert_eq!(
        (&told["delivered"], &told["order"]),
        (&1.into(), &"out of order".into())
    );
    assert_eq!(world.letters("list", "hook").await, listed[..1]);
    let told = answer(&retry).await;
    assert_eq!(told["delivered"], 1);
    assert!(world.letters("list", "hook").await.is_empty());
    assert_eq!(world.metric("dead_letters", "hook").await, Some(0.0));
    assert_eq!(numbers(&receiver), [1, 3, 5, 4, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_dropped_is_counted_and_gone() {
    let receiver = refusing().await;
    let world = refused(&receiver, "on_reject = \"drop\"").await;
    world.settled("hook").await;
    assert_eq!(numbers(&receiver), [1, 3, 5]);
    assert_eq!(world.metric("sink_rejected_total", "hook").await, Some(2.0));
    assert!(world.letters("list", "hook").await.is_empty());
    assert_eq!(world.state("hook", "running").await["lag_events"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_waits_for_its_operator_across_a_restart() {
    let receiver = refusing().await;
    let world = refused(&receiver, "on_reject = \"halt\"\nconcurrency = 1").await;
    let row = world.state("hook", "halted").await;
    let error = &row["last_error"];
    assert!(
        error["text"].as_str().unwrap().contains("no such agent"),
        "{error}"
    );
    let world = world.restart().await;
    let row = world.state("hook", "halted").await;
    assert_eq!(&row["last_error"], error, "its reason is kept as well");
    let asked = receiver.counts().requests;
    // The remedy names the cursor of the refused event: it is passed by that.
    let remedy = error["remedy"].as_str().unwrap();
    let cursor = remedy.split_whitespace().find(|word| word.contains('.'));
    let cursor = cursor.unwrap();
    world.told(&["sink", "seek", "hook", "--to", cursor]).await;
    assert_eq!(world.state("hook", "halted").await["cursor"], cursor);
    assert_eq!(
        receiver.counts().requests,
        asked,
        "nothing is offered before the resume"
    );
    world.told(&["sink", "resume", "hook"]).await;
    // The next one is met in its turn, and is taken once the destination is mended.
    let next = |row: &Value| row["state"] == "halted" && row["last_error"] != *error;
    world.sink("hook", "halted again", next).await;
    receiver.answers_all(Answer::ok());
    world.told(&["sink", "resume", "hook"]).await;
    world.settled("hook").await;
    let numbers = numbers(&receiver);
    assert!([1, 3].iter().all(|number| numbers.contains(number)) && !numbers.contains(&2));
    assert!(
        numbers.ends_with(&[4, 5]),
        "in the order of their key: {numbers:?}"
    );
    assert!(world.letters("list", "hook").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_everything_blocks_instead_of_filling_the_dead_letters() {
    let receiver = Receiver::start().await;
    receiver.answers_all(Answer::status(422));
    let keys = "max_consecutive_rejections = 3";
    let world = World::start(|_| hook("hook", &receiver.url("/"), keys)).await;
    world.emit_many(50);
    let blocked = |row: &Value| row["state"] == "blocked" && row["retries"].as_u64() >= Some(3);
    let row = world.sink("hook", "blocked", blocked).await;
    let error = &row["last_error"];
    assert!(
        error["text"]
            .as_str()
            .unwrap()
            .contains("3 events in a row"),
        "{error}"
    );
    assert!(
        error["remedy"]
            .as_str()
            .unwrap()
            .contains("dead letters of sink hook"),
        "{error}"
    );
    assert_eq!(world.letters("list", "hook").await.len(), 3);
    assert_eq!(world.metric("sink_rejected_total", "hook").await, Some(3.0));
    assert_eq!(world.metric("sink_up", "hook").await, Some(0.0));
    receiver.answers_all(Answer::ok());
    world.settled("hook").await;
    // The answer may have changed within a batch: then what follows of the key comes again.
    let distinct: BTreeSet<_> = numbers(&receiver).into_iter().collect();
    assert_eq!(distinct, (4..=50).collect());
    world.state("hook", "running").await;
    assert_eq!(world.letters("list", "hook").await.len(), 3);
}

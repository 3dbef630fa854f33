use std::sync::Mutex;

use futures_util::stream;
use lapin::BasicProperties;
use lapin::message::Delivery;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::super::{Config, Shared, Unroutable};
use super::*;
use crate::template::Template;
use crate::tls::ClientTls;
use crate::{Format, Secret};

fn shared() -> Arc<Shared> {
    Shared::new(Config {
        name: "lake".to_owned(),
        tenant: "acme".to_owned(),
        url: Secret::Literal("amqp://localhost".to_owned()),
        exchange: "sapi".to_owned(),
        declare: false,
        routing_key: Template::confined("{key}").unwrap(),
        unroutable: Unroutable::Reject,
        tls: ClientTls::default(),
        format: Format::Binary,
    })
}

/// A flight, and what lands it.
fn flight(id: &str) -> (Flight, oneshot::Sender<Confirmation>) {
    let (land, landed) = oneshot::channel();
    let confirmed = async move { Ok(landed.await.unwrap()) };
    let stage = Stage::Confirming(Box::pin(confirmed));
    (Flight::at(id.into(), stage), land)
}

/// That the broker returned an event.
fn returned(id: &str) -> BasicReturnMessage {
    let mut delivery = Delivery::mock(0, "sapi".into(), "key".into(), false, Vec::new());
    delivery.properties = BasicProperties::default().with_message_id(id.into());
    BasicReturnMessage {
        delivery,
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
    }
}

/// A collector at work, and where it is handed rounds.
fn collector(level: impl Fn() + Send + 'static) -> (rounds::Sender, JoinSet<()>) {
    let (health, _healthy) = watch::channel(Health::default());
    let (rounds, handed) = rounds::channel();
    let mut tasks = JoinSet::new();
    let collector = Collector::new(level, shared(), health, handed);
    tasks.spawn(collector.run(stream::pending()));
    (rounds, tasks)
}

async fn hand_over(rounds: &rounds::Sender, flights: Vec<Flight>) -> Answered {
    let hand_over = rounds.begin().await.unwrap();
    let (round, answered) = Round::new(flights);
    hand_over.finish(round);
    answered
}

/// Lets the collector do whatever it can do now.
async fn let_it_run() {
    for _turn in 0..16 {
        yield_now().await;
    }
}

async fn outcomes(answered: Answered) -> Vec<Outcome> {
    let answer = timeout(LOOK * 5, answered).await.expect("an answer");
    assert!(answer.trouble.is_none());
    answer.outcomes
}

fn is_rejected(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [Outcome::Rejected(reason)] if reason.contains("NO_ROUTE"))
}

#[tokio::test]
async fn a_round_that_is_completed_while_another_is_answered_is_answered_too() {
    let (first, land_first) = flight("1");
    let (last, land_last) = flight("2");
    // lapin confirms the last event between the look at the first round and its answer.
    let land_last = Mutex::new(Some(land_last));
    let level = move || {
        if let Some(land) = land_last.lock().unwrap().take() {
            land.send(Confirmation::Ack(None)).unwrap();
        }
    };
    let (rounds, _tasks) = collector(level);
    let first = hand_over(&rounds, vec![first]).await;
    let last = hand_over(&rounds, vec![last]).await;
    let_it_run().await;
    land_first.send(Confirmation::Ack(None)).unwrap();
    for answered in [first, last] {
        assert_eq!(outcomes(answered).await, [Outcome::Confirmed]);
    }
}

#[tokio::test]
async fn a_return_that_came_with_an_event_of_the_next_round_is_heard() {
    let (unroutable, land_unroutable) = flight("1");
    let (carrier, land_carrier) = flight("2");
    let (rounds, _tasks) = collector(|| ());
    let unroutable = hand_over(&rounds, vec![unroutable]).await;
    let_it_run().await;
    let carrier = hand_over(&rounds, vec![carrier]).await;
    // One frame confirms both.
    land_carrier
        .send(Confirmation::Ack(Some(returned("1"))))
        .unwrap();
    land_unroutable.send(Confirmation::Ack(None)).unwrap();
    assert!(is_rejected(&outcomes(unroutable).await));
    assert_eq!(outcomes(carrier).await, [Outcome::Confirmed]);
}

#[tokio::test]
async fn a_round_that_is_just_being_handed_over_is_waited_for() {
    let (unroutable, land_unroutable) = flight("1");
    let (carrier, land_carrier) = flight("2");
    let (rounds, _tasks) = collector(|| ());
    let unroutable = hand_over(&rounds, vec![unroutable]).await;
    let begun = rounds.begin().await.unwrap();
    land_carrier
        .send(Confirmation::Ack(Some(returned("1"))))
        .unwrap();
    land_unroutable.send(Confirmation::Ack(None)).unwrap();
    let_it_run().await;
    let (round, _answered) = Round::new(vec![carrier]);
    begun.finish(round);
    assert!(is_rejected(&outcomes(unroutable).await));
}

#[tokio::test]
async fn a_round_that_is_handed_over_after_the_end_still_brings_its_returns() {
    let (unroutable, land_unroutable) = flight("1");
    let (hopeless, _never_lands) = flight("2");
    let (carrier, land_carrier) = flight("3");
    let (health, _healthy) = watch::channel(Health::default());
    let (rounds, handed) = rounds::channel();
    let unroutable = hand_over(&rounds, vec![unroutable, hopeless]).await;
    let mut tasks = JoinSet::new();
    let mut collector = Collector::new(|| (), shared(), health, handed);
    collector.fail(Trouble::Other(failure::disconnected()));
    let carrier = hand_over(&rounds, vec![carrier]).await;
    land_carrier
        .send(Confirmation::Ack(Some(returned("1"))))
        .unwrap();
    land_unroutable.send(Confirmation::Ack(None)).unwrap();
    tasks.spawn(collector.run(stream::pending()));
    let answer = unroutable.await;
    assert!(is_rejected(&answer.outcomes[..1]), "{:?}", answer.outcomes);
    assert_eq!(answer.outcomes[1], Outcome::Retry);
    assert!(answer.trouble.is_some());
    assert_eq!(outcomes(carrier).await, [Outcome::Confirmed]);
}

#[tokio::test]
async fn all_that_is_known_is_taken_in_at_once() {
    let (health, _healthy) = watch::channel(Health::default());
    let (_rounds, handed) = rounds::channel();
    let mut collector = Collector::new(|| (), shared(), health, handed);
    let flights = (0..9).map(|id| {
        let mut polled = false;
        // It is woken while it is polled, as by another thread.
        let confirmed = std::future::poll_fn(move |context| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(Ok(Confirmation::Ack(None)));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        Flight::at(
            id.to_string().into(),
            Stage::Confirming(Box::pin(confirmed)),
        )
    });
    let (round, _answered) = Round::new(flights.collect());
    collector.take(round);
    collector.drain();
    assert!(collector.flying.is_empty());
}

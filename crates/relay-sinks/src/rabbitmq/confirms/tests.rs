use std::sync::Mutex;

use futures_util::stream;
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
    let (health, _healthy) = watch::channel(Health::default());
    let (rounds, handed) = mpsc::channel(2);
    let mut tasks = JoinSet::new();
    let collector = Collector::new(level, shared(), health);
    tasks.spawn(collector.run(handed, stream::pending()));
    let (first, first_answered) = Round::new(vec![first]);
    let (last, last_answered) = Round::new(vec![last]);
    rounds.send(first).await.unwrap();
    rounds.send(last).await.unwrap();
    while rounds.capacity() < rounds.max_capacity() {
        yield_now().await;
    }
    land_first.send(Confirmation::Ack(None)).unwrap();
    for answered in [first_answered, last_answered] {
        let answer = timeout(LOOK * 5, answered).await.expect("an answer");
        assert_eq!(answer.outcomes, [Outcome::Confirmed]);
        assert!(answer.trouble.is_none());
    }
}

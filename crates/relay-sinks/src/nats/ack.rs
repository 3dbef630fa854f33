//! What became of a batch: its acknowledgements, in the order of its events.

use std::pin::pin;
use std::sync::Arc;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use futures_util::FutureExt as _;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes};
use tokio::time::Instant;

use super::Shared;
use super::connection::{Link, PATIENCE};
use super::failure::{self, Verdict};
use super::subject::Untaken;

/// An event that was handed over, or is not.
#[derive(Debug)]
pub(super) enum Sent {
    /// Its acknowledgement is to come.
    Waiting(PublishAckFuture),
    /// It can't be published, for good.
    Refused(String),
}

/// Judges a hand-over: what fits no message is refused, what else goes wrong concerns the connection.
pub(super) fn handed_over(done: Result<PublishAckFuture, PublishError>) -> Result<Sent, Failure> {
    match done {
        Ok(ack) => Ok(Sent::Waiting(ack)),
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => Ok(Sent::Refused(
            format!("larger than the server's max_payload: {error}"),
        )),
        Err(error) => Err(failure::not_sent(&error)),
    }
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) link: Link,
    pub(super) shared: Arc<Shared>,
    pub(super) delivery: Delivery,
    pub(super) untaken: Arc<Untaken>,
}

/// What is known of an event.
type Known = Option<Result<PublishAck, PublishError>>;

impl Round {
    /// Waits for the acknowledgements: until all are there, the connection ends, or patience does.
    pub(super) async fn outcomes(self, sent: Vec<Sent>) -> Outcomes {
        let deadline = Instant::now() + PATIENCE;
        let mut known: Vec<Known> = Vec::with_capacity(sent.len());
        let mut refused = Vec::new();
        let mut waiting = Vec::with_capacity(sent.len());
        for (index, sent) in sent.into_iter().enumerate() {
            match sent {
                Sent::Waiting(ack) => waiting.push((index, ack)),
                Sent::Refused(reason) => refused.push((index, reason)),
            }
            known.push(None);
        }
        let ended = self.gather(waiting, &mut known, deadline).await;
        self.judge(known, refused, ended)
    }

    /// Takes acknowledgements in. Returns why not all of them came.
    async fn gather(
        &self,
        waiting: Vec<(usize, PublishAckFuture)>,
        known: &mut [Known],
        deadline: Instant,
    ) -> Option<Failure> {
        let mut given_up = None;
        let mut ended = pin!(async {
            tokio::select! {
                failure = self.link.ended() => failure,
                () = tokio::time::sleep_until(deadline) => failure::late(),
            }
        });
        for (index, ack) in waiting {
            let mut ack = ack.into_future();
            let done = if given_up.is_some() {
                // What has come already counts.
                ack.now_or_never()
            } else {
                tokio::select! {
                    biased;
                    done = &mut ack => Some(done),
                    failure = &mut ended => {
                        given_up = Some(failure);
                        None
                    }
                }
            };
            if let Some(slot) = known.get_mut(index) {
                *slot = done;
            }
        }
        given_up
    }

    /// What it means for the events, and for the sink.
    fn judge(
        &self,
        known: Vec<Known>,
        refused: Vec<(usize, String)>,
        ended: Option<Failure>,
    ) -> Outcomes {
        let mut failure = ended;
        let mut outcomes = Vec::with_capacity(known.len());
        for (event, known) in self.delivery.events().zip(known) {
            outcomes.push(match known {
                Some(Ok(_)) => Outcome::Confirmed,
                None => Outcome::Retry,
                Some(Err(error)) => match failure::publish(&error, &self.shared.config) {
                    Verdict::Rejected(reason) => Outcome::Rejected(reason),
                    Verdict::Late => {
                        failure.get_or_insert_with(failure::late);
                        Outcome::Retry
                    }
                    Verdict::Untaken => {
                        let subject = self.shared.composer.subject(event);
                        failure.get_or_insert_with(|| failure::untaken(&subject));
                        self.untaken.set(subject);
                        Outcome::Retry
                    }
                    Verdict::Failed(found) => {
                        failure.get_or_insert(found);
                        Outcome::Retry
                    }
                },
            });
        }
        for (index, reason) in refused {
            if let Some(slot) = outcomes.get_mut(index) {
                *slot = Outcome::Rejected(reason);
            }
        }
        let settled = outcomes.iter().any(|outcome| *outcome != Outcome::Retry);
        let confirmed = outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Confirmed);
        match failure {
            None if confirmed => Outcomes::Confirmed,
            None => Outcomes::Each(outcomes),
            Some(failure) if settled => Outcomes::Partly(outcomes, failure),
            Some(failure) => Outcomes::Failed(failure),
        }
    }
}

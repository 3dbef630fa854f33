//! A batch on its way into a stream: published without waiting, then its acknowledgements, in the order of its
//! events.

use std::pin::pin;
use std::sync::Arc;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use futures_util::FutureExt as _;
use relay_core::Event;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes};
use tokio::time::Instant;

use super::Shared;
use super::connection::{Link, PATIENCE};
use super::failure::{self, Verdict};
use super::order::{Acked, Misplaced, Turn};

/// A batch under way.
#[derive(Debug)]
pub(super) struct Round {
    link: Link,
    context: Context,
    shared: Arc<Shared>,
    delivery: Delivery,
    turn: Turn,
    sent: Vec<Sent>,
}

/// An event that was handed over, or is not.
#[derive(Debug)]
enum Sent {
    /// Its acknowledgement is to come.
    Waiting(PublishAckFuture),
    /// It can't be published, for good.
    Refused(String),
}

/// What is known of an event.
#[derive(Debug)]
enum Known {
    /// The stream has it, at this sequence.
    Stored(u64),
    Refused(String),
    Failed(PublishError),
    Nothing,
}

/// Publishes a batch.
pub(super) async fn publish(
    link: &Link,
    context: &Context,
    shared: &Arc<Shared>,
    delivery: Delivery,
) -> Result<Round, Failure> {
    let mut round = Round {
        link: link.clone(),
        context: context.clone(),
        shared: Arc::clone(shared),
        turn: shared.order.enter(),
        sent: Vec::with_capacity(delivery.len()),
        delivery,
    };
    for event in round.delivery.events() {
        let sent = round.send(event, None).await?;
        round.sent.push(sent);
    }
    Ok(round)
}

impl Round {
    async fn send(&self, event: &Event, after: Option<u64>) -> Result<Sent, Failure> {
        let composed = self
            .shared
            .composer
            .compose(event, self.link.stream.as_deref(), after);
        let message = match composed {
            Ok(message) => message,
            Err(reason) => return Ok(Sent::Refused(reason)),
        };
        let publish = PublishMessage::build()
            .payload(message.payload)
            .headers(message.headers);
        let sending = self.context.send_publish(message.subject, publish);
        match self.link.alive(sending).await? {
            Ok(ack) => Ok(Sent::Waiting(ack)),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Ok(Sent::Refused(failure::over_max_payload(&error)))
            }
            Err(error) => Err(failure::not_sent(&error)),
        }
    }

    /// Waits for the acknowledgements: until all are there, the connection ends, or patience does.
    pub(super) async fn outcomes(mut self) -> Outcomes {
        let sent = std::mem::take(&mut self.sent);
        let (known, ended) = self.gather(sent).await;
        let mut failure = ended;
        let sequences: Vec<_> = known.iter().map(Known::sequence).collect();
        let events = self.delivery.events().zip(known);
        let mut outcomes: Vec<_> = events
            .map(|(event, known)| self.judge(event, known, &mut failure))
            .collect();
        self.turn.come().await;
        let misplaced = self.shared.order.place(self.acked(&outcomes, &sequences));
        if !misplaced.is_empty() {
            self.repair(&misplaced, &mut outcomes, &mut failure).await;
        }
        sum_up(outcomes, failure)
    }

    /// Takes acknowledgements in. Says why not all of them came.
    async fn gather(&self, sent: Vec<Sent>) -> (Vec<Known>, Option<Failure>) {
        let deadline = Instant::now() + PATIENCE;
        let mut given_up = None;
        let mut ended = pin!(async {
            tokio::select! {
                failure = self.link.ended() => failure,
                () = tokio::time::sleep_until(deadline) => failure::late(),
            }
        });
        let mut known = Vec::with_capacity(sent.len());
        for sent in sent {
            let mut ack = match sent {
                Sent::Waiting(ack) => ack.into_future(),
                Sent::Refused(reason) => {
                    known.push(Known::Refused(reason));
                    continue;
                }
            };
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
            known.push(match done {
                Some(Ok(ack)) => Known::Stored(ack.sequence),
                Some(Err(error)) => Known::Failed(error),
                None => Known::Nothing,
            });
        }
        (known, given_up)
    }

    /// What it means for an event, and for the sink: the first failure counts.
    fn judge(&self, event: &Event, known: Known, failure: &mut Option<Failure>) -> Outcome {
        let error = match known {
            Known::Stored(_) => return Outcome::Confirmed,
            Known::Refused(reason) => return Outcome::Rejected(reason),
            Known::Nothing => return Outcome::Retry,
            Known::Failed(error) => error,
        };
        let found = match failure::publish(&error, &self.shared.config) {
            Verdict::Rejected(reason) => return Outcome::Rejected(reason),
            Verdict::Late => failure::late(),
            Verdict::Failed(found) => found,
            Verdict::Untaken => {
                let subject = self.shared.composer.subject(event);
                let found = failure::untaken(&subject);
                self.shared.untaken.set(subject);
                found
            }
        };
        failure.get_or_insert(found);
        Outcome::Retry
    }

    fn acked<'a>(
        &'a self,
        outcomes: &'a [Outcome],
        sequences: &'a [Option<u64>],
    ) -> impl Iterator<Item = (usize, Acked)> + 'a {
        let events = self.delivery.events().zip(outcomes).zip(sequences);
        let settled = events
            .enumerate()
            .filter(|(_, ((_, outcome), _))| match outcome {
                Outcome::Confirmed | Outcome::Retry => true,
                Outcome::Rejected(_) => false,
            });
        settled.map(|(index, ((event, _), sequence))| {
            let acked = Acked {
                key: self.shared.order.key(event.head().key),
                offset: event.offset(),
                sequence: *sequence,
            };
            (index, acked)
        })
    }

    /// Publishes misplaced events once more, behind what they have to follow.
    async fn repair(
        &self,
        misplaced: &[Misplaced],
        outcomes: &mut [Outcome],
        failure: &mut Option<Failure>,
    ) {
        let places = misplaced.iter();
        let events: Vec<_> = places
            .filter_map(|one| Some((one, self.delivery.events().nth(one.index)?)))
            .collect();
        let mut sent = Vec::with_capacity(events.len());
        for (one, event) in &events {
            if failure.is_some() {
                break;
            }
            match self.send(event, Some(one.after)).await {
                Ok(handed) => sent.push(handed),
                Err(ended) => *failure = Some(ended),
            }
        }
        let (known, ended) = self.gather(sent).await;
        *failure = failure.take().or(ended);
        let known = known
            .into_iter()
            .chain(std::iter::repeat_with(|| Known::Nothing));
        for ((one, event), known) in events.iter().zip(known) {
            if let Some(sequence) = known.sequence() {
                let key = self.shared.order.key(event.head().key);
                self.shared.order.moved(key, event.offset(), sequence);
            }
            let outcome = self.judge(event, known, failure);
            if let Some(slot) = outcomes.get_mut(one.index) {
                *slot = outcome;
            }
        }
        tracing::debug!(sink = %self.shared.config.name, events = events.len(), "published again, to keep the order of their keys");
    }
}

impl Known {
    fn sequence(&self) -> Option<u64> {
        match self {
            Self::Stored(sequence) => Some(*sequence),
            Self::Refused(_) | Self::Failed(_) | Self::Nothing => None,
        }
    }
}

fn sum_up(outcomes: Vec<Outcome>, failure: Option<Failure>) -> Outcomes {
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

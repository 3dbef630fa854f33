//! Delivering exactly once: the events of a delivery and the cursor behind them, in one transaction. It
//! knows no worker.
//!
//! # How it fits the worker
//! One transaction is open at a time, and a delivery is one. The worker is configured to have one under
//! way ([`super::Config::exactly_once`]); dead letters that are delivered again beside the stream wait for
//! their turn. A transaction is committed once every record of it is acknowledged, else ended without
//! a trace; a record that is refused ends it too, the worker makes it a dead letter, durably, and hands the
//! others over again.
//!
//! # Who may deliver
//! To connect is to end whatever the transactional id has open elsewhere, `kill -9` included. The one
//! that was ended is told by the brokers, and stays away.
//!
//! Brokers also end a producer, in the same words, whose transaction is open for longer than
//! `transaction.timeout.ms` (a relay that was stopped, a network that swallows packets): nobody has taken
//! the id then. A producer whose transaction had not been open for so long was ended by another, and stays
//! away. One whose transaction had been takes the id again.
//!
//! Whoever connects again looks first whether the cursor is the one that it has written last: where it is
//! not, another has taken over meanwhile, and it stays away too. So two relays never end each other in turn:
//! in doubt one takes the id back once, and the other, whose transactions are young, stays away.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::Producer;
use relay_core::Cursor;
use relay_core::cloudevents::Source;
use relay_core::sink::{Delivery, Failure, Outcome, Outcomes};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::link::{Link, PATIENCE};
use super::round::{self, Extra};
use super::{ExactlyOnce, Shared, cursors, failure};

/// How long the brokers may take to say how a transaction has ended.
const ENDING: Duration = Duration::from_secs(20);

/// Whose turn it is to have a transaction, and how far it has come.
pub(super) type Turn = Arc<Mutex<Written>>;

/// The cursors that a connection has written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// The one that was committed last, or was found.
    pub(super) committed: Option<Cursor>,
    /// One whose transaction may have been committed, though nobody said so.
    pub(super) attempted: Option<Cursor>,
}

impl Written {
    /// Nothing but what was found.
    pub(super) fn found(cursor: Option<Cursor>) -> Self {
        Self {
            committed: cursor,
            attempted: None,
        }
    }

    /// Whether a cursor that was found says that another has written.
    fn is_foreign(&self, found: Option<Cursor>) -> bool {
        found.is_some() && found != self.committed && found != self.attempted
    }
}

/// Ends what others have open, and reads the cursor. `own`: what was written when it was connected before;
/// if another has written since, the id is left alone. `overdue`: nothing of our own is open any more, so that
/// what is may be another's and is waited for.
pub(super) async fn begin(
    link: &Link,
    shared: &Shared,
    exactly_once: &ExactlyOnce,
    own: Option<Written>,
    overdue: bool,
) -> Result<Option<Cursor>, Failure> {
    cursors::ensure(&shared.config, exactly_once).await?;
    let seen = cursors::read(&shared.config, exactly_once, overdue).await?;
    if own.is_some_and(|own| own.is_foreign(seen)) {
        return Err(failure::fenced(&shared.config));
    }
    if let Some(foreign) = seen.filter(|seen| !shared.composer.is_ours(*seen)) {
        // Of another journal, which the worker says: to take the id would end whoever wrote it.
        return Ok(Some(foreign));
    }
    let what = "taking the transactional id";
    link.blocking(what, |producer| producer.init_transactions(ENDING))
        .await?;
    cursors::read(&shared.config, exactly_once, true).await
}

/// Writes a cursor, and nothing else.
pub(super) async fn seek(
    link: &Link,
    shared: &Shared,
    exactly_once: &ExactlyOnce,
    to: Cursor,
) -> Result<(), Failure> {
    cursors::ensure(&shared.config, exactly_once).await?;
    let what = "taking the transactional id";
    link.blocking(what, |producer| producer.init_transactions(ENDING))
        .await?;
    open(link).await?;
    let written = write_cursor(link, shared, exactly_once, to).await?;
    match written {
        Outcomes::Confirmed => commit(link).await,
        Outcomes::Partly(_, failure) | Outcomes::Failed(failure) => Err(failure),
        Outcomes::Each(_) => Err(cursors::refused(exactly_once)),
    }
}

/// Delivers, in a transaction of its own.
pub(super) async fn deliver(
    link: &Link,
    shared: &Shared,
    exactly_once: &ExactlyOnce,
    delivery: &Delivery,
    turn: OwnedMutexGuard<Written>,
) -> Outcomes {
    let mut written = turn;
    let cursor = cursor_behind(delivery, shared.composer.source());
    written.attempted = cursor;
    match attempt(link, shared, exactly_once, delivery, cursor).await {
        Ok(Outcomes::Confirmed) => {
            *written = Written::found(cursor.or(written.committed));
            Outcomes::Confirmed
        }
        Ok(outcomes) => outcomes,
        Err(failure) => Outcomes::Failed(failure),
    }
}

/// The cursor that is written with a delivery. `None`: dead letters that go again leave it where it is,
/// whatever their offsets are and whatever is still under way.
fn cursor_behind(delivery: &Delivery, source: &Source) -> Option<Cursor> {
    (!delivery.again).then(|| source.cursor(delivery.upto))
}

async fn attempt(
    link: &Link,
    shared: &Shared,
    exactly_once: &ExactlyOnce,
    delivery: &Delivery,
    cursor: Option<Cursor>,
) -> Result<Outcomes, Failure> {
    open(link).await?;
    let flight = round::hand_over(link, &shared.composer, delivery).await?;
    let written = match cursor {
        None => Outcomes::Confirmed,
        Some(cursor) => write_cursor(link, shared, exactly_once, cursor).await?,
    };
    match (flight.outcomes().await, written) {
        (Outcomes::Confirmed, Outcomes::Confirmed) => {
            commit(link).await?;
            Ok(Outcomes::Confirmed)
        }
        (Outcomes::Each(outcomes), Outcomes::Confirmed) => {
            abort(link).await?;
            Ok(Outcomes::Each(outcomes.into_iter().map(again).collect()))
        }
        // What is refused is refused, whatever else was wrong.
        (Outcomes::Partly(outcomes, failure), _)
        | (Outcomes::Each(outcomes), Outcomes::Failed(failure) | Outcomes::Partly(_, failure)) => {
            let outcomes = outcomes.into_iter().map(again).collect();
            Ok(Outcomes::Partly(outcomes, failure))
        }
        (Outcomes::Failed(failure), _)
        | (_, Outcomes::Failed(failure) | Outcomes::Partly(_, failure)) => Err(failure),
        (_, Outcomes::Each(_)) => Err(cursors::refused(exactly_once)),
    }
}

/// The transaction left no trace: what was delivered in it was not.
fn again(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Confirmed => Outcome::Retry,
        other => other,
    }
}

async fn write_cursor(
    link: &Link,
    shared: &Shared,
    exactly_once: &ExactlyOnce,
    cursor: Cursor,
) -> Result<Outcomes, Failure> {
    let record = Extra {
        topic: &exactly_once.cursor_topic,
        key: &cursors::key(&shared.config),
        value: &cursor.to_string(),
    };
    Ok(round::hand_over_extra(link, record).await?.outcomes().await)
}

async fn open(link: &Link) -> Result<(), Failure> {
    let what = "beginning a transaction";
    link.blocking(what, Producer::begin_transaction).await?;
    link.watch().begin();
    Ok(())
}

async fn commit(link: &Link) -> Result<(), Failure> {
    let what = "committing a transaction";
    link.blocking(what, |producer| producer.commit_transaction(ENDING))
        .await?;
    link.watch().end();
    Ok(())
}

async fn abort(link: &Link) -> Result<(), Failure> {
    let what = "ending a transaction";
    link.blocking(what, |producer| producer.abort_transaction(PATIENCE))
        .await?;
    link.watch().end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use relay_core::contract::Relay;
    use relay_core::{Limit, Offset};

    use super::*;

    #[tokio::test]
    async fn dead_letters_that_go_again_bring_no_cursor() {
        let relay = Relay::new();
        relay.commit(&["ada", "ben"]).await;
        let limit = Limit {
            events: 2,
            bytes: 1 << 20,
        };
        let mut reader = relay.core.bus.reader_after(Offset(0));
        let stream = Delivery {
            batch: reader.next_batch(limit).await.unwrap(),
            selected: vec![0, 1],
            upto: Offset(2),
            again: false,
        };
        let source = relay.source();
        assert_eq!(
            cursor_behind(&stream, &source),
            Some(source.cursor(Offset(2)))
        );
        let letters = Delivery {
            again: true,
            ..stream
        };
        assert_eq!(cursor_behind(&letters, &source), None);
    }
}

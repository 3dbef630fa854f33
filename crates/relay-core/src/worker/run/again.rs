//! Dead letters that are delivered again: a delivery beside the stream, which the window, and so the
//! cursor, does not know of.

use super::{Flown, Offered, Signals, Worker};
use crate::sink::{Delivery, Sink};
use crate::worker::again::{Again, Return};

impl<S: Sink> Worker<S> {
    /// Hands dead letters to the sink.
    pub(super) async fn hand_over_again(&mut self, again: Again, signals: &mut Signals<'_>) {
        let Again {
            ids,
            records,
            reply,
        } = again;
        if reply.is_closed() {
            return;
        }
        let upto = self.supply.position();
        let batch = self.supply.bus().foreign_batch(records, upto);
        let letters = Return { ids, reply };
        let count = batch.len();
        if count != letters.ids.len() {
            // Of a later version: not one of them is known by its place any more.
            return self.ledger.fail_again(letters, None);
        }
        let delivery = Delivery {
            batch,
            selected: (0..).take(count).collect(),
            upto,
            again: true,
        };
        match self.offer(delivery.clone(), signals).await {
            Offered::Taken(confirmation, started) => {
                self.ledger.again = true;
                self.fly(Flown::Again(letters), delivery, confirmation, started);
            }
            Offered::Failed(failure) => self.ledger.fail_again(letters, Some(failure)),
            Offered::Overdue => {
                self.stale = true;
                self.ledger.fail_again(letters, None);
            }
        }
    }
}

//! Where a worker begins to read: its cursor, or where it starts without one, and what it says when a
//! cursor can't be met.

use relay_journal::Offset;

use super::handle::Shared;
use crate::bus::Unmet;
use crate::notice::{NoticeDraft, NoticeKind};
use crate::reader::{ReadError, Skipped};
use crate::{Cursor, From};

impl Shared {
    /// The offset after which reading begins. A first start is made durable at once: otherwise a
    /// crash before the first confirmation would let `latest` skip what was committed meanwhile.
    pub(super) async fn begin(&self) -> Result<Offset, ReadError> {
        let (store, name) = (&self.context.store, &self.config.name);
        let Some(cursor) = store.cursor(name) else {
            // What was there when the sink was made, not when its task first ran.
            let offset = self.row().cursor;
            if self.context.may_have_lost_a_cursor() {
                self.cursor_reset(
                    "the relay's state was lost, and the cursor with it: delivery starts at the oldest event".to_owned(),
                );
            }
            self.move_to(offset);
            if let Err(error) = store.flush().await {
                tracing::warn!(sink = %name, %error, "the first cursor is not durable yet");
            }
            return Ok(offset);
        };
        self.meet(cursor).await
    }

    /// The offset after which reading goes on from a cursor; says what can't be met.
    pub(super) async fn meet(&self, cursor: Cursor) -> Result<Offset, ReadError> {
        let (offset, unmet) = self.context.bus.resolve(From::After(cursor)).await?;
        match unmet {
            None => {}
            Some(Unmet::TooOld { from, to }) => self.skipped(Skipped { from, to, damaged: false }),
            Some(Unmet::ForeignEpoch) => self.cursor_reset(format!(
                "the cursor {cursor} is of another journal: delivery starts at the oldest event of this one"
            )),
            Some(Unmet::Future) => self.cursor_reset(format!(
                "the cursor {cursor} lies in the future of the journal: delivery starts at its end"
            )),
        }
        self.move_to(offset);
        Ok(offset)
    }

    /// Moves the cursor: seen at once, durable within about a second.
    pub(super) fn move_to(&self, offset: Offset) {
        self.context
            .store
            .set_cursor(&self.config.name, self.context.bus.cursor(offset));
        self.update(|row| row.cursor = offset);
    }

    /// Says that events are gone that the sink never had.
    pub(super) fn skipped(&self, Skipped { from, to, damaged }: Skipped) {
        let missing = to.0.saturating_sub(from.0).saturating_add(1);
        let name = &self.config.name;
        let why = if damaged {
            "the journal is damaged there"
        } else {
            "retention has removed them"
        };
        self.meters.skipped.inc_by(missing);
        tracing::error!(sink = %name, %from, %to, missing, "events were skipped: {why}");
        let text = format!("sink {name} never had events {from} to {to}: {why}");
        let draft = NoticeDraft::new(NoticeKind::Skipped, text)
            .sink(name)
            .missing(missing);
        self.context.notices.raise(draft);
    }

    fn cursor_reset(&self, text: String) {
        tracing::error!(sink = %self.config.name, "{text}");
        let draft = NoticeDraft::new(NoticeKind::CursorReset, text).sink(&self.config.name);
        self.context.notices.raise(draft);
    }
}

//! Notices to one client: what of its wish could not be met, and what it was behind. They are not
//! journaled, since they concern nobody else.

use jiff::Timestamp;
use relay_core::bus::Unmet;
use relay_core::notice::{Notice, NoticeKind};
use relay_core::{Cursor, Skipped};

use super::frame::{Shape, relay_notice};

/// A notice for one client.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Personal {
    /// What lies behind the client once it has the notice.
    pub(super) position: Cursor,
    notice: Notice,
    tenant: Box<str>,
}

impl Personal {
    /// What could not be met of a starting point; reading starts after `position`.
    pub(super) fn unmet(unmet: Unmet, position: Cursor, tenant: &str) -> Self {
        let (kind, missing, text) = match unmet {
            Unmet::TooOld { from, to } => (
                NoticeKind::Skipped,
                Some(to.0.saturating_sub(from.0) + 1),
                "the cursor is older than what is kept: reading starts at the oldest event",
            ),
            Unmet::ForeignEpoch => (
                NoticeKind::CursorReset,
                None,
                "the cursor is of another journal: reading starts at the oldest event",
            ),
            Unmet::Future => (
                NoticeKind::CursorReset,
                None,
                "the cursor lies in the future of this journal: reading starts at its end",
            ),
        };
        Self::new(kind, missing, text, position, tenant)
    }

    /// What the client was behind; reading goes on after `position`.
    pub(super) fn skipped(skipped: Skipped, position: Cursor, tenant: &str) -> Self {
        let text = if skipped.damaged {
            "events can't be read any more: the journal is damaged there"
        } else {
            "the client was behind what retention has removed"
        };
        let missing = skipped.to.0.saturating_sub(skipped.from.0) + 1;
        Self::new(NoticeKind::Skipped, Some(missing), text, position, tenant)
    }

    fn new(
        kind: NoticeKind,
        missing: Option<u64>,
        text: &str,
        position: Cursor,
        tenant: &str,
    ) -> Self {
        let notice = Notice {
            id: format!("notice:{position}:{}", kind.as_str()),
            kind,
            at: Timestamp::now(),
            subscription: None,
            sink: None,
            from: None,
            until: None,
            missing,
            verdict: None,
            text: text.to_owned(),
        };
        Self {
            position,
            notice,
            tenant: tenant.into(),
        }
    }

    /// The CloudEvents type.
    pub(super) fn event_type(&self) -> String {
        format!("io.sapi-relay.notice.{}", self.notice.kind.as_str())
    }

    /// The notice as JSON, in the shape that the client's events have.
    pub(super) fn write(&self, shape: Shape) -> Vec<u8> {
        // A struct of texts and numbers is always JSON.
        let json = serde_json::to_vec(&self.notice).unwrap_or_default();
        let mut out = Vec::with_capacity(json.len() + 256);
        match shape {
            Shape::Raw => relay_notice(&json, &mut out),
            Shape::CloudEvents => self.structured(&json, &mut out),
        }
        out
    }

    fn structured(&self, json: &[u8], out: &mut Vec<u8>) {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let attributes = format!(
            r#"{{"specversion":"1.0","id":{},"source":{},"type":{},"time":"{}","datacontenttype":"application/json","sequence":"{:020}","relaycursor":"{}","data":"#,
            text(&self.notice.id),
            text(&format!("urn:8x8:cc:{}", self.tenant)),
            text(&self.event_type()),
            self.notice.at,
            self.position.offset.0,
            self.position,
        );
        out.extend_from_slice(attributes.as_bytes());
        out.extend_from_slice(json);
        out.push(b'}');
    }
}

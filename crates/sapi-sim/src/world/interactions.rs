//! Owns one interaction on its way through a flow: its lines, its customer, the data it gathers, and
//! the document of each row. It does not decide when the next row comes.

use std::{borrow::Cow, collections::BTreeMap};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{
    Dialect,
    agents::Agent,
    flows::{Flow, Line, Party, Row},
    text,
};
use crate::content::{Content, Fields, Value};

/// What an interaction is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Media {
    /// The part in the GUID and mediaType.
    name: &'static str,
    /// resourceType.
    resource: u64,
    /// `med` of attachedData.
    letter: &'static str,
}

const PHONE: Media = Media {
    name: "phone",
    resource: 0,
    letter: "T",
};
const CHAT: Media = Media {
    name: "chat",
    resource: 2,
    letter: "C",
};
const EMAIL: Media = Media {
    name: "email",
    resource: 1,
    letter: "E",
};

/// Queues of the tenant: number and skill name.
const QUEUES: &[(u64, &str)] = &[(591, "Test Sales"), (592, "Support"), (1162, "Billing")];

/// One line of an interaction.
#[derive(Debug)]
struct Leg {
    guid: String,
    token: u64,
    attached: BTreeMap<&'static str, Value>,
    queued_at: Option<u64>,
}

/// An interaction that is under way.
#[derive(Debug)]
pub(super) struct Interaction {
    pub(super) flow: &'static Flow,
    step: usize,
    media: Media,
    customer: String,
    phone: u64,
    channel: u64,
    queue: (u64, &'static str),
    pub(super) first: Option<usize>,
    pub(super) second: Option<usize>,
    legs: [Option<Leg>; 2],
}

impl Interaction {
    pub(super) fn new(flow: &'static Flow, rng: &mut StdRng) -> Self {
        // Only a plain inbound flow fits a chat or an e-mail.
        let media = if flow.inbound && flow.rows.iter().all(|row| row.event != "LineHoldStatus") {
            [PHONE, PHONE, PHONE, PHONE, CHAT, EMAIL]
                .choose(rng)
                .copied()
                .unwrap_or(PHONE)
        } else {
            PHONE
        };
        Self {
            flow,
            step: 0,
            media,
            customer: text::name(rng),
            phone: rng.random_range(2_010_000_000..9_890_000_000),
            channel: rng.random_range(13_000_000_000..13_999_999_999),
            queue: QUEUES.choose(rng).copied().unwrap_or((591, "Test Sales")),
            first: None,
            second: None,
            legs: [None, None],
        }
    }

    /// The row that comes next: none at the end.
    pub(super) fn row(&self) -> Option<&'static Row> {
        self.flow.rows.get(self.step)
    }

    /// Goes on to the row after.
    pub(super) fn step(&mut self) {
        self.step += 1;
    }

    /// Whose turn a row is.
    pub(super) fn party(&self, party: Party) -> Option<usize> {
        match party {
            Party::Nobody => None,
            Party::First => self.first,
            Party::Second => self.second,
        }
    }

    /// Whether rows to come are about an agent.
    pub(super) fn needs(&self, party: Party) -> bool {
        self.rest().any(|row| row.party == party)
    }

    /// Whether rows to come bring wrap-up for an agent.
    pub(super) fn wraps_up(&self, party: Party) -> bool {
        self.rest()
            .any(|row| row.party == party && row.event.ends_with("PostProcess"))
    }

    fn rest(&self) -> impl Iterator<Item = &'static Row> {
        self.flow.rows.iter().skip(self.step)
    }

    fn leg(&mut self, line: Line) -> Option<&mut Leg> {
        let [one, two] = &mut self.legs;
        match line {
            Line::One => one.as_mut(),
            Line::Two => two.as_mut(),
        }
    }

    /// The document of a row.
    pub(super) fn document(
        &mut self,
        row: &Row,
        agent: Option<&Agent>,
        tenant: &str,
        dialect: Dialect,
        clock: (u64, &mut StdRng),
    ) -> Option<Content> {
        let (now, rng) = clock;
        if row.event == "InteractionCreated" {
            self.create(row.line, tenant, rng, now);
        }
        self.gather(row, tenant, now);
        let mut fields = self.base(row, dialect, now)?;
        if let Some(agent) = agent {
            name_agent(&mut fields, row.event, agent, tenant);
        }
        self.particulars(row, &mut fields, rng)?;
        Some(Content::new("Interaction", &fields))
    }

    fn create(&mut self, line: Line, tenant: &str, rng: &mut StdRng, now: u64) {
        let mut attached = BTreeMap::from([
            ("@pri", Value::number(100)),
            ("callingName", Value::typed(self.customer.clone())),
            ("cha", Value::number(self.channel)),
            ("cnt", Value::number(0)),
            ("con", Value::number(0)),
            ("med", Value::typed(self.media.letter)),
            ("pho", Value::number(self.phone)),
            ("phoneNum", Value::number(self.phone)),
            ("remoteCallingName", Value::typed(self.customer.clone())),
            ("remotePhoneNum", Value::typed(format!("+1{}", self.phone))),
        ]);
        let token = rng.random_range(10_000..99_999);
        attached.insert("tok", Value::number(token));
        if let (Line::Two, [Some(one), _]) = (line, &self.legs) {
            attached.insert("originalInteractionGuid", Value::typed(one.guid.clone()));
            attached.insert("originalTokenId", Value::number(one.token));
        }
        let id = text::token(rng, 25);
        let leg = Leg {
            guid: format!("int-{now:x}-{id}-{}-00-{tenant}", self.media.name),
            token,
            attached,
            queued_at: None,
        };
        let [one, two] = &mut self.legs;
        match line {
            Line::One => *one = Some(leg),
            Line::Two => *two = Some(leg),
        }
    }

    /// What attachedData gains by a row.
    fn gather(&mut self, row: &Row, tenant: &str, now: u64) {
        let (number, skill) = self.queue;
        let media = self.media.name;
        let direction = if self.flow.inbound { "in" } else { "out" };
        let Some(leg) = self.leg(row.line) else {
            return;
        };
        let seconds = Value::number(now / 1000);
        match row.event {
            "InteractionQueued" => {
                leg.queued_at = Some(now / 1000);
                leg.attached.extend([
                    ("channelName", Value::typed("Acme Ads OG")),
                    ("otim", seconds.clone()),
                    ("pcsOffered", Value::typed("no")),
                    ("priority", Value::number(50)),
                    (
                        "que",
                        Value::typed(format!("{tenant}~~queue~~{media}~~{number}")),
                    ),
                    ("queueDirection", Value::typed(direction)),
                    ("tenantName", Value::typed(tenant.to_owned())),
                    ("tenantRecServer", Value::typed("na12nfs01")),
                    ("tenantSkillName", Value::typed(skill)),
                    ("tim", seconds),
                ]);
            }
            "InteractionAccepted" => {
                leg.attached.insert("callAnsweredTime", Value::number(now));
            }
            "InteractionRecordingStarted" => {
                leg.attached.insert("agtCallRec", Value::typed("yes"));
            }
            "InteractionPostProcess" => {
                leg.attached.insert("callHangupTime", Value::number(now));
                leg.attached.insert(
                    "createInteractionTimestampNanos",
                    Value::number(now * 1_000_000),
                );
            }
            "InteractionEndPostProcess" => {
                leg.attached
                    .insert("tclSelectedItems", Value::typed("101|2003,101|2007"));
            }
            _ => {}
        }
    }

    /// What every interaction event has.
    fn base(&mut self, row: &Row, dialect: Dialect, now: u64) -> Option<Fields> {
        let (channel, media) = (self.channel, self.media);
        let leg = self.leg(row.line)?;
        let mut fields = Fields::from([
            ("attachedData", Value::Attached(leg.attached.clone())),
            ("event", Value::Text(Cow::Borrowed(dialect.event(row)))),
            ("inboundChannelid", Value::number(channel)),
            ("interactionEventTS", Value::number(now / 1000)),
            ("interactionGUID", Value::typed(leg.guid.clone())),
            ("resourceType", Value::number(media.resource)),
        ]);
        if let Some(state) = dialect.call_state(row) {
            fields.insert("callState", Value::typed(state));
        }
        if row.event != "InteractionCreated" {
            fields.insert("isAgentInitiated", Value::Bool(!self.flow.inbound));
            fields.insert("mediaType", Value::typed(media.name));
        }
        Some(fields)
    }

    /// What only some events have.
    fn particulars(&mut self, row: &Row, fields: &mut Fields, rng: &mut StdRng) -> Option<()> {
        let direction = if self.flow.inbound { "in" } else { "out" };
        let (number, _) = self.queue;
        let leg = self.leg(row.line)?;
        if let Some(queued_at) = leg.queued_at {
            fields.insert("eventTS", Value::number(queued_at));
            fields.insert("queueId", Value::number(number));
            fields.insert("queueTime", Value::number(queued_at));
            fields.insert("transactionNum", Value::number(leg.token));
        }
        match row.event {
            "InteractionQueued" => {
                fields.insert("direction", Value::typed(direction));
                fields.insert("priority", Value::number(50));
                fields.insert("queueList", Value::typed(number.to_string()));
            }
            "InteractionDeleted" => {
                let code = ["1000", "SALE", "NO SALE"]
                    .choose(rng)
                    .copied()
                    .unwrap_or("1000");
                fields.extend([
                    ("callHangupReason", Value::typed("CEC_DISCONNECT_NORMAL")),
                    ("dispositionCode", Value::typed(code)),
                    ("hangupInitiator", Value::typed(row.initiator)),
                    ("isDirectAccess", Value::Bool(false)),
                    ("isQueued", Value::Bool(leg.queued_at.is_some())),
                    ("recordingMode", Value::typed("no")),
                    ("rejectReason", Value::number(0)),
                ]);
            }
            "InteractionEndPostProcess" => {
                fields.insert("agentNotes", Value::typed("customer asked for a call back"));
            }
            "LineHoldStatus" => {
                fields.insert("status", Value::Bool(row.printed == "CS_HOLD"));
            }
            _ => {}
        }
        Some(())
    }
}

fn name_agent(fields: &mut Fields, event: &str, agent: &Agent, tenant: &str) {
    fields.insert("agentId", Value::typed(agent.id.clone()));
    match event {
        "InteractionAssigned" => {
            fields.extend([
                ("agentGUID", Value::typed(agent.guid.clone())),
                ("agentPhone", Value::number(agent.phone)),
                ("agentRscWaitTime", Value::number(30)),
                (
                    "agentTreatedPhone",
                    Value::typed(format!("{}-{tenant}", agent.phone)),
                ),
                ("promptingTimeout", Value::number(30)),
            ]);
        }
        "InteractionParticipantChange" | "InteractionJoinLinesRequest" => {
            fields.insert("participatingAgents", Value::typed(agent.id.clone()));
        }
        "InteractionTransferRequest" => {
            fields.insert("isExternal", Value::Bool(false));
        }
        _ => {}
    }
}

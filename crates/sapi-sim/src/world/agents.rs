//! Owns the agents: who they are, what state each is in, and the documents that say so. It does not
//! know what interaction an agent is busy with.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::text;
use crate::content::{Content, Fields, Value};

/// newState of `AgentStatusChange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    LoggedOut = 1,
    LoggedIn = 2,
    OnBreak = 3,
    Available = 4,
    WorkOffline = 5,
    Offered = 6,
    Processing = 7,
    PostProcess = 8,
}

/// Media that an agent's skills are for.
const SKILLS: &[(&str, u32)] = &[("phone", 591), ("email", 3086), ("chat", 412)];

/// List and item of the tenant's status codes, by the state they explain.
const BREAKS: &[&str] = &["801=1722", "801=1723", "801=1731", "804=1902", "-1=1"];
const OFFLINE: &[&str] = &["802=1740", "802=1744"];

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) guid: String,
    pub(super) phone: u64,
    pub(super) state: State,
    /// An interaction under way has rows to come for this agent.
    pub(super) engaged: bool,
}

impl Agent {
    fn new(rng: &mut StdRng, tenant: &str) -> Self {
        let id = format!("ag{}", text::token(rng, 22));
        Self {
            guid: format!("{tenant}-{id}-{}", text::uuid(rng)),
            id,
            phone: rng.random_range(40_000..50_000),
            state: State::LoggedOut,
            engaged: false,
        }
    }

    /// Free of interactions, so that the agent's own life may go on.
    fn idle(&self) -> bool {
        !self.engaged
            && !matches!(
                self.state,
                State::Offered | State::Processing | State::PostProcess
            )
    }

    /// Goes to a state, and says so.
    pub(super) fn enter(&mut self, state: State, rng: &mut StdRng, now: u64) -> Content {
        self.state = state;
        let reason = match state {
            State::OnBreak => BREAKS.choose(rng).copied(),
            State::WorkOffline => OFFLINE.choose(rng).copied(),
            State::LoggedOut
            | State::LoggedIn
            | State::Available
            | State::Offered
            | State::Processing
            | State::PostProcess => None,
        };
        let stops = state == State::WorkOffline && rng.random_bool(0.3);
        Content::new(
            "AgentStatusChange",
            &Fields::from([
                ("agentId", Value::typed(self.id.clone())),
                ("newReasonCodeUser", Value::typed(reason.unwrap_or("none"))),
                ("newState", Value::number(state as u64)),
                (
                    "newSubState",
                    Value::typed(if stops { "stopnew" } else { "none" }),
                ),
                ("newSubStateReason", Value::typed("none")),
                ("statusEventTS", Value::number(now / 1000)),
            ]),
        )
    }
}

/// Everyone who works in the contact centre.
#[derive(Debug)]
pub(super) struct Agents {
    tenant: String,
    staff: Vec<Agent>,
}

impl Agents {
    pub(super) fn new(rng: &mut StdRng, tenant: &str, count: usize) -> Self {
        let count = count.max(2);
        Self {
            tenant: tenant.to_owned(),
            staff: (0..count).map(|_| Agent::new(rng, tenant)).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.staff.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Agent> {
        self.staff.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Agent> {
        self.staff.get_mut(index)
    }

    /// An agent who is available, another one than `except`.
    pub(super) fn available(&self, rng: &mut StdRng, except: Option<usize>) -> Option<usize> {
        let free: Vec<usize> = (0..self.staff.len())
            .filter(|index| Some(*index) != except)
            .filter(|index| {
                self.get(*index)
                    .is_some_and(|agent| !agent.engaged && agent.state == State::Available)
            })
            .collect();
        free.choose(rng).copied()
    }

    /// Gives an agent an interaction.
    pub(super) fn engage(&mut self, index: Option<usize>) {
        if let Some(agent) = index.and_then(|index| self.get_mut(index)) {
            agent.engaged = true;
        }
    }

    /// How many are logged in.
    pub(super) fn working(&self) -> usize {
        self.staff
            .iter()
            .filter(|agent| agent.state != State::LoggedOut)
            .count()
    }

    /// Someone's next step in life: none if nobody is idle.
    pub(super) fn live(&mut self, rng: &mut StdRng, now: u64) -> Option<Content> {
        let idle: Vec<usize> = (0..self.staff.len())
            .filter(|index| self.get(*index).is_some_and(Agent::idle))
            .collect();
        let agent = self.get_mut(*idle.choose(rng)?)?;
        let next = match agent.state {
            State::LoggedOut => State::LoggedIn,
            State::LoggedIn | State::OnBreak | State::WorkOffline => State::Available,
            // Most of the available stay: one in five steps is a break, few are the end of a shift.
            State::Available => match rng.random_range(0..10) {
                0..6 => State::OnBreak,
                6..9 => State::WorkOffline,
                _ => State::LoggedOut,
            },
            State::Offered | State::Processing | State::PostProcess => return None,
        };
        Some(agent.enter(next, rng, now))
    }

    /// Someone's skills change.
    pub(super) fn provision(&self, rng: &mut StdRng) -> Option<Content> {
        let agent = self.staff.choose(rng)?;
        let (media, number) = SKILLS.choose(rng)?;
        let (tenant, id) = (&self.tenant, &agent.id);
        let event = ["AgentSkillChanged", "AgentSkillCreated"].choose(rng)?;
        let enabled = if rng.random_bool(0.8) { "yes" } else { "no" };
        let skill = format!("{tenant}-{id}-{media}-{number}-{}", text::uuid(rng));
        let tenant_skill = format!("{tenant}-{media}-{number}-{}", text::uuid(rng));
        Some(Content::new(
            "AgentProvChange",
            &Fields::from([
                ("agentId", Value::typed(id.clone())),
                ("enabled", Value::typed(enabled)),
                ("event", Value::typed(*event)),
                ("skillId", Value::typed(skill)),
                ("tenantSkillId", Value::typed(tenant_skill)),
            ]),
        ))
    }
}

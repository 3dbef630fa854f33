//! Owns a contact centre at work: agents with their lives, and interactions that follow the vendor's
//! call flows, many at a time. It says what happens next; it knows neither numbers nor subscriptions.

mod agents;
mod flows;
mod interactions;
mod text;

use std::collections::VecDeque;

use rand::{Rng, SeedableRng, rngs::StdRng};

use self::{
    agents::{Agents, State},
    flows::{FLOWS, Flow, Party, Row},
    interactions::Interaction,
};
use crate::content::Content;

/// How events are spelt: as documented, or as faults want it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// B23: `DeAssigned` for Deassigned, and the overview's own name for a hold.
    pub(crate) spelling: bool,
    /// B24: callState as the overview prints it.
    pub(crate) printed_states: bool,
}

impl Dialect {
    fn event(self, row: &Row) -> &'static str {
        match (self.spelling, row.event) {
            (true, "InteractionDeassigned") => "InteractionDeAssigned",
            (true, "LineHoldStatus") => "Interaction Hold/Unhold",
            (_, event) => event,
        }
    }

    fn call_state(self, row: &Row) -> Option<&'static str> {
        if self.printed_states {
            Some(row.printed)
        } else {
            row.call_state()
        }
    }
}

/// The contact centre.
#[derive(Debug)]
pub(crate) struct World {
    rng: StdRng,
    tenant: String,
    agents: Agents,
    active: Vec<Interaction>,
    /// What follows from the event before: an agent's state after an assignment, for one.
    pending: VecDeque<Content>,
}

impl World {
    pub(crate) fn new(seed: u64, tenant: &str, agents: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            agents: Agents::new(&mut rng, tenant, agents),
            rng,
            tenant: tenant.to_owned(),
            active: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// What happens next, at `now` (ms since 1970).
    pub(crate) fn next(&mut self, now: u64, dialect: Dialect) -> Content {
        loop {
            if let Some(content) = self.pending.pop_front() {
                return content;
            }
            if let Some(content) = self.happen(now, dialect) {
                return content;
            }
        }
    }

    fn happen(&mut self, now: u64, dialect: Dialect) -> Option<Content> {
        let staffed = self.agents.working() * 2 >= self.agents.len();
        if !staffed {
            return self.agents.live(&mut self.rng, now);
        }
        match self.rng.random_range(0..100) {
            0 => self.agents.provision(&mut self.rng),
            1..8 => self.agents.live(&mut self.rng, now),
            8..30 if self.active.len() < self.agents.len() => {
                self.begin();
                None
            }
            _ if self.active.is_empty() => {
                self.begin();
                None
            }
            _ => self.advance(now, dialect),
        }
    }

    fn begin(&mut self) {
        let total: u32 = FLOWS.iter().map(|flow| flow.weight).sum();
        let mut ticket = self.rng.random_range(0..total);
        let chosen: Option<&'static Flow> = FLOWS.iter().find(|flow| {
            let hit = ticket < flow.weight;
            ticket = ticket.saturating_sub(flow.weight);
            hit
        });
        if let Some(flow) = chosen {
            self.active.push(Interaction::new(flow, &mut self.rng));
        }
    }

    /// One interaction goes on by a row: none if it has to wait for an agent.
    fn advance(&mut self, now: u64, dialect: Dialect) -> Option<Content> {
        let index = self.rng.random_range(0..self.active.len());
        let interaction = self.active.get_mut(index)?;
        let Some(row) = interaction.row() else {
            self.active.swap_remove(index);
            return None;
        };
        if row.party != Party::Nobody && interaction.first.is_none() {
            // Both agents of a transfer at once: two interactions that each hold one of the last two
            // agents would wait for each other for good.
            let first = self.agents.available(&mut self.rng, None);
            let second = self.agents.available(&mut self.rng, first);
            let short = first.is_none() || (second.is_none() && interaction.needs(Party::Second));
            if short {
                // Nobody is free: someone ends a break, or the interaction waits.
                return self.agents.live(&mut self.rng, now);
            }
            interaction.first = first;
            self.agents.engage(first);
            if interaction.needs(Party::Second) {
                interaction.second = second;
                self.agents.engage(second);
            }
        }
        interaction.step();
        let party = interaction.party(row.party);
        let agent = party.and_then(|index| self.agents.get(index));
        let clock = (now, &mut self.rng);
        let content = interaction.document(row, agent, &self.tenant, dialect, clock);
        let (done, wraps_up) = (
            !interaction.needs(row.party),
            interaction.wraps_up(row.party),
        );
        if let Some(agent) = party {
            self.follow(agent, row, wraps_up, now);
            if let Some(agent) = self.agents.get_mut(agent) {
                agent.engaged = !done;
            }
        }
        content
    }

    /// What a row does to its agent.
    fn follow(&mut self, agent: usize, row: &Row, wraps_up: bool, now: u64) {
        let state = match row.event {
            "InteractionAssigned" => State::Offered,
            // An outbound caller's own call keeps the agent from being offered another.
            "InteractionAccepted" | "InteractionCreated" => State::Processing,
            "InteractionPostProcess" => State::PostProcess,
            "InteractionEndPostProcess" | "InteractionDeassigned" | "InteractionDeAssigned"
                if !wraps_up =>
            {
                State::Available
            }
            _ => return,
        };
        if let Some(agent) = self.agents.get_mut(agent)
            && agent.state != state
        {
            let content = agent.enter(state, &mut self.rng, now);
            self.pending.push_back(content);
        }
    }
}

#[cfg(test)]
mod tests;

//! Three sessions and their rota against a simulated upstream, through hours.

use crate::rota::Rota;

use super::*;

/// The upstream cuts each session so late.
const CUT: Duration = HOUR;

struct Member {
    session: Session,
    opened: Option<Moment>,
    /// The peer's Close comes then.
    answers: Option<Moment>,
}

struct Fleet {
    members: Vec<Member>,
    rota: Rota,
    now: Moment,
    cuts: Vec<Moment>,
    reopened: usize,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let member = |n: usize| Member {
            session: Session::new(timing(), secs(2) * u32::try_from(n).unwrap(), Gate::Open, 5),
            opened: None,
            answers: None,
        };
        Self {
            members: (0..count).map(member).collect(),
            rota: Rota::new(HOUR, count),
            now: Duration::ZERO,
            cuts: vec![],
            reopened: 0,
        }
    }

    fn give(&mut self, n: usize, input: Input) {
        let actions = self.members[n].session.handle(self.now, input);
        for action in actions {
            match action {
                Action::Connect => {
                    assert_eq!(self.members[n].opened, None, "two sockets on one id");
                    self.members[n].opened = Some(self.now);
                    let window = self.rota.opened(n, self.now);
                    self.give(n, Input::Opened(window));
                }
                Action::SendClose => self.members[n].answers = Some(self.now + secs(1)),
                Action::AskReopen => {
                    let granted = self.rota.may_reopen(n);
                    self.give(n, Input::Reopen(granted));
                }
                Action::Drop(reason, _) => {
                    self.reopened += usize::from(reason == DisconnectReason::Planned);
                    self.members[n].opened = None;
                    self.members[n].answers = None;
                    self.rota.ended(n, reason == DisconnectReason::Planned);
                }
                Action::Abort | Action::Report(..) | Action::Finish => panic!("{action:?}"),
            }
        }
    }

    /// One second.
    fn step(&mut self) {
        self.now += secs(1);
        for n in 0..self.members.len() {
            let member = &self.members[n];
            if member.opened.is_some_and(|opened| self.now >= opened + CUT) {
                self.cuts.push(self.now);
                self.give(n, Input::Ended(End::Close(None)));
            } else if member.answers.is_some_and(|at| self.now >= at) {
                self.give(n, Input::Ended(End::Close(None)));
            } else if member.session.deadline().is_some_and(|at| self.now >= at) {
                self.give(n, Input::Tick);
            } else if self.now.as_secs().is_multiple_of(60) {
                self.members[n].session.received(self.now, 1);
            }
        }
    }
}

#[test]
fn a_day_of_three_is_never_without_a_listener_and_its_cuts_stay_apart() {
    let mut fleet = Fleet::new(3);
    for _ in 0..24 * 3600 {
        fleet.step();
        let listening = fleet
            .members
            .iter()
            .filter(|member| member.opened.is_some());
        let closing = fleet
            .members
            .iter()
            .filter(|member| member.answers.is_some());
        assert!(fleet.now < secs(5) || listening.count() == 3);
        assert!(closing.count() <= 1);
    }
    assert_eq!(fleet.reopened, 2, "each of the younger two, once");
    assert!(fleet.cuts.len() >= 3 * 22);
    let apart = fleet
        .cuts
        .windows(2)
        .map(|two| two[1].saturating_sub(two[0]));
    assert!(apart.min().unwrap() > secs(600));
}

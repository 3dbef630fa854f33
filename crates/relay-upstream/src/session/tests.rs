use relay_core::status::BackOffCause as Cause;

use super::*;
use crate::failure::Answer;
use crate::frames::Closed;

mod closing;
mod fleet;

const HOUR: Duration = Duration::from_hours(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn timing() -> Timing {
    Timing {
        silence: secs(150),
        session_length: HOUR,
        backoffs: Backoffs::default(),
    }
}

/// A session and the clock it lives by.
struct Bench {
    session: Session,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self {
            session: Session::new(timing(), Duration::ZERO, Gate::Open, 7),
            now: Duration::ZERO,
        }
    }

    /// One that is connected.
    fn open() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.tick(), [Action::Connect]);
        assert_eq!(bench.input(Input::Opened(None)), []);
        bench
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        self.session.handle(self.now, input)
    }

    /// To the deadline, and tick.
    fn tick(&mut self) -> Vec<Action> {
        self.now = self.session.deadline().expect("a deadline");
        self.input(Input::Tick)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let is_due = |deadline| self.now > deadline;
        assert!(
            !self.session.deadline().is_some_and(is_due),
            "a deadline was passed over"
        );
    }

    fn heartbeats(&mut self, for_time: Duration) {
        let until = self.now + for_time;
        while self.now < until {
            self.pass(secs(60).min(until.saturating_sub(self.now)));
            self.session.received(self.now, 1);
        }
    }

    fn answered(&mut self, status: u16) -> Vec<Action> {
        let answer = Answer {
            status,
            ..Answer::default()
        };
        self.input(Input::Failed(Failure::Answer(answer), false))
    }

    fn closed(&mut self) -> Vec<Action> {
        let closed = Closed {
            code: 1000,
            reason: String::new(),
        };
        self.input(Input::Ended(End::Close(Some(closed))))
    }

    /// The cause it waits for, and how long.
    fn waits(&self) -> (Cause, Duration) {
        self.session.waits(self.now).expect("it waits")
    }
}

fn drops(actions: &[Action], reason: DisconnectReason) -> bool {
    matches!(actions.first(), Some(Action::Drop(it, _)) if *it == reason)
}

#[test]
fn a_day_of_rotations_reconnects_at_once_each_time() {
    let mut bench = Bench::open();
    for n in 0..24_u64 {
        // 60:00 give or take a minute, by Close or by a bare end.
        bench.heartbeats(secs(3540 + n * 5));
        let actions = if n % 2 == 0 {
            bench.closed()
        } else {
            bench.input(Input::Ended(End::Eof))
        };
        assert!(drops(&actions, DisconnectReason::Rotation), "{actions:?}");
        assert_eq!(actions[1..], [Action::Connect]);
        assert_eq!(bench.session.status(), SubscriptionState::Rotating);
        bench.input(Input::Opened(None));
        assert_eq!(bench.session.failures(), 0);
    }
}

#[test]
fn a_cut_at_another_time_is_none() {
    for (age, end, reason) in [
        (secs(1800), End::Close(None), DisconnectReason::ClosedByPeer),
        (HOUR * 2, End::Close(None), DisconnectReason::ClosedByPeer),
        (secs(1800), End::Eof, DisconnectReason::Network),
        (secs(40), End::Io("reset".into()), DisconnectReason::Network),
        (HOUR, End::Protocol("x".into()), DisconnectReason::Protocol),
    ] {
        let mut bench = Bench::open();
        bench.heartbeats(age);
        let actions = bench.input(Input::Ended(end));
        assert!(drops(&actions, reason), "{actions:?}");
        let (cause, wait) = bench.waits();
        assert_eq!(cause, Cause::Network);
        assert!((secs(1) / 2..=secs(1)).contains(&wait), "{wait:?}");
    }
}

#[test]
fn refusals_of_the_token_come_slower_and_slower() {
    let mut bench = Bench::new();
    let mut waits = vec![];
    for _ in 0..50 {
        assert_eq!(bench.tick(), [Action::Connect]);
        let actions = bench.answered(401);
        assert!(matches!(
            actions[..],
            [Action::Report(DisconnectReason::Auth, _)]
        ));
        assert!(bench.session.watches_token());
        waits.push(bench.waits().1);
    }
    assert!(
        waits
            .iter()
            .all(|wait| (secs(30)..=secs(600)).contains(wait))
    );
    assert!(waits[0] <= secs(60));
    assert!(waits.iter().sum::<Duration>() > 50 * secs(200));
}

#[test]
fn another_token_is_tried_at_once() {
    let mut bench = Bench::new();
    bench.tick();
    bench.answered(403);
    bench.pass(secs(3));
    assert_eq!(bench.input(Input::TokenChanged), [Action::Connect]);
    assert_eq!(bench.input(Input::TokenChanged), []);
    bench.answered(500);
    assert!(!bench.session.watches_token());
}

#[test]
fn only_a_document_is_progress() {
    let mut bench = Bench::new();
    let refuse = || Failure::Network("refused".into());
    for _ in 0..12 {
        bench.tick();
        bench.input(Input::Failed(refuse(), false));
    }
    // The handshake succeeds, bytes arrive, but no document: the next wait is still a long one.
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        bench.tick();
        bench.input(Input::Opened(None));
        bench.pass(secs(100));
        bench.session.received(bench.now, 0);
        bench.input(Input::Ended(End::Eof));
        longest = longest.max(bench.waits().1);
    }
    assert!(longest > secs(20), "{longest:?}");
    bench.tick();
    bench.input(Input::Opened(None));
    bench.heartbeats(secs(60));
    bench.input(Input::Ended(End::Eof));
    assert!(bench.waits().1 <= secs(1));
}

#[test]
fn a_quota_waits_as_long_as_it_is_told_within_its_bounds() {
    let mut bench = Bench::new();
    for (told, least) in [(60, 60), (9999, 300)] {
        bench.tick();
        let answer = Answer {
            status: 429,
            retry_after: Some(secs(told)),
            ..Answer::default()
        };
        bench.input(Input::Failed(Failure::Answer(answer), false));
        let (cause, wait) = bench.waits();
        assert_eq!(cause, Cause::Quota);
        assert!((secs(least)..=secs(300)).contains(&wait), "{wait:?}");
    }
}

#[test]
fn being_closed_soon_again_and_again_is_a_quota_even_with_documents() {
    let mut bench = Bench::open();
    for n in 1..40 {
        bench.pass(secs(2));
        bench.session.received(bench.now, 3);
        let actions = bench.closed();
        let (cause, wait) = bench.waits();
        if n < 3 {
            assert!(drops(&actions, DisconnectReason::ClosedByPeer));
            assert_eq!(cause, Cause::Network);
        } else {
            assert!(drops(&actions, DisconnectReason::Quota));
            assert_eq!(cause, Cause::Quota);
            assert!(wait >= secs(15));
        }
        bench.tick();
        bench.input(Input::Opened(None));
    }
    assert_eq!(bench.session.failures(), 39);
    // A session that lasts ends the loop.
    bench.heartbeats(secs(120));
    assert_eq!(bench.session.failures(), 0);
    bench.closed();
    assert_eq!(bench.waits().0, Cause::Network);
}

#[test]
fn silence_is_a_dead_connection() {
    let mut bench = Bench::open();
    bench.heartbeats(secs(600));
    let heard = bench.now;
    let actions = bench.tick();
    assert_eq!(bench.now, heard + secs(150));
    assert_eq!(actions[0], Action::SendClose);
    assert!(drops(&actions[1..], DisconnectReason::Silence));
    assert_eq!(bench.waits().0, Cause::Network);
}

#[test]
fn another_path_is_tried_at_once() {
    let mut bench = Bench::new();
    bench.tick();
    let not_found = || {
        Failure::Answer(Answer {
            status: 404,
            ..Answer::default()
        })
    };
    assert_eq!(
        bench.input(Input::Failed(not_found(), true)),
        [Action::Connect]
    );
    assert!(bench.session.is_connecting());
    let actions = bench.input(Input::Failed(not_found(), false));
    assert!(matches!(
        actions[..],
        [Action::Report(DisconnectReason::Refused, _)]
    ));
    assert_eq!(bench.waits().0, Cause::Refused);
    assert!(bench.waits().1 >= secs(30));
}

#[test]
fn short_sessions_of_a_test_server_are_rotations_too() {
    let timing = Timing {
        session_length: secs(2),
        ..timing()
    };
    let mut bench = Bench::new();
    bench.session = Session::new(timing, Duration::ZERO, Gate::Open, 1);
    bench.tick();
    for _ in 0..10 {
        bench.input(Input::Opened(None));
        bench.pass(secs(2));
        assert!(drops(&bench.closed(), DisconnectReason::Rotation));
    }
}

//! Closing on purpose: to stop, for a full disk, to reopen early.

use super::*;

#[test]
fn stopping_closes_and_reads_on_until_the_peers_close() {
    let mut bench = Bench::open();
    assert_eq!(bench.input(Input::Stop), [Action::SendClose]);
    bench.pass(secs(1));
    bench.session.received(bench.now, 5);
    let actions = bench.closed();
    assert!(drops(&actions, DisconnectReason::Shutdown));
    assert_eq!(actions[1..], [Action::Finish]);
    assert!(bench.session.is_finished());
}

#[test]
fn stopping_waits_five_seconds_at_most() {
    let mut bench = Bench::open();
    bench.input(Input::Stop);
    let actions = bench.tick();
    assert_eq!(bench.now, secs(5));
    assert!(drops(&actions, DisconnectReason::Shutdown));
    assert!(bench.session.is_finished());
}

#[test]
fn stopping_elsewhere_is_immediate() {
    let mut waiting = Bench::new();
    assert_eq!(waiting.input(Input::Stop), [Action::Finish]);
    let mut connecting = Bench::new();
    connecting.tick();
    assert_eq!(
        connecting.input(Input::Stop),
        [Action::Abort, Action::Finish]
    );
    let mut parked = Bench::new();
    parked.input(Input::Gate(Gate::Full));
    parked.tick();
    assert_eq!(parked.session.deadline(), None);
    assert_eq!(parked.input(Input::Stop), [Action::Finish]);
}

/// A bench whose request is written when it is not wanted any more.
fn leaving(input: Input) -> Bench {
    let mut bench = Bench::new();
    bench.tick();
    bench.session.asked();
    assert_eq!(bench.input(input), []);
    assert!(bench.session.is_connecting());
    assert_eq!(bench.session.status(), SubscriptionState::Stopped);
    bench
}

#[test]
fn what_is_asked_for_is_taken_before_it_is_closed() {
    for (input, why) in [
        (Input::Stop, DisconnectReason::Shutdown),
        (Input::Gate(Gate::Full), DisconnectReason::DiskFull),
    ] {
        let mut bench = leaving(input);
        bench.pass(secs(4));
        assert_eq!(bench.input(Input::Opened(None)), [Action::SendClose]);
        bench.session.received(bench.now, 5);
        assert!(drops(&bench.closed(), why));
    }
}

#[test]
fn an_answer_is_waited_for_five_seconds_at_most() {
    let mut stopping = leaving(Input::Stop);
    assert_eq!(stopping.tick(), [Action::Abort, Action::Finish]);
    assert_eq!(stopping.now, secs(5));
    assert!(stopping.session.is_finished());
    let mut full = leaving(Input::Gate(Gate::Full));
    assert_eq!(full.tick(), [Action::Abort]);
    assert_eq!(full.input(Input::Gate(Gate::Open)), [Action::Connect]);
    // Full, then stopped: the time does not begin again.
    let mut both = leaving(Input::Gate(Gate::Full));
    both.pass(secs(3));
    both.input(Input::Stop);
    both.tick();
    assert_eq!(both.now, secs(5));
    assert!(both.session.is_finished());
}

#[test]
fn a_refusal_ends_what_is_not_wanted_any_more() {
    for try_other in [false, true] {
        let failed = || Input::Failed(Failure::Network("x".to_owned()), try_other);
        let mut stopping = leaving(Input::Stop);
        stopping.input(failed());
        assert!(stopping.session.is_finished());
        let mut full = leaving(Input::Gate(Gate::Full));
        full.input(failed());
        assert!(!full.session.is_connecting());
    }
}

#[test]
fn room_while_it_waits_for_the_answer_keeps_the_attempt() {
    let mut bench = leaving(Input::Gate(Gate::Full));
    assert_eq!(bench.input(Input::Gate(Gate::Open)), []);
    assert_eq!(bench.session.deadline(), None);
    assert_eq!(bench.input(Input::Opened(None)), []);
    assert_eq!(bench.session.status(), SubscriptionState::Streaming);
}

#[test]
fn a_full_disk_closes_parks_and_comes_back() {
    let mut bench = Bench::open();
    assert_eq!(bench.input(Input::Gate(Gate::Full)), [Action::SendClose]);
    assert_eq!(bench.session.status(), SubscriptionState::Stopped);
    let actions = bench.closed();
    assert!(drops(&actions, DisconnectReason::DiskFull));
    assert_eq!(actions.len(), 1);
    assert_eq!(bench.session.deadline(), None);
    assert_eq!(bench.input(Input::Gate(Gate::Open)), [Action::Connect]);
    // Full while connecting, before anything was asked.
    assert_eq!(bench.input(Input::Gate(Gate::Full)), [Action::Abort]);
    assert_eq!(bench.session.status(), SubscriptionState::Stopped);
}

#[test]
fn room_while_it_closes_brings_it_back_when_it_is_closed() {
    let mut bench = Bench::open();
    bench.input(Input::Gate(Gate::Full));
    assert_eq!(bench.input(Input::Gate(Gate::Open)), []);
    let actions = bench.closed();
    assert_eq!(actions[1..], [Action::Connect]);
}

#[test]
fn a_full_disk_does_not_shorten_a_wait() {
    let mut bench = Bench::new();
    bench.tick();
    bench.answered(401);
    let wait = bench.waits();
    bench.input(Input::Gate(Gate::Full));
    bench.input(Input::Gate(Gate::Open));
    assert_eq!(bench.waits(), wait);
}

#[test]
fn an_early_reopening_waits_for_quiet_closes_first_and_connects_after_the_peers_close() {
    let mut bench = Bench::new();
    bench.tick();
    let window = Window {
        from: secs(1000),
        until: secs(1100),
    };
    bench.input(Input::Opened(Some(window)));
    bench.heartbeats(secs(960));
    // Bytes keep coming within the window: not yet.
    while bench.now < secs(1050) {
        bench.pass(secs(1));
        bench.session.received(bench.now, 1);
    }
    assert_eq!(bench.tick(), [Action::AskReopen]);
    assert_eq!(bench.now, secs(1052));
    assert_eq!(bench.input(Input::Reopen(true)), [Action::SendClose]);
    assert_eq!(bench.session.status(), SubscriptionState::Rotating);
    bench.pass(secs(1));
    let actions = bench.closed();
    assert!(drops(&actions, DisconnectReason::Planned));
    assert_eq!(actions[1..], [Action::Connect]);
}

#[test]
fn a_reopening_without_the_peers_close_does_not_connect_at_once() {
    let mut bench = Bench::new();
    bench.tick();
    let window = Window {
        from: secs(10),
        until: secs(20),
    };
    bench.input(Input::Opened(Some(window)));
    bench.tick();
    bench.input(Input::Reopen(true));
    let actions = bench.tick();
    assert!(drops(&actions, DisconnectReason::Planned));
    assert_eq!(actions.len(), 1);
    assert_eq!(bench.waits().0, Cause::Network);
}

#[test]
fn a_busy_window_ends_and_a_refused_reopening_is_not_asked_again() {
    let mut bench = Bench::new();
    bench.tick();
    let window = Window {
        from: secs(10),
        until: secs(20),
    };
    bench.input(Input::Opened(Some(window)));
    while bench.now < secs(20) {
        bench.pass(secs(1));
        bench.session.received(bench.now, 1);
    }
    assert_eq!(bench.tick(), [Action::AskReopen]);
    assert_eq!(bench.now, secs(20));
    assert_eq!(bench.input(Input::Reopen(false)), []);
    assert_eq!(bench.session.deadline(), Some(secs(20 + 150)));
}

#[test]
fn what_was_held_up_is_read_before_the_peers_close_is_given_up() {
    let mut bench = Bench::open();
    bench.input(Input::Stop);
    bench.session.reads_again(secs(60));
    assert_eq!(bench.session.deadline(), Some(secs(65)));
    bench.session.reads_again(secs(30));
    assert_eq!(bench.session.deadline(), Some(secs(65)));
    bench.closed();
    bench.session.reads_again(bench.now);
    assert!(bench.session.is_finished());
}

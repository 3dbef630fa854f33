//! Connections over time, and what is held of the times between them.

use super::*;
use crate::Store;
use crate::sequence::{Ledgers, Shown};

const HOUR: u64 = 3_600_000;
/// No number is missing, and every numbering has gone on.
const NOTHING: AcrossCut = AcrossCut {
    missing: 0,
    is_silent: false,
};

fn missing(missing: u64) -> AcrossCut {
    AcrossCut { missing, ..NOTHING }
}

fn at(seconds: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
}

fn fresh(heard_ms: Option<u64>) -> Continuity {
    Continuity::new("a".into(), Duration::from_hours(2), heard_ms, heard_ms)
}

/// One that has been streaming since hour 10.
fn streaming() -> Continuity {
    let mut continuity = fresh(None);
    assert!(continuity.connected(10 * HOUR, false, at(0)).afresh);
    continuity.document(10 * HOUR, true, Some(Observed::First), at(0));
    continuity
}

fn kinds(notices: &[NoticeDraft]) -> Vec<NoticeKind> {
    notices.iter().map(|notice| notice.kind).collect()
}

#[test]
fn a_rotation_with_contiguous_numbers_is_recovered_after_the_grace() {
    let mut continuity = streaming();
    let cut = continuity.disconnected(11 * HOUR, DisconnectReason::Rotation, "", NOTHING);
    assert_eq!(kinds(&cut), [NoticeKind::Disconnected]);
    assert_eq!(
        (cut[0].from, cut[0].until),
        (Some(10 * HOUR), Some(11 * HOUR))
    );
    let opened = continuity.connected(11 * HOUR + 1, false, at(0));
    assert_eq!(
        (kinds(&opened.notices), opened.afresh),
        (vec![NoticeKind::Connected], false)
    );
    assert_eq!(continuity.due(), None, "nothing has been heard");
    continuity.document(11 * HOUR + 2, true, Some(Observed::Next), at(10));
    assert_eq!(continuity.settle(at(14), NOTHING, None), None);
    let verdict = continuity.settle(at(15), NOTHING, None).unwrap();
    assert_eq!(
        (verdict.kind, verdict.verdict),
        (NoticeKind::Recovered, Some(Verdict::Recovered))
    );
    assert_eq!(
        (verdict.from, verdict.until),
        (Some(10 * HOUR), Some(11 * HOUR + 2))
    );
    assert_eq!(continuity.settle(at(100), NOTHING, None), None, "once");
}

#[test]
fn without_evidence_a_loss_is_possible() {
    for observed in [None, Some(Observed::First), Some(Observed::Restarted)] {
        let mut continuity = streaming();
        continuity.disconnected(11 * HOUR, DisconnectReason::Network, "reset", NOTHING);
        continuity.connected(11 * HOUR + 1, false, at(0));
        continuity.document(11 * HOUR + 2, true, observed, at(0));
        let verdict = continuity.settle(at(5), NOTHING, None).unwrap();
        assert_eq!(verdict.kind, NoticeKind::PossibleLoss, "{observed:?}");
    }
}

#[test]
fn while_only_repetitions_come_the_verdict_waits() {
    let mut continuity = streaming();
    continuity.disconnected(11 * HOUR, DisconnectReason::Network, "", NOTHING);
    continuity.connected(11 * HOUR + 1, false, at(0));
    continuity.document(11 * HOUR + 2, true, Some(Observed::Old), at(0));
    assert_eq!(continuity.settle(at(20), NOTHING, None), None);
    continuity.document(11 * HOUR + 3, true, Some(Observed::Next), at(20));
    assert_eq!(
        continuity.settle(at(20), NOTHING, None).unwrap().kind,
        NoticeKind::Recovered
    );
}

#[test]
fn certain_loss_is_measured_from_the_last_document_a_heartbeat_included() {
    let mut continuity = streaming();
    continuity.document(13 * HOUR, false, Some(Observed::Next), at(0));
    continuity.disconnected(13 * HOUR, DisconnectReason::Silence, "", NOTHING);
    assert_eq!(
        kinds(&continuity.connected(15 * HOUR, false, at(7200)).notices),
        [NoticeKind::Connected]
    );
    let mut continuity = streaming();
    continuity.document(13 * HOUR, false, Some(Observed::Next), at(0));
    continuity.disconnected(14 * HOUR, DisconnectReason::Silence, "", NOTHING);
    let opened = continuity.connected(15 * HOUR + 1, false, at(7201));
    assert_eq!(
        kinds(&opened.notices),
        [NoticeKind::Connected, NoticeKind::CertainLoss]
    );
    assert!(opened.afresh);
    assert_eq!(
        (opened.notices[1].from, opened.notices[1].until),
        (Some(13 * HOUR), Some(15 * HOUR + 1))
    );
}

#[test]
fn connections_that_bring_nothing_do_not_shorten_the_time_away() {
    let mut continuity = streaming();
    for minutes in (0..180).step_by(10) {
        let at_ms = 10 * HOUR + minutes * 60_000;
        continuity.disconnected(at_ms, DisconnectReason::Network, "", NOTHING);
        if minutes < 170 {
            assert_eq!(
                kinds(
                    &continuity
                        .connected(at_ms + 1, false, at(60 * minutes + 1))
                        .notices
                )
                .len(),
                if minutes == 120 { 2 } else { 1 }
            );
        }
    }
}

#[test]
fn a_certain_loss_is_said_once_and_then_only_what_extends_it() {
    let mut continuity = streaming();
    let mut told = Vec::new();
    // Three hours without a connection; then it is made again and again, and brings nothing.
    for minutes in [180, 181, 182, 370] {
        let at_ms = 10 * HOUR + minutes * 60_000;
        continuity.disconnected(at_ms - 1000, DisconnectReason::Network, "", NOTHING);
        let opened = continuity.connected(at_ms, false, at(60 * minutes));
        let notices = opened.notices.into_iter();
        let loss = notices.filter(|notice| notice.kind == NoticeKind::CertainLoss);
        told.extend(loss.map(|notice| (notice.from, notice.until)));
    }
    let minute = |minutes: u64| Some(10 * HOUR + minutes * 60_000);
    assert_eq!(told, [(minute(0), minute(180)), (minute(180), minute(370))]);
}

#[test]
fn a_leap_of_the_wall_clock_is_no_certain_loss() {
    for (observed, kind) in [
        (Observed::Next, NoticeKind::Recovered),
        (Observed::First, NoticeKind::PossibleLoss),
    ] {
        let mut continuity = streaming();
        continuity.disconnected(10 * HOUR, DisconnectReason::Network, "", NOTHING);
        let opened = continuity.connected(13 * HOUR, false, at(10));
        assert_eq!(kinds(&opened.notices), [NoticeKind::Connected]);
        assert!(opened.afresh, "in doubt nothing is taken for known");
        continuity.document(13 * HOUR, true, Some(observed), at(10));
        let verdict = continuity.settle(at(15), NOTHING, None).unwrap();
        assert_eq!(verdict.kind, kind);
        assert_eq!(
            verdict.text.contains("the wall clock leapt"),
            kind == NoticeKind::PossibleLoss,
            "{}",
            verdict.text
        );
    }
}

#[test]
fn a_cut_during_the_replay_gives_the_verdict_at_once() {
    let mut continuity = streaming();
    continuity.disconnected(11 * HOUR, DisconnectReason::Network, "", NOTHING);
    continuity.connected(11 * HOUR + 1, false, at(0));
    continuity.document(11 * HOUR + 2, true, Some(Observed::Hole), at(0));
    let notices = continuity.disconnected(11 * HOUR + 3, DisconnectReason::Network, "", missing(7));
    assert_eq!(
        kinds(&notices),
        [NoticeKind::PossibleLoss, NoticeKind::Disconnected]
    );
    assert_eq!(notices[0].missing, Some(7));
}

#[test]
fn across_a_restart_a_hole_is_unverified_and_contiguity_is_recovery() {
    for (observed, numbers, kind) in [
        (Observed::Next, 0, NoticeKind::Recovered),
        (Observed::Hole, 3, NoticeKind::SequenceUnverified),
        (Observed::First, 0, NoticeKind::SequenceUnverified),
    ] {
        let mut continuity = fresh(Some(10 * HOUR));
        assert_eq!(
            kinds(&continuity.connected(11 * HOUR, false, at(0)).notices),
            [NoticeKind::Connected]
        );
        continuity.document(11 * HOUR, true, Some(observed), at(0));
        let verdict = continuity.settle(at(5), missing(numbers), None).unwrap();
        assert_eq!(verdict.kind, kind);
        assert!(!verdict.text.is_empty());
    }
}

#[test]
fn a_failed_attempt_is_no_disconnect() {
    let mut continuity = streaming();
    continuity.disconnected(11 * HOUR, DisconnectReason::Network, "", NOTHING);
    assert!(
        continuity
            .disconnected(11 * HOUR + 1, DisconnectReason::Auth, "", NOTHING)
            .is_empty()
    );
}

/// Two instances that interleave, cut after both were heard; what follows.
struct Interleaved {
    continuity: Continuity,
    ledgers: Ledgers,
}

impl Interleaved {
    fn cut() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _thread) = Store::open(&dir.path().join("state.redb")).unwrap();
        let mut this = Self {
            continuity: streaming(),
            ledgers: Ledgers::restore(vec!["a".into()], true, &store),
        };
        for (instance, sequence) in [("x", 1), ("y", 1), ("x", 2), ("y", 2)] {
            this.show(instance, sequence, 0);
        }
        let cut = this.ledgers.across_cut(0);
        this.continuity
            .disconnected(11 * HOUR, DisconnectReason::Network, "", cut);
        this.ledgers.cut(0, at(0));
        this.continuity.connected(11 * HOUR + 1, false, at(0));
        this
    }

    fn show(&mut self, instance: &str, sequence: u64, seconds: u64) {
        let shown = Shown {
            sequence,
            timestamp: Some(100 + sequence),
            heartbeat: false,
            content: sequence,
        };
        let now = at(seconds);
        let observed = self.ledgers.observe(0, instance, shown, 11 * HOUR, now);
        self.continuity.document(11 * HOUR + 2, true, observed, now);
    }

    fn settle(&mut self, seconds: u64) -> Option<NoticeKind> {
        let cut = self.ledgers.across_cut(0);
        let verdict = self.continuity.settle(at(seconds), cut, None);
        verdict.map(|verdict| verdict.kind)
    }
}

#[test]
fn one_numbering_that_went_on_does_not_vouch_for_another() {
    let mut both = Interleaved::cut();
    for second in 0..150 {
        both.show("x", 3 + second, second);
        assert_eq!(both.settle(second), None, "{second}");
    }
    assert_eq!(both.settle(150), Some(NoticeKind::PossibleLoss));
    // What shows nothing for a whole connection is not waited for at the next cut.
    let cut = both.ledgers.across_cut(0);
    assert!(cut.is_silent);
    both.ledgers.cut(0, at(160));
    both.show("x", 153, 160);
    assert_eq!(both.ledgers.across_cut(0), NOTHING);
}

#[test]
fn the_verdict_is_given_once_every_numbering_has_gone_on() {
    let mut both = Interleaved::cut();
    both.show("x", 3, 0);
    assert_eq!(both.settle(5), None);
    both.show("y", 2, 20);
    assert_eq!(both.settle(20), None, "a repetition");
    both.show("y", 3, 30);
    assert_eq!(both.settle(30), Some(NoticeKind::Recovered));
}

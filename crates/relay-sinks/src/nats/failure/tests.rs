use super::*;
use crate::nats::{Auth, JetStream, Subject};

fn config() -> Config {
    Config {
        name: "lake".into(),
        tenant: "acme".into(),
        servers: vec!["nats://one:4222".into()],
        subject: Subject::parse("sapi.{type}").unwrap(),
        jetstream: Some(JetStream {
            stream: Some("SAPI".into()),
            create: false,
        }),
        auth: Auth::Nobody,
        tls: None,
        format: crate::Format::Binary,
    }
}

fn error(code: u64, err_code: u64, description: &str) -> jetstream::Error {
    let error = serde_json::json!({"code": code, "err_code": err_code, "description": description});
    serde_json::from_value(error).unwrap()
}

fn refused(code: u64, err_code: u64, description: &str) -> Verdict {
    let error = error(code, err_code, description);
    let error = PublishError::with_source(PublishErrorKind::Other, error);
    publish(&error, &config())
}

fn next(verdict: Verdict) -> Option<(Next, bool)> {
    match verdict {
        Verdict::Failed(failure) => Some((failure.next, failure.remedy.is_empty())),
        Verdict::Rejected(_) | Verdict::Late | Verdict::Untaken => None,
    }
}

#[test]
fn each_refusal_of_a_stream_has_its_consequence() {
    for (code, err_code, description, wanted) in [
        (
            503,
            10_077,
            "maximum messages exceeded",
            Some((Next::Retry, false)),
        ),
        (
            503,
            10_077,
            "maximum bytes exceeded",
            Some((Next::Retry, false)),
        ),
        (429, 10_167, "too many requests", Some((Next::Retry, true))),
        (
            503,
            10_008,
            "JetStream system temporarily unavailable",
            Some((Next::Retry, true)),
        ),
        (
            503,
            10_023,
            "insufficient resources",
            Some((Next::Blocked, false)),
        ),
        (
            400,
            10_060,
            "expected stream does not match",
            Some((Next::Blocked, false)),
        ),
        (
            503,
            10_039,
            "JetStream not enabled for account",
            Some((Next::Blocked, false)),
        ),
        (
            404,
            10_059,
            "stream not found",
            Some((Next::Reconnect, true)),
        ),
        (
            409,
            10_158,
            "duplicate message id is in process",
            Some((Next::Retry, true)),
        ),
        (400, 10_003, "bad request", Some((Next::Blocked, false))),
        (
            400,
            10_109,
            "invalid operation on sealed stream",
            Some((Next::Blocked, false)),
        ),
    ] {
        let verdict = refused(code, err_code, description);
        assert_eq!(next(verdict), wanted, "{description}");
    }
    let kind = |kind| publish(&PublishError::new(kind), &config());
    assert_eq!(kind(PublishErrorKind::TimedOut), Verdict::Late);
    assert_eq!(kind(PublishErrorKind::StreamNotFound), Verdict::Untaken);
    assert_eq!(
        kind(PublishErrorKind::BrokenPipe),
        Verdict::Failed(disconnected())
    );
}

#[test]
fn only_an_event_that_is_too_large_is_refused_for_good() {
    for (err_code, description) in [
        (10_054, "message size exceeds maximum allowed"),
        (10_097, "header size exceeds maximum allowed of 64k"),
    ] {
        let verdict = refused(400, err_code, description);
        assert!(matches!(&verdict, Verdict::Rejected(reason) if reason.contains(description)));
    }
}

#[test]
fn what_servers_say_while_they_start_goes_by() {
    for (code, err_code, description, wanted) in [
        (
            503,
            10_008,
            "JetStream system temporarily unavailable",
            Next::Reconnect,
        ),
        (500, 10_118, "stream is offline", Next::Reconnect),
        (503, 10_023, "insufficient resources", Next::Blocked),
        (
            500,
            10_047,
            "insufficient storage resources available",
            Next::Blocked,
        ),
        (
            500,
            10_028,
            "insufficient memory resources available",
            Next::Blocked,
        ),
        (503, 10_076, "JetStream not enabled", Next::Blocked),
        (
            503,
            10_039,
            "JetStream not enabled for account",
            Next::Blocked,
        ),
        (
            400,
            10_058,
            "stream name already in use with a different configuration",
            Next::Blocked,
        ),
    ] {
        let error = error(code, err_code, description);
        let looked = super::refused("looking", &error, "look".into());
        let made = CreateStreamError::new(CreateStreamErrorKind::JetStream(error));
        for failure in [looked, not_made("SAPI", &made)] {
            assert_eq!(failure.next, wanted, "{failure:?}");
            assert_eq!(failure.remedy.is_empty(), wanted == Next::Reconnect);
            assert!(failure.text.contains(description), "{failure:?}");
        }
    }
}

#[test]
fn what_a_server_says_by_itself_is_told_apart() {
    for (said, wanted) in [
        (
            "nats: Permissions Violation for Publish to \"sapi.x\"",
            Next::Blocked,
        ),
        ("nats: authorization violation", Next::Blocked),
        ("nats: User Authentication Expired", Next::Blocked),
        ("nats: User Authentication Revoked", Next::Blocked),
        ("nats: maximum connections exceeded", Next::Reconnect),
        ("nats: Stale Connection", Next::Reconnect),
    ] {
        let failure = server(said, "token", "sapi.*");
        assert_eq!(failure.next, wanted, "{said}");
        assert_eq!(
            failure.remedy.is_empty(),
            wanted == Next::Reconnect,
            "{said}"
        );
        assert!(!failure.text.contains("nats: "), "{}", failure.text);
    }
}

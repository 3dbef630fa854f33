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

fn refused(code: u64, err_code: u64, description: &str) -> Verdict {
    let error = serde_json::json!({"code": code, "err_code": err_code, "description": description});
    let error: jetstream::Error = serde_json::from_value(error).unwrap();
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
        (400, 10_054, "message size exceeds maximum allowed", None),
        (400, 10_003, "bad request", None),
    ] {
        let verdict = refused(code, err_code, description);
        if wanted.is_none() {
            assert!(matches!(&verdict, Verdict::Rejected(reason) if reason.contains(description)));
        }
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

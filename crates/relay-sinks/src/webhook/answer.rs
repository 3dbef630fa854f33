//! What an endpoint's answer means (PRODUCT section 3, webhook answers). It sends nothing.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use relay_core::sink::{Failure, Next};

use super::hidden::Hidden;

/// The longest time an endpoint may ask to be left alone.
const LONGEST: Duration = Duration::from_hours(1);
/// What is shown of an answer's body.
const SHOWN: usize = 200;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The endpoint has what was sent.
    Delivered,
    /// It refuses for good what was sent.
    Rejected(String),
    /// It takes nothing now, whatever it is.
    Failed(Failure),
}

/// What an endpoint says besides its status.
pub(super) struct Said<'a> {
    pub(super) headers: &'a HeaderMap,
    /// What was read of the body.
    pub(super) body: &'a str,
    /// What must not be shown of all that.
    pub(super) hidden: &'a Hidden,
}

/// Judges an answer.
pub(super) fn judge(status: StatusCode, said: &Said<'_>, now: Timestamp) -> Answer {
    if status.is_success() {
        return Answer::Delivered;
    }
    let text = describe(status, said);
    let failed = |next, remedy: &str| {
        Answer::Failed(Failure {
            next,
            text: format!("the endpoint answered {text}"),
            remedy: remedy.to_owned(),
        })
    };
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => {
            let wait = said.headers.get(RETRY_AFTER).and_then(|value| {
                let value = value.to_str().ok()?;
                retry_after(value, now)
            });
            failed(wait.map_or(Next::Retry, Next::RetryAfter), "")
        }
        410 => failed(
            Next::Disabled,
            "the endpoint is gone for good: remove the sink, or change its url; if it is back, resume the sink",
        ),
        401 => failed(
            Next::Blocked,
            "the endpoint does not know the relay: check secret, headers.authorization and tls.cert_file; \
             a reload (SIGHUP) reads their files again",
        ),
        403 => failed(
            Next::Blocked,
            "the endpoint forbids it: check secret and headers.*, and whether something in front of it lets this address through",
        ),
        404 => failed(Next::Blocked, "there is no such endpoint: check url"),
        405 => failed(
            Next::Blocked,
            "the address takes no POST: check url, the endpoint has to accept POST",
        ),
        407 => failed(
            Next::Blocked,
            "a proxy in between wants credentials; the relay uses no proxy of its own: check url and the network",
        ),
        415 => failed(
            Next::Blocked,
            "the endpoint does not take this content type: set format (binary or structured) and mode to what it expects",
        ),
        300..=399 => failed(
            Next::Blocked,
            "redirects are not followed: set url to the address it redirects to, if you trust that",
        ),
        _ => Answer::Rejected(text),
    }
}

/// `422 Unprocessable Entity: what the body says`.
fn describe(status: StatusCode, said: &Said<'_>) -> String {
    let mut text = status.as_u16().to_string();
    if let Some(reason) = status.canonical_reason() {
        text = format!("{text} {reason}");
    }
    let to = said
        .headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    if let Some(to) = to.filter(|_| status.is_redirection()) {
        // What follows a question mark may be a secret.
        let to = to.split(['?', '#']).next().unwrap_or_default();
        text = format!("{text}, to {}", shown(&said.hidden.mask(to)));
    }
    let body = shown(&said.hidden.mask(said.body));
    if body.is_empty() {
        text
    } else {
        format!("{text}: {body}")
    }
}

/// A text of the endpoint on one line, without control characters, shortened.
fn shown(text: &str) -> String {
    let clean = text.replace(|c: char| c.is_control() || is_invisible(c), " ");
    let mut words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(SHOWN) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// What turns the direction of a line, or has no width: it could make a log say something else.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3), bounded.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit is longer than the bound.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let at = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T00:00:00Z".parse().unwrap()
    }

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let mut hidden = Hidden::default();
        hidden.url(&"https://example.com/hooks/s3cr3tpath".parse().unwrap());
        hidden.header("Bearer sk-abc");
        let said = Said {
            headers: &headers,
            body,
            hidden: &hidden,
        };
        judge(StatusCode::from_u16(status).unwrap(), &said, now())
    }

    fn next(status: u16, headers: &[(&'static str, &str)]) -> Next {
        match answer(status, headers, "") {
            Answer::Failed(failure) => {
                let acted_on = matches!(failure.next, Next::Blocked | Next::Disabled);
                assert_eq!(acted_on, !failure.remedy.is_empty(), "{failure:?}");
                failure.next
            }
            other @ (Answer::Delivered | Answer::Rejected(_)) => panic!("{status}: {other:?}"),
        }
    }

    #[test]
    fn every_class_of_answers() {
        for status in [200, 201, 202, 204, 207, 299] {
            assert_eq!(answer(status, &[], ""), Answer::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 507, 599] {
            assert_eq!(next(status, &[]), Next::Retry, "{status}");
        }
        for status in [
            401, 403, 404, 405, 407, 415, 300, 301, 302, 303, 304, 307, 308,
        ] {
            assert_eq!(next(status, &[]), Next::Blocked, "{status}");
        }
        assert_eq!(next(410, &[]), Next::Disabled);
        for status in [
            400, 402, 406, 409, 411, 412, 413, 414, 416, 417, 418, 421, 422, 423, 424, 426, 428,
            431, 451, 499,
        ] {
            assert!(
                matches!(answer(status, &[], ""), Answer::Rejected(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_honoured_in_both_forms_and_bounded() {
        let seconds = Duration::from_secs;
        for (value, wanted) in [
            ("7", Some(seconds(7))),
            ("0", Some(seconds(0))),
            ("Tue, 24 Nov 2026 00:00:30 GMT", Some(seconds(30))),
            ("Tuesday, 24-Nov-26 00:00:30 GMT", Some(seconds(30))),
            ("Mon, 23 Nov 2026 00:00:30 GMT", Some(seconds(0))),
            ("Wed, 24 Nov 2027 00:00:30 GMT", Some(LONGEST)),
            ("99999999999999999999999999", Some(LONGEST)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let wanted = wanted.map_or(Next::Retry, Next::RetryAfter);
            assert_eq!(next(503, &[("retry-after", value)]), wanted, "{value:?}");
            assert_eq!(next(429, &[("retry-after", value)]), wanted, "{value:?}");
        }
        assert_eq!(next(401, &[("retry-after", "7")]), Next::Blocked);
    }

    #[test]
    fn what_the_endpoint_says_is_shown_short_and_harmless() {
        let body = format!("no\r\n\x1b[31msuch\u{202e}field\0 {}", "x".repeat(5000));
        let Answer::Rejected(text) = answer(422, &[], &body) else {
            panic!("a rejection")
        };
        assert!(
            text.starts_with("422 Unprocessable Entity: no [31msuch field xxx"),
            "{text}"
        );
        assert!(text.ends_with('…') && text.chars().count() < 240, "{text}");
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    }

    #[test]
    fn a_redirect_says_where_to_without_its_query() {
        let headers = [(
            "location",
            "https://elsewhere.example.com/hook?token=hunter2",
        )];
        let Answer::Failed(failure) = answer(302, &headers, "") else {
            panic!("a failure")
        };
        assert_eq!(
            failure.text,
            "the endpoint answered 302 Found, to https://elsewhere.example.com/hook"
        );
    }

    #[test]
    fn what_it_sends_back_of_its_secrets_is_not_shown() {
        let long = format!("{}s3cr3tpath", "x".repeat(SHOWN - 4));
        let moved = [("location", "https://example.com/hooks/s3cr3tpath/")];
        for (status, headers, body) in [
            (404, &[][..], "Cannot POST /hooks/s3cr3tpath"),
            (404, &[], r#"{"path":"\/hooks\/s3cr3tpath"}"#),
            (301, &moved, ""),
            (401, &[], "invalid token sk-abc"),
            (422, &[], &long),
        ] {
            let text = match answer(status, headers, body) {
                Answer::Failed(failure) => failure.text,
                Answer::Rejected(text) => text,
                Answer::Delivered => panic!("{status}"),
            };
            for secret in ["s3cr", "sk-abc"] {
                assert!(!text.contains(secret), "{text}");
            }
            assert!(text.contains("***"), "{text}");
        }
    }
}

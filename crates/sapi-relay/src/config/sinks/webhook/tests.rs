//! Right and wrong webhook sections, and what is never shown of them.

use relay_sinks::Format;
use relay_sinks::webhook::Mode;

use super::*;
use crate::config::{Config, SinkKind};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The sink of a section, or every problem.
fn load(keys: &str) -> Result<Webhook, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.toml");
    let text = format!(
        "[upstream]\nplatform = 'na12'\ntenant_id = 'acmecorp01'\ntoken = 'change-me'\nsubs_ids = ['relay_a']\n\
         [sinks.hook]\ntype = 'webhook'\n{keys}"
    );
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&[path], &[]).map_err(|problems| problems.to_string())?;
    let kind = config.sinks.into_iter().next().unwrap().kind;
    let SinkKind::Webhook(_, webhook) = kind else {
        panic!("{kind:?}");
    };
    Ok(webhook)
}

const URL: &str = "url = 'https://hooks.example.com/8x8?token=hunter3hunter3'\n";

#[test]
fn defaults() {
    let webhook = load(URL).unwrap();
    assert_eq!(
        (webhook.mode, webhook.format),
        (Mode::Single, Format::Binary)
    );
    assert_eq!(
        (webhook.concurrency, webhook.timeout),
        (8, Duration::from_secs(10))
    );
    assert!(webhook.secret.is_none() && webhook.headers.is_empty() && webhook.tls.is_none());
    let batch = load(&format!("{URL}mode = 'batch'")).unwrap();
    assert_eq!(
        (batch.mode, batch.format),
        (Mode::Batch, Format::Structured)
    );
}

#[test]
fn one_secret_or_a_list() {
    for secrets in [format!("'{SECRET}'"), format!("['{SECRET}', '{SECRET}']")] {
        let webhook = load(&format!("{URL}secret = {secrets}")).unwrap();
        let text = webhook.secret.unwrap().read().unwrap();
        assert!(
            text.split_whitespace().all(|secret| secret == SECRET),
            "{text}"
        );
        assert_eq!(text.contains('\n'), secrets.contains('['));
    }
}

#[test]
fn headers_literal_or_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "Bearer hunter2hunter2\n").unwrap();
    let keys = format!(
        "{URL}headers.x-api-key = 'k'\nheaders.authorization_file = '{}'",
        file.display()
    );
    let webhook = load(&keys).unwrap();
    let read = |(name, value): &(String, Secret)| (name.clone(), value.read().unwrap());
    let headers: Vec<_> = webhook.headers.iter().map(read).collect();
    assert_eq!(
        headers,
        [
            (
                "authorization".to_owned(),
                "Bearer hunter2hunter2".to_owned()
            ),
            ("x-api-key".to_owned(), "k".to_owned()),
        ]
    );
    let shown = format!("{webhook:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}

/// Keys of a sink, the key at fault, and what is said of it.
const WRONG: [(&str, &str, &str); 18] = [
    ("", "url", "is missing"),
    ("url = 'hooks.example.com/hunter2'", "url", "is not a URL"),
    (
        "url = 'ftp://hooks.example.com/hunter2'",
        "url",
        "is not of http or https",
    ),
    (
        "url = 'https://u:hunter2@hooks.example.com/'",
        "url",
        "holds user and password",
    ),
    (
        "url = 'https://u@hooks.example.com/hunter2'",
        "url",
        "headers.authorization",
    ),
    (
        "url = 'https://h/'\nsecret = 'whsec_hunter2!'",
        "secret",
        "is not `whsec_` and base64",
    ),
    (
        "url = 'https://h/'\nsecret = 'whsec_aHVudGVyMg=='",
        "secret",
        "fewer than 24 bytes",
    ),
    (
        "url = 'https://h/'\nsecret = ['hunter2', 5]",
        "secret",
        "is not a list of texts",
    ),
    (
        "url = 'https://h/'\nheaders.ce-id = 'hunter2'",
        "headers.ce-id",
        "is not yours to set",
    ),
    (
        "url = 'https://h/'\nheaders.Host = 'hunter2'",
        "headers.Host",
        "is not yours to set",
    ),
    (
        "url = 'https://h/'\nheaders.x = \"hunter2\\nx-y: 1\"",
        "headers.x",
        "is no value",
    ),
    (
        "url = 'https://h/'\nheaders.'a b' = 'hunter2'",
        "headers.a b",
        "is no name",
    ),
    (
        "url = 'https://h/'\nheaders.x_file = '/no/such/file'",
        "headers.x_file",
        "can't be read",
    ),
    (
        "url = 'https://h/'\nmode = 'batch'\nformat = 'binary'",
        "format",
        "does not fit",
    ),
    (
        "url = 'https://h/'\nmode = 'bulk'",
        "mode",
        "\"single\", \"batch\"",
    ),
    (
        "url = 'https://h/'\nconcurrency = 0",
        "concurrency",
        "from 1 to 1000",
    ),
    (
        "url = 'https://h/'\ntimeout = 'soon'",
        "timeout",
        "is not allowed",
    ),
    ("url = 'https://h/'\nheader = 'x'", "header", "headers"),
];

#[test]
fn what_is_wrong_is_named_with_what_is_allowed_and_without_secrets() {
    for (keys, key, fault) in WRONG {
        let problems = load(keys).unwrap_err();
        assert!(
            problems.contains(&format!("sinks.hook.{key}")) && problems.contains(fault),
            "{keys}: {problems}"
        );
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

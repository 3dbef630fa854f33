//! The configuration as a library: defaults, layers, and what is never shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Place;
use super::*;

mod reference;

const LEAST: &str = r#"
[upstream]
platform = "na12"
tenant_id = "acmecorp01"
token = "hunter2hunter2"
subs_ids = ["relay_a"]
"#;

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "relay.toml", text);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment: Vec<_> = environment.iter().map(owned).collect();
    Config::load(&[path], &environment)
}

fn examples() -> Vec<PathBuf> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut files = vec![config.join("relay.toml")];
    let entries = std::fs::read_dir(config.join("examples")).unwrap();
    files.extend(entries.map(|entry| entry.unwrap().path()));
    files
}

/// The text with every file of `/etc/sapi-relay` in a folder of the test, holding what its name says.
fn with_files(text: &str, dir: &Path) -> String {
    const HOME: &str = "/etc/sapi-relay/";
    for place in text.split(HOME).skip(1) {
        let name: String = place.chars().take_while(|c| *c != '"').collect();
        let content = match name.as_str() {
            url if url.contains("url") => "amqp://relay:secret@rabbitmq:5672",
            hook if hook.contains("hook") => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            _ => "a secret",
        };
        file(dir, &name, content);
    }
    text.replace(HOME, &format!("{}/", dir.display()))
}

#[test]
fn the_reference_file_holds_the_defaults() {
    let reference = Config::load(&examples()[..1], &[]).unwrap();
    let least = load(
        "[upstream]\nplatform = 'na12'\ntenant_id = 'acmecorp01'\ntoken = 'change-me'\nsubs_ids = ['relay_a']\n\
         [sinks.downstream]\ntype = 'websocket'\nlisten = '127.0.0.1:8080'",
        &[],
    );
    assert_eq!(format!("{reference:#?}"), format!("{:#?}", least.unwrap()));
}

#[test]
fn the_reference_file_uncommented_is_right_too() {
    let text = std::fs::read_to_string(&examples()[0]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        // The upstream's `url` replaces platform, and a `# ` that is no key stays a comment.
        Some(rest) if rest.starts_with('[') => rest,
        Some(rest) if rest.contains(" = ") && !rest.contains("= \"ws://") => rest,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = with_files(&text, dir.path());
    let config = load(&text, &[]).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert_eq!(config.sinks.len(), 6);
    assert!(config.upstream.proxy.is_some());
}

#[test]
fn every_example_is_right() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let text = with_files(&text, dir.path());
        let environment: &[(&str, &str)] = match path.file_name().unwrap().to_str().unwrap() {
            "kubernetes.toml" => &[
                ("SAPI_RELAY_UPSTREAM__TOKEN", "12345678"),
                ("SAPI_RELAY_ADMIN__TOKEN", "admin"),
                (
                    "SAPI_RELAY_SINKS__DOWNSTREAM__CLIENTS__WALLBOARD__TOKEN",
                    "0123",
                ),
                ("SAPI_RELAY_UPSTREAM__SUBS_IDS", "relay_a,relay_b"),
                ("SAPI_RELAY_PORT", "tcp://10.0.0.1:8080"),
                ("SAPI_RELAY_SERVICE_HOST", "10.0.0.1"),
            ],
            _ => &[],
        };
        let config = load(&text, environment);
        let config = config.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
        assert!(
            config.warnings.is_empty(),
            "{}: {:?}",
            path.display(),
            config.warnings
        );
    }
}

#[test]
fn later_layers_override_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let one = file(
        dir.path(),
        "one.toml",
        &format!("{LEAST}version = 3\n[journal]\ndir = '/one'\nreserve = '1MiB'"),
    );
    let two = file(
        dir.path(),
        "two.toml",
        "[upstream]\nsubs_ids = ['b', 'c']\n[journal]\ndir = '/two'",
    );
    let env = [("SAPI_RELAY_JOURNAL__RESERVE".to_owned(), "2MiB".to_owned())];
    let config = Config::load(&[one, two], &env).unwrap();
    assert_eq!(config.journal.dir, Path::new("/two"));
    assert_eq!(config.journal.keep.reserve, 2 << 20);
    assert_eq!(config.upstream.version, 3);
    assert_eq!(config.upstream.subs_ids.len(), 2);
}

#[test]
fn variables_reach_every_kind_of_key() {
    let config = load(
        LEAST,
        &[
            ("SAPI_RELAY_UPSTREAM__TENANT_ID", "0042"),
            ("SAPI_RELAY_UPSTREAM__VERSION", "2"),
            (
                "SAPI_RELAY_UPSTREAM__SUBS_IDS",
                "[\"a,b\"]".replace("a,b", "x").as_str(),
            ),
            ("SAPI_RELAY_UPSTREAM__BACKOFF__AUTH_MIN", "1s"),
            ("SAPI_RELAY_SINKS__LAKE__TYPE", "file"),
            ("SAPI_RELAY_SINKS__LAKE__PATH", "12345"),
            ("SAPI_RELAY_SINKS__LAKE__NOTICES", "true"),
            (
                "SAPI_RELAY_SINKS__LAKE__TYPES",
                "Interaction/*, !InteractionDeleted",
            ),
        ],
    )
    .unwrap();
    assert_eq!(config.upstream.tenant_id, "0042");
    assert_eq!(config.upstream.username, "0042");
    assert_eq!(config.upstream.version, 2);
    assert_eq!(&*config.upstream.subs_ids[0], "x");
    assert_eq!(config.upstream.backoff.auth.min, Duration::from_secs(1));
    let SinkKind::File(delivery, file) = &config.sinks[0].kind else {
        panic!("a file")
    };
    assert_eq!(
        (file.path.as_path(), delivery.notices),
        (Path::new("12345"), true)
    );
    assert_eq!(delivery.types, ["Interaction/*", "!InteractionDeleted"]);
}

#[test]
fn a_problem_of_a_variable_names_the_variable() {
    let problems = load(LEAST, &[("SAPI_RELAY_BUS__MEMORY", "lots")]).unwrap_err();
    assert_eq!(
        problems.0[0].place,
        Some(Place::Environment("SAPI_RELAY_BUS__MEMORY".into()))
    );
    assert_eq!(problems.0[0].key, "bus.memory");
}

#[test]
fn a_disabled_sink_is_checked_but_not_there() {
    let config = load(
        &format!("{LEAST}[sinks.a]\ntype = 'file'\npath = 'x'\nenabled = false"),
        &[],
    );
    assert!(config.unwrap().sinks.is_empty());
    let wrong = load(
        &format!("{LEAST}[sinks.a]\ntype = 'file'\nenabled = false"),
        &[],
    );
    assert_eq!(wrong.unwrap_err().0[0].key, "sinks.a.path");
}

const KAFKA: &str = "type = 'kafka'\nbrokers = ['kafka1:9092']";

#[test]
fn a_queue_that_can_not_hold_a_record_is_refused() {
    let with = |more: &str| load(&format!("{LEAST}[sinks.a]\n{KAFKA}\n{more}"), &[]);
    let queue = |kbytes| format!("librdkafka.'queue.buffering.max.kbytes' = {kbytes}");
    let largest = "librdkafka.'message.max.bytes' = 2000000";
    for (small, enough, more) in [(64, 977, ""), (976, 977, ""), (1_953, 1_954, largest)] {
        let problems = with(&format!("{}\n{more}", queue(small))).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].key, "sinks.a.librdkafka");
        with(&format!("{}\n{more}", queue(enough))).unwrap();
    }
    with(largest).unwrap();
}

#[test]
fn sinks_that_would_end_each_others_transactions_are_refused() {
    let two = |one: &str, other: &str| {
        let sink = |name: &str, more: &str| format!("[sinks.{name}]\n{KAFKA}\n{more}\n");
        load(
            &format!("{LEAST}{}{}", sink("a", one), sink("b", other)),
            &[],
        )
    };
    let once = "exactly_once = true";
    let named = |id: &str| format!("{once}\ntransactional_id = '{id}'");
    two(once, once).unwrap();
    two(&named("one"), &named("two")).unwrap();
    two(&named("one"), &format!("{}\nenabled = false", named("one"))).unwrap();
    for (one, other) in [
        (named("one"), named("one")),
        (once.to_owned(), named("sapi-relay-acmecorp01-a")),
        (named("sapi-relay-acmecorp01-b"), once.to_owned()),
    ] {
        let problems = two(&one, &other).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].key, "sinks.b.transactional_id");
        assert!(problems.0[0].fault.contains("sinks.a"), "{problems}");
    }
}

#[test]
fn no_client_has_the_name_of_those_without_a_token() {
    let named = |name: &str| {
        let text = format!(
            "{LEAST}[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\n[sinks.d.clients.{name}]\ntoken = 'hunter2'"
        );
        load(&text, &[])
    };
    assert!(named("anonymous_too").is_ok());
    let problems = named("anonymous").unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert_eq!(problems.0[0].key, "sinks.d.clients.anonymous");
    assert!(
        problems.to_string().contains("gives no token"),
        "{problems}"
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let text = format!(
        "{LEAST}proxy = 'http://u:hunter2@proxy:1'\n[admin]\ntoken = 'hunter2admin'\n[sinks.d]\ntype = 'websocket'\n\
         listen = '127.0.0.1:0'\n[sinks.d.clients.a]\ntoken = 'hunter2client'"
    );
    let config = load(&text, &[]).unwrap();
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    for wrong in [
        "[upstream]\ntokn = 'hunter2'",
        "[upstream]\ntoken = hunter2",
        "[upstream]\ntoken = ['hunter2']",
        "[upstream]\ntoken = 'hunter2",
        "[upstream]\ntoken = 'hunter2'\ntoken = 'hunter2'",
        "[upstream.token]\nhunter2 = 'hunter2'",
        "token = 'hunter2'",
        "upstream = 'hunter2'",
        "[upstream]\nurl = 'ws://me:hunter2@host'",
        "[upstream]\nproxy = 'https://me:hunter2@host'",
        "[upstream]\ntoken = 'hunter2'\ntoken_file = '/nowhere'",
        "[sinks.a]\ntype = 'nats'\nservers = ['nats://relay:hunter2@h1:4222', 'h2']",
        "[sinks.a]\ntype = 'nats'\nservers = ['nats://relay:hunter2@h1:4222', 2]",
        "[sinks.a]\ntype = 'nats'\nservers = 'nats://relay:hunter2@h1:4222'",
        "[sinks.a]\ntype = 'kafka'\nbrokers = ['relay:hunter2@h1:9092']",
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\nclients = 'hunter2'",
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\n[sinks.d.clients.a]\ntoken = 'hunter2'\n[sinks.d.clients.b]\ntoken = 'hunter2'",
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\nclients.a = 'hunter2'",
    ] {
        let problems = load(wrong, &[("SAPI_RELAY_ADMIN__TOKN", "hunter2")]).unwrap_err();
        let shown = format!("{problems} {problems:?}");
        // A key may be called anything; the value is what must not show.
        assert!(
            !shown.replace("token.hunter2", "").contains("hunter2"),
            "{wrong}: {shown}"
        );
    }
}

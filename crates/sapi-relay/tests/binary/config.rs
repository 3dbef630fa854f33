//! Wrong configurations through the real binary: each names its file, its key and its remedy, and
//! the exit code is 78.
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"
[upstream]
platform = "na12"
tenant_id = "acmecorp01"
token = "hunter2"
subs_ids = ["relay_a"]
"#;

/// What stands below GOOD, the key that is wrong, and words of the fault and the remedy.
const WRONG: &[(&str, &str, &[&str])] = &[
    (
        "silence_timout = '10s'",
        "upstream.silence_timout",
        &["not a known key", "did you mean silence_timeout?"],
    ),
    (
        "[upsteam]\nx = 1",
        "upsteam",
        &["not a known key", "did you mean upstream?"],
    ),
    (
        "silence_timeout = '10'",
        "upstream.silence_timeout",
        &["\"10\"", "\"150s\""],
    ),
    (
        "silence_timeout = 150",
        "upstream.silence_timeout",
        &["150", "not text", "double quotes"],
    ),
    (
        "silence_timeout = '0s'",
        "upstream.silence_timeout",
        &["not allowed"],
    ),
    (
        "max_document = '16 megs'",
        "upstream.max_document",
        &["\"16 megs\"", "\"8GiB\""],
    ),
    (
        "max_document = '512MiB'",
        "upstream.max_message",
        &["smaller than upstream.max_document"],
    ),
    (
        "url = 'wss://host'",
        "upstream.platform",
        &["both set", "remove one"],
    ),
    (
        "url = 'https://host/path'",
        "upstream.url",
        &["ws://127.0.0.1:9700"],
    ),
    (
        "url = 'ws://me:pw@host'",
        "upstream.url",
        &["credentials", "upstream.token_file"],
    ),
    (
        "proxy = 'socks5://proxy'",
        "upstream.proxy",
        &["http://proxy:3128"],
    ),
    (
        "output_type = 'YAML'",
        "upstream.output_type",
        &["\"YAML\"", "NEWLINE_JSON"],
    ),
    (
        "path_style = 'both'",
        "upstream.path_style",
        &["\"both\"", "\"suffixed\""],
    ),
    (
        "protocol = 'kafka'",
        "upstream.protocol",
        &["one of \"sapi\""],
    ),
    (
        "protocol = 'pulsar'",
        "upstream.protocol",
        &["not built into this binary"],
    ),
    ("version = 0", "upstream.version", &["from 1 to 99"]),
    (
        "token_file = '/nowhere/token'",
        "upstream.token_file",
        &["can't be read"],
    ),
    (
        "tls.ca_file = '/nowhere/ca.pem'",
        "upstream.tls.ca_file",
        &["can't be read", "check the path"],
    ),
    (
        "tls.cert_file = '/dev/null'",
        "upstream.tls.key_file",
        &["missing", "belong together"],
    ),
    (
        "backoff.auth_min = '1h'",
        "upstream.backoff.auth_min",
        &["at most auth_max"],
    ),
    (
        "backoff.auth_minn = '1h'",
        "upstream.backoff.auth_minn",
        &["did you mean auth_min?"],
    ),
    (
        "[dedup]\nacross_subscriptions = 'id'",
        "dedup.across_subscriptions",
        &["\"msg_info\", \"content\""],
    ),
    (
        "[dedup]\nmemory = '1KiB'",
        "dedup.memory",
        &["at least 1MiB"],
    ),
    (
        "[journal]\ncommit_window = '1m'",
        "journal.commit_window",
        &["at most \"1s\""],
    ),
    (
        "[journal]\nretention_bytes = '16MiB'\nreserve = '1GiB'",
        "journal.reserve",
        &["smaller than journal.retention_bytes"],
    ),
    (
        "[journal]\ndir = ''",
        "journal.dir",
        &["is empty", "a path"],
    ),
    ("journal = 'x'", "upstream.journal", &["not a known key"]),
    ("[bus]\nmemory = 64", "bus.memory", &["not text"]),
    (
        "[admin]\nlisten = 'localhost:9464'",
        "admin.listen",
        &["\"localhost:9464\"", "127.0.0.1:8080"],
    ),
    (
        "[admin]\nlisten = '0.0.0.0:9464'",
        "admin.listen",
        &["without a token", "admin.token_file"],
    ),
    (
        "[shutdown]\ntimeout = 'never'",
        "shutdown.timeout",
        &["\"never\""],
    ),
    (
        "[log]\nlevel = 'loud'",
        "log.level",
        &["\"loud\"", "info, debug"],
    ),
    (
        "[log]\nformat = 'xml'",
        "log.format",
        &["\"auto\", \"text\", \"json\""],
    ),
    (
        "[sinks.lake]\ntopic = 'x'",
        "sinks.lake.type",
        &["is missing", "\"websocket\""],
    ),
    (
        "[sinks.lake]\ntype = 'kafak'",
        "sinks.lake.type",
        &["\"kafak\"", "\"webhook\", \"websocket\", \"file\""],
    ),
    (
        "[sinks.lake]\ntype = 'kafka'\nbrokers = ['b']",
        "sinks.lake.brokers",
        &["\"b\"", "hosts and ports"],
    ),
    (
        "[sinks.lake]\ntype = 'kafka'\nbrokers = ['b:1']\ntopic = 'sapi.{key}'",
        "sinks.lake.topic",
        &["{key} is not allowed here", "sapi.{class}"],
    ),
    (
        "[sinks.lake]\ntype = 'kafka'\nbrokers = ['b:1']\nexactly_once = true\ntopic = 'c'\ncursor_topic = 'c'",
        "sinks.lake.topic",
        &["the topic of cursors", "differ"],
    ),
    (
        "[sinks.Lake]\ntype = 'file'",
        "sinks.Lake",
        &["is no name", "a-z, 0-9 and _"],
    ),
    (
        "[sinks]\nlake = 1",
        "sinks.lake",
        &["is a table", "[sinks.lake]"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'",
        "sinks.d.listen",
        &["is missing", "127.0.0.1:8080"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '0.0.0.0:1'",
        "sinks.d.listen",
        &["without clients", "allow_anonymous = true"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\nbatch_events = 5",
        "sinks.d.batch_events",
        &["read by its clients"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\nbrokers = 5",
        "sinks.d.brokers",
        &["of type \"kafka\""],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\nclients.a = {}",
        "sinks.d.clients.a.token",
        &["is missing", "token_file"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\n[sinks.d.clients]\na.token = 'x'\nb.token = 'x'",
        "sinks.d.clients.b.token",
        &["same as that of a"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\nallow_anonymous = 'yes'",
        "sinks.d.allow_anonymous",
        &["true or false"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\nallowed_origins = ['host/']",
        "sinks.d.allowed_origins",
        &["https://wallboard.example.com"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:1'\ntls.ca_file = '/dev/null'",
        "sinks.d.tls.cert_file",
        &["a server needs a certificate"],
    ),
    (
        "[sinks.d]\ntype = 'websocket'\nlisten = '127.0.0.1:9464'",
        "sinks.d.listen",
        &["taken by admin.listen"],
    ),
    ("[sinks.f]\ntype = 'file'", "sinks.f.path", &["is missing"]),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\n[sinks.g]\ntype = 'file'\npath = 'x'",
        "sinks.g.path",
        &["also the file of sinks.f"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nformat = 'binary'",
        "sinks.f.format",
        &["\"structured\""],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nkeep = 3",
        "sinks.f.keep",
        &["rotate_bytes"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nbatch_bytes = '9MiB'",
        "sinks.f.batch_bytes",
        &["at most in_flight_bytes"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nretry_min = '2m'",
        "sinks.f.retry_min",
        &["at most retry_max"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\ntypes = 'all'",
        "sinks.f.types",
        &["list of texts"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\ntypes = ['']",
        "sinks.f.types",
        &["a glob matches"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nbatch_events = 0",
        "sinks.f.batch_events",
        &["from 1 to"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\non_reject = 'retry'",
        "sinks.f.on_reject",
        &["dead_letter"],
    ),
    (
        "[sinks.n]\ntype = 'nats'",
        "sinks.n.servers",
        &["missing", "nats://nats1:4222"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats:4222']",
        "sinks.n.servers",
        &["not allowed", "tls://"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://relay:hunter2@nats:4222']",
        "sinks.n.servers",
        &["holds credentials", "password_file"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\nsubject = 'sapi..{type}'",
        "sinks.n.subject",
        &["between", "sapi.{tenant}"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\nsubject = 'sapi.{event}'",
        "sinks.n.subject",
        &["unknown placeholder {event}"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\ncreate_stream = true",
        "sinks.n.stream",
        &["missing", "SAPI"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\njetstream = false\nstream = 'SAPI'",
        "sinks.n.stream",
        &["no effect without JetStream"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\nstream = 'a.b'",
        "sinks.n.stream",
        &["without blanks"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\nuser = 'relay'",
        "sinks.n.password",
        &["missing", "password_file"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\ntoken = 'hunter2'\nnkey = 'hunter2'",
        "sinks.n.token",
        &["nkey are both set", "one kind"],
    ),
    (
        "[sinks.n]\ntype = 'nats'\nservers = ['nats://n:1']\ntls.cert_file = '/dev/null'",
        "sinks.n.tls.key_file",
        &["belong together"],
    ),
    (
        "[sinks.f]\ntype = 'file'\npath = 'x'\nlisten = '127.0.0.1:1'",
        "sinks.f.listen",
        &["of type \"websocket\""],
    ),
];

fn check(text: &str, environment: &[(&str, &str)]) -> (Output, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    run(&path, environment)
}

fn run(path: &Path, environment: &[(&str, &str)]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sapi-relay"))
        .args(["check", "--config"])
        .arg(path)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (output, said)
}

#[test]
fn each_wrong_key_is_named_with_its_file_and_its_remedy() {
    for (below, key, words) in WRONG {
        let (output, said) = check(&format!("{GOOD}{below}"), &[]);
        assert_eq!(output.status.code(), Some(78), "{below}\n{said}");
        let mut problems = said.split("\n\n").skip(1);
        let about = problems.find(|problem| {
            problem.contains(&format!(": {key}:")) || problem.contains(&format!(": {key} = "))
        });
        let about = about.unwrap_or_else(|| panic!("{key} is not named: {below}\n{said}"));
        assert!(about.contains("relay.toml:"), "{about}");
        for word in *words {
            assert!(
                about.contains(word),
                "{word:?} is missing: {below}\n{about}"
            );
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn what_is_missing_is_said_at_once() {
    let (output, said) = check("[upstream]\n[bus]\nmemory = 'x'", &[]);
    assert_eq!(output.status.code(), Some(78));
    for key in [
        "upstream.platform",
        "upstream.tenant_id",
        "upstream.token",
        "upstream.subs_ids",
        "bus.memory",
    ] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(said.contains("has 5 problems"), "{said}");
}

#[test]
fn subscription_ids() {
    for ids in [
        "[]",
        "['a', 'b', 'c', 'd']",
        "['a', 'a']",
        "['a b']",
        "'a'",
        "[1]",
        "['']",
    ] {
        let text = GOOD.replace("[\"relay_a\"]", ids);
        let (output, said) = check(&text, &[]);
        assert_eq!(output.status.code(), Some(78), "{ids}");
        assert!(said.contains("upstream.subs_ids"), "{said}");
    }
}

#[test]
fn a_line_number_is_given() {
    let (_, said) = check("[upstream]\nplatform = 'na12'\ntenant_id = 'a b'\n", &[]);
    assert!(said.contains("relay.toml:3: upstream.tenant_id"), "{said}");
}

#[test]
fn what_is_no_toml_is_said_without_the_line() {
    let (output, said) = check("[upstream]\ntoken = hunter2\n", &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("relay.toml:2: is not TOML"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_missing_file_says_where_to_begin() {
    let (output, said) = run(Path::new("/nowhere/relay.toml"), &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        said.contains("/nowhere/relay.toml: the configuration file can't be read"),
        "{said}"
    );
    assert!(said.contains("config/relay.toml"), "{said}");
}

#[test]
fn variables_count_and_are_named() {
    let (output, said) = check(
        GOOD,
        &[
            ("SAPI_RELAY_UPSTREAM__SUBS_IDS", "a,a"),
            ("SAPI_RELAY_PORT", "tcp://1"),
        ],
    );
    assert_eq!(output.status.code(), Some(78));
    assert!(
        said.contains("environment variable SAPI_RELAY_UPSTREAM__SUBS_IDS: upstream.subs_ids"),
        "{said}"
    );
    assert!(!said.contains("SAPI_RELAY_PORT"), "{said}");
    let (output, said) = check(GOOD, &[("SAPI_RELAY_UPSTREAM__TOKN", "hunter2")]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        said.contains("did you mean token?") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn a_right_one_is_said_to_be_right() {
    let (output, said) = check(GOOD, &[]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("right"), "{out}");
}

//! The alert rules and the dashboard: Prometheus takes them, each rule is tested, and what they name
//! is what a relay exports.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use relay_tests::exposition::Family;
use relay_tests::servers::cache;
use serde_json::{Value, json};

use crate::metrics::{PREFIX, exported};

const RULES: &str = include_str!("../../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../../deploy/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/sapi-relay.json");

/// Labels that Prometheus adds, and the one of a histogram's buckets.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

fn promtool() -> Command {
    let path = cache().join("prometheus/promtool");
    assert!(path.exists(), "`make servers` provides promtool");
    let mut command = Command::new(path);
    command.current_dir(folder());
    command
}

fn accepted(what: &str, output: &Output) {
    let said = [&*output.stdout, &*output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {what}: {said}");
}

/// Asserts that promtool finds nothing wrong with what it is given to read.
pub(crate) fn promtool_reads(arguments: &[&str], text: &str) {
    let mut promtool = promtool();
    promtool.args(arguments).stdin(Stdio::piped());
    let promtool = promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    accepted(&arguments.join(" "), &child.wait_with_output().unwrap());
}

/// One rule of the file, its keys as they stand there.
#[derive(Debug, Default)]
struct Rule {
    name: String,
    keys: BTreeMap<String, String>,
}

/// The rules. The file is written so that each key stands on a line of its own.
fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in RULES.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            rules.push(Rule {
                name: name.to_owned(),
                ..Rule::default()
            });
        } else if let Some(rule) = rules.last_mut()
            && let Some((key, value)) = line.split_once(": ")
        {
            let text = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
            let text = text.map_or_else(|| value.to_owned(), |text| text.replace("''", "'"));
            rule.keys.insert(key.to_owned(), text);
        }
    }
    assert!(rules.len() > 20, "{}", rules.len());
    rules
}

/// The names of the alerts.
pub(crate) fn alerts() -> BTreeSet<String> {
    rules().into_iter().map(|rule| rule.name).collect()
}

/// Every query of the dashboard: of its panels, its annotations and its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    Value::String(text) if name == "definition" => {
                        let inside = text.strip_prefix("label_values(").unwrap();
                        found.push(inside.split(", ").next().unwrap().to_owned());
                    }
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn dashboard() -> Vec<String> {
    let mut found = Vec::new();
    queries(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    assert!(found.len() > 40, "{}", found.len());
    found
        .iter()
        .map(|query| query.replace("$__rate_interval", "5m"))
        .collect()
}

/// A metric that an expression names, with its matchers: label, operator, value.
#[derive(Debug)]
struct Selector<'a> {
    name: &'a str,
    matchers: Vec<(&'a str, &'a str)>,
}

fn is_of_a_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// The metrics of the relay that an expression names.
fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let starts = expression.match_indices(PREFIX);
    for (start, _) in starts {
        let rest = &expression[start..];
        let end = rest.find(|char| !is_of_a_name(char)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = braces.map_or("", |(inside, _)| inside).split("\",");
        let matchers = matchers.filter_map(|matcher| {
            let (label, value) = matcher.split_once('"')?;
            let label = label.trim_end_matches(['=', '~', '!']).trim();
            Some((label, value.trim_end_matches('"')))
        });
        found.push(Selector {
            name,
            matchers: matchers.collect(),
        });
    }
    found
}

/// The labels that an expression groups and joins by.
fn grouped(expression: &str) -> Vec<&str> {
    let starts = ["by (", "on ("].into_iter();
    let lists = starts.flat_map(|start| {
        let parts = expression.split(start).skip(1);
        parts.filter_map(|part| part.split(')').next())
    });
    lists
        .flat_map(|list| list.split(',').map(str::trim))
        .collect()
}

/// Asserts that an expression names what is exported: metrics, labels, and values of closed lists.
fn names_what_is_exported(expression: &str, families: &BTreeMap<String, Family>) {
    let selectors = selectors(expression);
    let mut labels: BTreeSet<&str> = OF_PROMETHEUS.into();
    for Selector { name, matchers } in &selectors {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .filter_map(|base| families.get(base))
            .find(|family| family.kind == "histogram");
        let family = families.get(*name).or(of_histogram);
        let family = family.unwrap_or_else(|| panic!("{name} is not exported: {expression}"));
        assert!(
            family.kind != "histogram" || of_histogram.is_some(),
            "a histogram has no series of its own name: {expression}"
        );
        labels.extend(family.labels());
        for (label, value) in matchers {
            if OF_PROMETHEUS.contains(label) {
                continue;
            }
            assert!(
                family.labels().contains(label),
                "{name} has no {label}: {expression}"
            );
            for value in value.split('|') {
                assert!(
                    family.values(label).contains(value),
                    "no {label} of {name} is {value}: {expression}"
                );
            }
        }
    }
    for label in grouped(expression) {
        assert!(labels.contains(label), "{label}: {expression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_name_what_a_relay_exports() {
    let (_, families) = exported().await;
    let rules = rules();
    let alerts = rules.iter().map(|rule| rule.keys["expr"].clone());
    let mut named = BTreeSet::new();
    for expression in alerts.chain(dashboard()) {
        names_what_is_exported(&expression, &families);
        let names = selectors(&expression).into_iter();
        named.extend(names.map(|selector| selector.name.to_owned()));
    }
    // The dashboard shows everything there is.
    for (name, family) in &families {
        let shown = match &*family.kind {
            "histogram" => named.contains(&format!("{name}_bucket")),
            _ => named.contains(name),
        };
        assert!(shown, "no panel and no alert shows {name}");
    }
}

#[test]
fn a_wrong_name_is_found() {
    let family = Family {
        kind: "counter".to_owned(),
        help: String::new(),
        series: relay_tests::exposition::parse(
            "# TYPE sapi_relay_a_total counter\nsapi_relay_a_total{reason=\"x\"} 1\n",
        )["sapi_relay_a_total"]
            .series
            .clone(),
    };
    let families = BTreeMap::from([("sapi_relay_a_total".to_owned(), family)]);
    let good = "sum by (job, reason) (rate(sapi_relay_a_total{job=~\"$job\",reason=~\"x|x\"}[5m]))";
    names_what_is_exported(good, &families);
    for wrong in [
        "sapi_relay_b_total",
        "sapi_relay_a_total{cause=\"x\"}",
        "sapi_relay_a_total{job=\"j\",reason=~\"x|y\"}",
        "sum by (job, cause) (sapi_relay_a_total)",
    ] {
        let judged = std::panic::catch_unwind(|| names_what_is_exported(wrong, &families));
        assert!(judged.is_err(), "{wrong}");
    }
}

#[test]
fn prometheus_takes_the_rules_and_their_tests_pass() {
    let run = |arguments: &[&str]| {
        let output = promtool().args(arguments).output().unwrap();
        accepted(&arguments.join(" "), &output);
    };
    run(&["check", "rules", "alerts.yml"]);
    run(&["test", "rules", "alerts_test.yml"]);
    // The dashboard's queries, as rules.
    let record = |(number, query): (usize, &String)| json!({ "record": format!("query:{number}"), "expr": query });
    let queries: Vec<_> = dashboard().iter().enumerate().map(record).collect();
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": queries }] });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, rules.to_string()).unwrap();
    run(&["check", "rules", &file.path().display().to_string()]);
}

#[test]
fn every_alert_is_tested_both_ways_and_says_what_to_do() {
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let handbook = std::fs::read_to_string(handbook).ok();
    for Rule { name, keys } in rules() {
        let tested = TESTS.split("- alertname: ").skip(1);
        let tested: Vec<_> = tested
            .filter(|test| test.lines().next() == Some(&name))
            .collect();
        let quiet = |test: &&&str| test.contains("exp_alerts: []");
        let before = tested.iter().filter(quiet).count();
        assert!(
            before >= 1 && tested.len() - before >= 1,
            "{name} fires, and not too early: {tested:?}"
        );
        assert!(
            ["critical", "warning"].contains(&&*keys["severity"]),
            "{name}"
        );
        assert!(!keys["summary"].is_empty() && !keys["description"].is_empty());
        let anchor = name.to_lowercase();
        let link = &keys["runbook_url"];
        assert!(
            link.ends_with(&format!("docs/OPERATIONS.md#{anchor}")),
            "{name}: {link}"
        );
        if let Some(handbook) = &handbook {
            let heading = |line: &str| line.starts_with('#') && line.ends_with(&format!(" {name}"));
            assert!(
                handbook.lines().any(heading),
                "docs/OPERATIONS.md has no heading {name}"
            );
        }
    }
}

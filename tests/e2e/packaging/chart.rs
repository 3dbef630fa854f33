//! The Helm chart: linted, rendered, held against Kubernetes' own schemas and the relay's own check.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::{list, outcome, passes_check, printed, read, text, tool};

const CHART: &str = "deploy/helm/sapi-relay";
const SECRETS: &str = "/run/secrets/sapi-relay/";

/// Helm, with nothing of the user's own.
fn helm(args: &[&str], home: &std::path::Path) -> Command {
    let mut helm = tool("helm-v4.3.2/helm");
    helm.args(args).env("HOME", home).env_remove("KUBECONFIG");
    for folder in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        helm.env(folder, home);
    }
    helm
}

fn values(name: &str) -> String {
    format!("{CHART}/ci/{name}-values.yaml")
}

/// The rendered chart, as text.
fn rendered(name: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let args = [
        "template",
        "relay",
        CHART,
        "--namespace",
        "contact",
        "--values",
        &values(name),
    ];
    printed(&mut helm(&args, home.path()))
}

/// What is rendered, by kind and name.
fn manifests(name: &str) -> BTreeMap<String, Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(&rendered(name)).unwrap();
    let named = all.into_iter().map(|manifest| {
        let name = text(&manifest, "/metadata/name");
        (format!("{} {name}", text(&manifest, "/kind")), manifest)
    });
    named.collect()
}

fn stateful_set(manifests: &BTreeMap<String, Value>) -> &Value {
    &manifests["StatefulSet relay-sapi-relay"]
}

#[test]
fn the_linter_has_nothing_to_say() {
    let home = tempfile::tempdir().unwrap();
    for name in ["minimal", "full"] {
        let args = [
            "lint",
            CHART,
            "--strict",
            "--quiet",
            "--values",
            &values(name),
        ];
        let (right, said) = outcome(&mut helm(&args, home.path()));
        assert!(right, "{said}");
        assert!(
            !said.contains("WARNING") && !said.contains("ERROR"),
            "{said}"
        );
    }
}

#[test]
fn its_version_is_the_products() {
    let chart: Value = serde_saphyr::from_str(&read(&format!("{CHART}/Chart.yaml"))).unwrap();
    for key in ["/version", "/appVersion"] {
        assert_eq!(text(&chart, key), env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn kubernetes_accepts_what_is_rendered() {
    for (name, foreign) in [("minimal", 0), ("full", 2)] {
        let manifests = manifests(name);
        let ours = manifests.values().filter(|manifest| {
            // Their schemas are the Prometheus operator's.
            text(manifest, "/apiVersion") != "monitoring.coreos.com/v1"
        });
        let ours: Vec<_> = ours.collect();
        assert_eq!(
            manifests.len() - ours.len(),
            foreign,
            "{:?}",
            manifests.keys()
        );
        for manifest in ours {
            validate(manifest, true);
        }
    }
    // That it would have said something.
    let manifests = manifests("minimal");
    let mut wrong = stateful_set(&manifests).clone();
    wrong["spec"]["replica"] = Value::from(1);
    validate(&wrong, false);
}

/// By the oldest release that the chart is for, and the newest that there are schemas of.
fn validate(manifest: &Value, valid: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    std::fs::write(&path, manifest.to_string()).unwrap();
    let mut validator = tool("python-2.15.1-1.37.0/bin/kubernetes-validate");
    validator.args(["-k", "1.27", "-k", "1.37", "--strict", "--quiet"]);
    let (right, said) = outcome(validator.arg(&path));
    assert_eq!(right, valid, "{said}\n{manifest:#}");
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn the_relay_accepts_the_rendered_configuration() {
    for name in ["minimal", "full"] {
        let manifests = manifests(name);
        let config = &manifests["ConfigMap relay-sapi-relay"];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        std::fs::write(&path, text(config, "/data/relay.toml")).unwrap();
        let container = stateful_set(&manifests).pointer("/spec/template/spec/containers/0");
        let mut environment = BTreeMap::new();
        for variable in list(container.unwrap(), "/env") {
            let (name, value) = (text(variable, "/name"), text(variable, "/value"));
            let value = match value.strip_prefix(SECRETS) {
                Some(secret) => {
                    let file = folder.path().join(secret);
                    std::fs::write(&file, secret_for(secret)).unwrap();
                    file.display().to_string()
                }
                None => value.to_owned(),
            };
            environment.insert(name.to_owned(), value);
        }
        passes_check(&path, &environment);
        assert!(
            environment.contains_key("SAPI_RELAY_UPSTREAM__TOKEN_FILE"),
            "{environment:?}"
        );
    }
}

fn secret_for(key: &str) -> &'static str {
    match key {
        "sinks.hook.secret" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        _ => "a secret of some length",
    }
}

#[test]
fn every_secret_is_mounted_where_its_variable_looks() {
    for (name, secrets) in [("minimal", 3), ("full", 5)] {
        let manifests = manifests(name);
        let pod = stateful_set(&manifests)
            .pointer("/spec/template/spec")
            .unwrap();
        let mut looked: Vec<_> = list(pod, "/containers/0/env")
            .iter()
            .filter_map(|variable| text(variable, "/value").strip_prefix(SECRETS))
            .collect();
        let volumes = list(pod, "/volumes");
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == "secrets")
            .unwrap();
        let sources = list(volume, "/projected/sources").iter();
        let mut found: Vec<_> = sources
            .map(|source| text(source, "/secret/items/0/path"))
            .collect();
        looked.sort_unstable();
        found.sort_unstable();
        assert_eq!(looked, found);
        assert_eq!(found.len(), secrets, "{found:?}");
        assert!(
            !rendered(name).contains("kind: Secret\n"),
            "a chart holds no secret"
        );
    }
}

#[test]
fn one_relay_well_kept() {
    let manifests = manifests("minimal");
    let set = stateful_set(&manifests);
    assert_eq!(set["spec"]["replicas"], 1);
    assert_eq!(list(set, "/spec/volumeClaimTemplates").len(), 1);
    let pod = set.pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &list(pod, "/containers")[0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert_eq!(text(container, "/livenessProbe/httpGet/path"), "/livez");
    assert_eq!(text(container, "/readinessProbe/httpGet/path"), "/readyz");
    let service = &manifests["Service relay-sapi-relay"];
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(manifests.len(), 5, "{:?}", manifests.keys());
}

#[test]
fn the_pod_has_longer_than_the_drain() {
    for (name, drain, grace) in [("minimal", "20s", 30), ("full", "45s", 55)] {
        let manifests = manifests(name);
        let config = &manifests["ConfigMap relay-sapi-relay"];
        let config: toml::Table = text(config, "/data/relay.toml").parse().unwrap();
        assert_eq!(config["shutdown"]["timeout"].as_str(), Some(drain));
        let pod = stateful_set(&manifests)
            .pointer("/spec/template/spec")
            .unwrap();
        assert_eq!(pod["terminationGracePeriodSeconds"], grace);
    }
}

#[test]
fn the_alerts_are_those_of_the_repository() {
    let alerts: Value = serde_saphyr::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let manifests = manifests("full");
    let rule = &manifests["PrometheusRule relay-sapi-relay"];
    assert_eq!(rule["spec"], alerts);
    assert!(!list(rule, "/spec/groups").is_empty());
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let home = tempfile::tempdir().unwrap();
    for (set, place) in [
        ("config.upstream.tenant_id=null", "tenant_id"),
        ("config.upstream.platform=null", "platform"),
        ("config.upstream.token=secret", "upstream"),
        ("config.upstream.subs_ids={a,b,c,d}", "subs_ids"),
        ("config.sinks.lake.type=kafak", "lake"),
        ("replicas=2", "replicas"),
    ] {
        let values = values("minimal");
        let args = [
            "template", "relay", CHART, "--values", &values, "--set", set,
        ];
        let (right, said) = outcome(&mut helm(&args, home.path()));
        assert!(!right && said.contains(place), "{set}: {said}");
    }
}

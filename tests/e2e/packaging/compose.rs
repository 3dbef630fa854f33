//! docker-compose.yml, as the parser of Docker Compose reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use url::Url;

use super::{image, is_pinned, list, passes_check, printed, read, repository, text, tool};

fn composition() -> Value {
    let mut parse = tool("compose-v2.16.2/compose-go");
    parse.args(["--format", "json", "docker-compose.yml"]);
    serde_json::from_str(&printed(&mut parse)).unwrap()
}

fn services(composition: &Value) -> BTreeMap<&str, &Value> {
    let services = composition["services"].as_object().unwrap();
    services
        .iter()
        .map(|(name, service)| (name.as_str(), service))
        .collect()
}

#[test]
fn everybody_is_there_and_pinned() {
    let composition = composition();
    let services = services(&composition);
    let names: Vec<_> = services.keys().copied().collect();
    assert_eq!(
        names,
        [
            "grafana",
            "kafka",
            "nats",
            "prometheus",
            "rabbitmq",
            "relay",
            "simulator"
        ]
    );
    for (name, service) in &services {
        match service.pointer("/build/target").and_then(Value::as_str) {
            Some(target) => assert!(!image::stage(target).is_empty(), "{name}: {target}"),
            None => assert!(is_pinned(text(service, "/image")), "{name}: {service}"),
        }
    }
}

#[test]
fn nothing_is_open_to_other_machines() {
    let composition = composition();
    let mut published = BTreeSet::new();
    for (name, service) in services(&composition) {
        let ports = service.get("ports").and_then(Value::as_array);
        for port in ports.into_iter().flatten() {
            assert_eq!(text(port, "/host_ip"), "127.0.0.1", "{name}");
            assert!(
                published.insert(text(port, "/published").to_owned()),
                "{name}: {port}"
            );
        }
    }
    for port in ["3000", "8080", "9090", "9464", "9700"] {
        assert!(published.contains(port), "{port}: {published:?}");
    }
    for name in ["relay", "simulator"] {
        let service = &composition["services"][name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
    }
}

#[test]
fn what_is_mounted_is_there() {
    let composition = composition();
    let named = composition["volumes"].as_object().unwrap();
    let mut files = 0;
    for (name, service) in services(&composition) {
        let volumes = service.get("volumes").and_then(Value::as_array);
        for volume in volumes.into_iter().flatten() {
            let source = text(volume, "/source");
            if volume["type"] == "bind" {
                assert!(Path::new(source).exists(), "{name}: {source}");
                assert_eq!(volume["read_only"], true, "{name}: {source}");
                files += 1;
            } else {
                assert!(named.contains_key(source), "{name}: {source}");
            }
        }
    }
    assert_eq!(
        files, 4,
        "the relay's configuration, Prometheus', Grafana's two"
    );
}

#[test]
fn the_relay_finds_everybody() {
    let path = "deploy/compose/relay.toml";
    passes_check(&repository(path), &BTreeMap::new());
    let composition = composition();
    let services = services(&composition);
    let relay: toml::Table = read(path).parse().unwrap();
    let relay = serde_json::to_value(relay).unwrap();
    let token = read("deploy/compose/admin-token");
    assert_eq!(token.trim_end(), text(&relay, "/admin/token"));
    let host = |url: &str| Url::parse(url).unwrap().host_str().unwrap().to_owned();
    let hosts = [
        host(text(&relay, "/upstream/url")),
        host(text(&relay, "/sinks/stream/servers/0")),
        host(text(&relay, "/sinks/exchange/url")),
        text(&relay, "/sinks/lake/brokers/0").replace(":9092", ""),
    ];
    for host in hosts {
        assert!(services.contains_key(host.as_str()), "{host}");
    }
    let volumes = list(services["relay"], "/volumes");
    let mounted = |target: &str| volumes.iter().any(|volume| volume["target"] == target);
    let command = image::stage("relay").pop().unwrap();
    assert!(mounted("/etc/sapi-relay"), "{volumes:?}");
    assert!(
        command.contains("\"/etc/sapi-relay/relay.toml\""),
        "{command}"
    );
    assert!(mounted("/var/lib/sapi-relay"), "{volumes:?}");
}

#[test]
fn prometheus_and_grafana_find_what_they_show() {
    let yaml = |path: &str| -> Value {
        serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let target = text(&prometheus, "/scrape_configs/0/static_configs/0/targets/0");
    assert_eq!(target, "relay:9464");
    for rules in list(&prometheus, "/rule_files") {
        let path = format!("deploy/prometheus/{}", rules.as_str().unwrap());
        assert!(repository(&path).is_file(), "{path}");
    }
    let provisioning = "deploy/grafana/provisioning";
    let sources = yaml(&format!("{provisioning}/datasources/prometheus.yml"));
    assert_eq!(
        text(&sources, "/datasources/0/url"),
        "http://prometheus:9090"
    );
    let boards = yaml(&format!("{provisioning}/dashboards/sapi-relay.yml"));
    let folder = text(&boards, "/providers/0/options/path");
    let composition = composition();
    let volumes = list(&composition, "/services/grafana/volumes");
    let target = |volume: &&Value| text(volume, "/target").starts_with(folder);
    let board = volumes.iter().find(target).expect("a dashboard is mounted");
    assert!(
        text(board, "/source").ends_with("deploy/grafana/sapi-relay.json"),
        "{board}"
    );
}

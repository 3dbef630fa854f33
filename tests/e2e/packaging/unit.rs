//! The systemd unit, as systemd itself sees it.

use std::collections::BTreeMap;
use std::process::Command;

use relay_tests::relay::binary;

use super::{outcome, passes_check, read, repository};

const UNIT: &str = "deploy/systemd/sapi-relay.service";

fn analyze() -> Command {
    let mut command = Command::new("systemd-analyze");
    command.env("SYSTEMD_PAGER", "");
    command
}

#[test]
fn systemd_understands_every_line() {
    let unit = read(UNIT);
    let installed = "ExecStart=/usr/bin/sapi-relay ";
    assert!(unit.contains(installed), "{unit}");
    let built = format!("ExecStart={} ", binary("sapi-relay").display());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("sapi-relay.service");
    std::fs::write(&copy, unit.replace(installed, &built)).unwrap();
    let (right, said) = outcome(analyze().args(["verify", "--man=no"]).arg(&copy));
    assert!(right && said.is_empty(), "{said}");
    // That it would have said something.
    let wrong = unit
        .replace(installed, &built)
        .replace("WatchdogSec=", "WatchDog=");
    std::fs::write(&copy, wrong).unwrap();
    let (_, said) = outcome(analyze().args(["verify", "--man=no"]).arg(&copy));
    assert!(said.contains("WatchDog"), "{said}");
}

#[test]
fn it_is_exposed_to_little() {
    let mut command = analyze();
    command.args(["security", "--offline=yes", "--threshold=19"]);
    let (right, said) = outcome(command.arg(repository(UNIT)));
    assert!(right, "2.0 or more: {said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn it_starts_again_what_a_restart_can_help() {
    let unit = read(UNIT);
    let lines: Vec<_> = unit.lines().collect();
    for line in [
        "Type=notify",
        "Restart=always",
        "RestartPreventExitStatus=64 78",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "LoadCredential=token:/etc/sapi-relay/token",
        "Environment=SAPI_RELAY_UPSTREAM__TOKEN_FILE=%d/token",
        "StateDirectory=sapi-relay",
    ] {
        assert!(lines.contains(&line), "{line}: {unit}");
    }
    assert!(unit.contains("\nWatchdogSec="), "{unit}");
    // The drain has its time.
    let default = read("config/relay.toml");
    assert!(default.contains("\ntimeout         = \"20s\""), "{default}");
    assert!(lines.contains(&"TimeoutStopSec=30s"), "{unit}");
}

#[test]
fn the_packaged_configuration_lacks_nothing_but_what_it_names() {
    let path = "deploy/debian/relay.toml";
    let text = read(path);
    assert!(
        text.contains("\n# platform = \"na12\"") && text.contains("\n# tenant_id = "),
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n").unwrap();
    let filled = [
        ("SAPI_RELAY_UPSTREAM__PLATFORM", "na12".to_owned()),
        ("SAPI_RELAY_UPSTREAM__TENANT_ID", "acmecorp01".to_owned()),
        (
            "SAPI_RELAY_UPSTREAM__TOKEN_FILE",
            token.display().to_string(),
        ),
    ];
    let filled = filled.map(|(name, value)| (name.to_owned(), value));
    passes_check(&repository(path), &BTreeMap::from(filled));
}

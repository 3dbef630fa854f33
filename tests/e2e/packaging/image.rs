//! The Dockerfile: what a linter says, and what no linter knows.

use std::process::Command;

use relay_tests::relay::binary;

use super::{is_pinned, outcome, printed, read, repository, tool};

/// The instructions, each on one line.
fn instructions() -> Vec<String> {
    let file = read("Dockerfile").replace("\\\n", " ");
    let lines = file.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The instructions of one stage, by its name.
pub(super) fn stage(name: &str) -> Vec<String> {
    let all = instructions();
    let end = format!(" AS {name}");
    let after = all.iter().skip_while(|line| !line.ends_with(&end));
    let (first, rest) = (after.clone().next(), after.skip(1));
    let rest = rest.take_while(|line| !line.starts_with("FROM "));
    first.into_iter().chain(rest).cloned().collect()
}

#[test]
fn the_linter_has_nothing_to_say() {
    let mut lint = tool("python-2.15.1-1.37.0/bin/hadolint");
    // DL3008: versions of Debian's packages vanish from its archive with each security update.
    lint.args(["--ignore", "DL3008", "Dockerfile"]);
    let (right, said) = outcome(&mut lint);
    assert!(right && said.is_empty(), "{said}");
}

#[test]
fn bases_are_pinned() {
    let all = instructions();
    let mut stages: Vec<&str> = Vec::new();
    for from in all.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        let (base, name) = from.split_once(" AS ").unwrap();
        assert!(stages.contains(&base) || is_pinned(base), "{base}");
        stages.push(name);
    }
    assert_eq!(stages, ["build", "base", "simulator", "relay"]);
    let cargo = read("Cargo.toml");
    let version = cargo
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let version = version.unwrap().trim_end_matches('"');
    assert!(all[0].contains(&format!("rust:{version}.")), "{}", all[0]);
}

#[test]
fn the_relay_is_nobody_and_can_be_asked() {
    let user = stage("base")
        .into_iter()
        .find(|line| line.starts_with("USER "));
    assert_eq!(user.as_deref(), Some("USER 10001:10001"));
    let relay = stage("relay");
    assert!(relay[0].starts_with("FROM base "), "{relay:?}");
    assert!(
        !relay.iter().any(|line| line.starts_with("USER ")),
        "{relay:?}"
    );
    let words = |instruction: &str| -> Vec<String> {
        let found = relay.iter().find_map(|line| line.strip_prefix(instruction));
        serde_json::from_str(found.unwrap()).unwrap()
    };
    assert_eq!(words("ENTRYPOINT "), ["/usr/bin/sapi-relay"]);
    assert_eq!(words("CMD ")[..2], ["run", "--config"]);
    let health = relay.iter().find(|line| line.starts_with("HEALTHCHECK "));
    let (_, command) = health.unwrap().split_once(" CMD ").unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(words[0], "/usr/bin/sapi-relay");
    printed(
        Command::new(binary("sapi-relay"))
            .args(&words[1..])
            .arg("--help"),
    );
}

#[test]
fn what_is_copied_is_there_and_not_ignored() {
    let ignore = read(".dockerignore");
    let admitted: Vec<_> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    assert!(ignore.lines().any(|line| line == "*"), "{ignore}");
    let mut copied = 0;
    for line in instructions() {
        let Some(words) = line.strip_prefix("COPY ") else {
            continue;
        };
        if words.starts_with("--from=build") {
            continue;
        }
        let words: Vec<_> = words.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(repository(source).exists(), "{source}");
            let fits = |pattern: &&str| match pattern.strip_suffix('*') {
                Some(start) => source.starts_with(start),
                None => source == pattern,
            };
            assert!(admitted.iter().any(fits), "{source} is ignored: {ignore}");
            copied += 1;
        }
    }
    assert_eq!(
        copied, 6,
        "Cargo.toml, Cargo.lock, crates, tests, two licences"
    );
}

//! `docs/CONFIGURATION.md` is made here, of two things: `config/relay.toml`, where every key stands with
//! its meaning, and the code itself, which is asked with wrong values what it allows, and without a
//! key what its default is. What the file leaves out, or says otherwise than the code, fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use toml::{Table, Value};

use super::{Config, Problem, Problems, examples, load, with_files};
use crate::config::units;

/// Rewrites the page instead of comparing it: `make reference`.
const REWRITE: &str = "SAPI_RELAY_REWRITE_REFERENCE";

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIGURATION.md");

const HEAD: &str = "# Configuration

<!-- Made of config/relay.toml and of what the code allows: `make reference` writes it, a test compares it. -->

TOML files, in the order of `--config`, later ones over earlier ones; then environment variables over all of them:
`upstream.token` is `SAPI_RELAY_UPSTREAM__TOKEN`, with `__` between the parts. Only variables with `__` after the prefix
are read. `sapi-relay check --config FILE` lists every problem with its file, line, key and what is allowed; an unknown
key is an error that names the nearest known one. [`config/relay.toml`](../config/relay.toml) holds the same keys, to be
copied; [`config/examples`](../config/examples) a file a use case.

* A **duration** is text of numbers with units (ms, s, m, h, d): `\"150s\"`, `\"2h30m\"`.
* A **size** is text, a number with a unit (B, KiB, MiB, GiB, TiB): `\"256KiB\"`.
* A **secret** `x` can be given as `x_file`, the path of a file that holds it; it is read again at each connect.
* A reload (SIGHUP) takes sinks, secrets, `[shutdown]` and the admin token; other changes are named, and wait for a
  restart.

A default in *italics* is a rule rather than a value.
";

/// One key, as `config/relay.toml` shows it.
#[derive(Debug)]
struct Entry {
    section: String,
    name: String,
    value: String,
    meaning: String,
    /// It replaces another key of the file, so that both can't be set.
    instead: bool,
    /// Every sink that the relay delivers to has it.
    common: bool,
}

/// A section, as the file shows it.
#[derive(Debug)]
struct Heading {
    section: String,
    meaning: String,
}

#[derive(Debug, Default)]
struct Reference {
    headings: Vec<Heading>,
    entries: Vec<Entry>,
}

impl Reference {
    fn read(text: &str) -> Self {
        let mut reference = Self::default();
        let mut common = false;
        for line in text.lines() {
            let (bare, hidden) = uncommented(line);
            let (code, comment) = split(bare);
            if let Some(section) = code.strip_prefix('[').and_then(|c| c.strip_suffix(']')) {
                let (section, meaning) = (section.to_owned(), comment.to_owned());
                reference.headings.push(Heading { section, meaning });
            } else if let Some((name, value)) = code.split_once(" = ").filter(|(n, _)| is_key(n)) {
                let section = reference.headings.last().unwrap().section.clone();
                reference.entries.push(Entry {
                    section,
                    name: name.trim().to_owned(),
                    value: value.trim().to_owned(),
                    meaning: comment.to_owned(),
                    instead: hidden == 2 || value.contains("\"ws://"),
                    common,
                });
            } else if comment.starts_with("keys of every sink") {
                common = true;
            } else if code.is_empty() && !comment.is_empty() && goes_on(line) {
                // It goes on what the line before says.
                let meaning = &mut reference.entries.last_mut().unwrap().meaning;
                write!(meaning, " {comment}").unwrap();
            }
        }
        reference
    }

    fn of<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |e| e.section == section)
    }
}

/// A line without the marks that make it a comment, and how many there were.
fn uncommented(line: &str) -> (&str, usize) {
    let once = line.strip_prefix("# ");
    let twice = once.and_then(|rest| rest.strip_prefix("# "));
    let is_code = |rest: &&str| rest.starts_with('[') || rest.contains(" = ");
    match (once.filter(is_code), twice.filter(is_code)) {
        (_, Some(rest)) => (rest, 2),
        (Some(rest), None) => (rest, 1),
        (None, None) => (line, 0),
    }
}

/// What stands before a comment, and the comment.
fn split(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => {
                let comment = line[at..].trim_start_matches(['#', ' ']);
                return (line[..at].trim(), comment.trim());
            }
            _ => {}
        }
    }
    (line.trim(), "")
}

/// Whether a comment goes on what the line before says: it begins where that one does.
fn goes_on(line: &str) -> bool {
    line.trim_start_matches('#').starts_with(&" ".repeat(20))
}

fn is_key(name: &str) -> bool {
    name.trim()
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// The code, asked with tables.
struct Asked {
    base: Table,
    _dir: tempfile::TempDir,
}

impl Asked {
    /// A configuration with every key that can stand beside the others.
    fn new(text: &str, reference: &Reference) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = with_files(text, dir.path());
        let lines = text.lines().filter_map(|line| {
            let (bare, hidden) = uncommented(line);
            let (code, _) = split(bare);
            let instead = hidden == 2 || code.contains("\"ws://");
            let known = code.starts_with('[') || code.contains(" = ");
            (known && !instead).then_some(code)
        });
        let base: Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
        let asked = Self { base, _dir: dir };
        load_table(&asked.base).unwrap();
        assert!(reference.entries.len() > 80, "the file was not read");
        asked
    }

    /// The base with a key set to something else, or without it.
    fn with(&self, section: &str, name: &str, value: Option<Value>) -> Table {
        let mut table = self.base.clone();
        let path = format!("{section}.{name}");
        let (above, name) = path.rsplit_once('.').unwrap();
        let mut here = &mut table;
        for part in above.split('.') {
            let below = here.entry(part).or_insert(Value::Table(Table::new()));
            here = below.as_table_mut().unwrap();
        }
        match value {
            Some(value) => here.insert(name.to_owned(), value),
            None => here.remove(name),
        };
        table
    }

    /// What the code says of a key with a value: what is allowed.
    fn remedy(&self, entry: &Entry, value: Value) -> Option<String> {
        // A file allows less than the others do.
        let section = if entry.common {
            "sinks.lake"
        } else {
            &entry.section
        };
        let key = format!("{section}.{}", entry.name);
        let problems = load_table(&self.with(section, &entry.name, Some(value)));
        let problems = problems.err()?.0;
        let found = problems.into_iter().find(|problem| problem.key == key);
        found.map(|problem| problem.remedy)
    }

    /// Every key that the code knows in a section.
    fn known(&self, section: &str) -> BTreeSet<String> {
        let table = self.with(section, "no_such_key", Some(Value::Boolean(true)));
        let problems = load_table(&table).unwrap_err();
        let key = format!("{section}.no_such_key");
        let found = problems.0.iter().find(|problem| problem.key == key);
        let remedy = &found
            .unwrap_or_else(|| panic!("{section}: {problems}"))
            .remedy;
        let (_, list) = remedy.split_once("known here: ").unwrap();
        let names = list.trim_end_matches(')').split(", ");
        names.map(ToOwned::to_owned).collect()
    }

    /// The default of a key, in Markdown.
    fn default(&self, entry: &Entry) -> String {
        let passed_on = ["librdkafka.", "headers."];
        if entry.instead || passed_on.iter().any(|own| entry.name.starts_with(own)) {
            return "none".to_owned();
        }
        let without = self.with(&entry.section, &entry.name, None);
        if let Err(problems) = load_table(&without) {
            let key = format!("{}.{}", entry.section, entry.name);
            let bare = key.strip_suffix("_file").unwrap_or(&key);
            let missing = |problem: &Problem| problem.key == key || problem.key == bare;
            if problems.0.iter().any(missing) {
                let alone = entry.section.rsplit('.').next() != Some("tls")
                    && !entry.name.starts_with("sasl.");
                let alone = alone && !TOGETHER.contains(&entry.name.as_str());
                return if alone { "has to be set" } else { "none" }.to_owned();
            }
        }
        let said = entry.meaning.split_once("default: ").map(|(_, said)| said);
        let said = said.filter(|_| !entry.meaning.starts_with("no default"));
        if let Some(said) = said {
            let end = said.find(['.', ';']).unwrap_or(said.len());
            let said = said[..end].trim();
            let Ok(parsed) = format!("x = {said}").parse::<Table>() else {
                return format!("*{said}*");
            };
            // What the comment says is tried, too.
            let stated = self.with(&entry.section, &entry.name, parsed.get("x").cloned());
            assert!(same(&settled(stated), &settled(without)), "{entry:?}");
            return format!("`{said}`");
        }
        if same(&settled(self.base.clone()), &settled(without)) {
            return format!("`{}`", entry.value);
        }
        "none".to_owned()
    }

    /// The type of a key, and what is allowed, in the code's own words.
    fn allowed(&self, entry: &Entry) -> (String, String) {
        let value: Table = format!("x = {}", entry.value).parse().unwrap();
        let ask = |value: Value| self.remedy(entry, value);
        match &value["x"] {
            Value::Boolean(_) => ("true or false".into(), String::new()),
            Value::Integer(_) if entry.name.starts_with("librdkafka") => {
                ("text or number".into(), String::new())
            }
            Value::Integer(_) => {
                let range = ask(Value::Integer(-1)).unwrap();
                ("number".into(), range.replace("a whole number ", ""))
            }
            Value::Array(_) => {
                let allowed = ask(Value::Array(Vec::new()));
                ("list of texts".into(), allowed.unwrap_or_default())
            }
            Value::Table(_) => ("table".into(), String::new()),
            Value::String(_) if entry.name.ends_with("_file") => ("path".into(), String::new()),
            Value::String(_) if entry.instead => ("text".into(), String::new()),
            Value::String(_) => {
                let remedy = ask(Value::String("?".into())).unwrap_or_default();
                if remedy == units::DURATION {
                    let most = ask(Value::String("9999d".into()));
                    ("duration".into(), most.unwrap_or_default())
                } else if remedy == units::SIZE {
                    let least = ask(Value::String("1B".into()));
                    ("size".into(), least.unwrap_or_default())
                } else if let Some(words) = remedy.strip_prefix("one of ") {
                    ("one of".into(), words.replace('"', "`"))
                } else {
                    ("text".into(), remedy)
                }
            }
            other @ (Value::Float(_) | Value::Datetime(_)) => panic!("{other}"),
        }
    }
}

/// Keys that are set together or not at all.
const TOGETHER: [&str; 2] = ["user", "password_file"];

fn load_table(table: &Table) -> Result<Config, Problems> {
    load(&toml::to_string(table).unwrap(), &[])
}

/// What is loaded once the keys are removed that do not fit the rest.
fn settled(mut table: Table) -> Config {
    for _ in 0..3 {
        let problems = match load_table(&table) {
            Ok(config) => return config,
            Err(problems) => problems,
        };
        for Problem { key, .. } in problems.0 {
            remove(&mut table, &key);
        }
    }
    panic!("not settled: {table}");
}

fn remove(table: &mut Table, key: &str) {
    match key.split_once('.') {
        Some((first, rest)) => remove(table[first].as_table_mut().unwrap(), rest),
        None => drop(table.remove(key)),
    }
}

/// Whether two configurations mean the same. A webhook's debug print shows little, so that sinks
/// are compared as they are.
fn same(one: &Config, other: &Config) -> bool {
    one.sinks == other.sinks && format!("{one:?}") == format!("{other:?}")
}

/// A key with the file that may hold it instead.
fn shown_name(entry: &Entry, known: &BTreeSet<String>) -> String {
    let name = &entry.name;
    if name.starts_with("librdkafka.") {
        return "`librdkafka.*`".to_owned();
    }
    if name.starts_with("headers.") {
        return "`headers.*`, `headers.*_file`".to_owned();
    }
    let last = name.rsplit('.').next().unwrap();
    let bare = last.trim_end_matches("_file");
    let file = format!("{bare}_file");
    let pair = name.contains("password") || (known.contains(bare) && known.contains(&file));
    let stem = &name[..name.len() - last.len()];
    if pair {
        return format!("`{stem}{bare}`, `{stem}{file}`");
    }
    format!("`{name}`")
}

fn shown_meaning(entry: &Entry) -> String {
    let mut meaning = entry.meaning.as_str();
    for prefix in ["no default: ", "no default; ", "no default"] {
        meaning = meaning.strip_prefix(prefix).unwrap_or(meaning);
    }
    if let Some(said) = meaning.strip_prefix("default: ") {
        meaning = said.split_once(". ").map_or("", |(_, rest)| rest);
    }
    meaning.replace('|', "\\|")
}

fn table(asked: &Asked, entries: &[&Entry], known: &BTreeSet<String>) -> String {
    let mut text =
        "\n| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n".to_owned();
    for entry in entries {
        let (kind, allowed) = asked.allowed(entry);
        let name = shown_name(entry, known);
        let kind = if name.contains("_file`") && name.contains(", ") {
            "secret".to_owned()
        } else {
            kind
        };
        let cells = [
            name,
            kind,
            asked.default(entry),
            allowed.replace('|', "\\|"),
            shown_meaning(entry),
        ];
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// The type of a sink's section.
fn sink_type<'a>(reference: &'a Reference, section: &'a str) -> Option<&'a str> {
    let mut entries = reference.of(section).filter(|entry| entry.name == "type");
    let kind = entries.next()?.value.as_str();
    Some(kind.trim_matches('"'))
}

/// How a section is called on the page: the user chooses the names of sinks and clients.
fn title(reference: &Reference, section: &str) -> String {
    if let Some(kind) = sink_type(reference, section) {
        return format!("`[sinks.NAME]`, `type = \"{kind}\"`");
    }
    let named = section.replace("sinks.downstream", "sinks.NAME");
    format!("`[{}]`", named.replace("wallboard", "CLIENT"))
}

fn page(reference: &Reference, asked: &Asked) -> String {
    let mut page = HEAD.to_owned();
    let of_every_sink = |entry: &&Entry| ["type", "enabled"].contains(&entry.name.as_str());
    for Heading { section, meaning } in &reference.headings {
        let known = asked.known(section);
        let sink = sink_type(reference, section).is_some();
        write!(page, "\n## {}\n", title(reference, section)).unwrap();
        if !meaning.is_empty() {
            writeln!(page, "\n{}{}.", meaning[..1].to_uppercase(), &meaning[1..]).unwrap();
        }
        let own = reference.of(section).filter(|entry| !entry.common);
        let own: Vec<_> = own
            .filter(|entry| !(sink && of_every_sink(entry)))
            .collect();
        page += &table(asked, &own, &known);
    }
    let first = reference.of("sinks.downstream").filter(of_every_sink);
    let common = reference.entries.iter().filter(|entry| entry.common);
    page += "\n## Every sink\n";
    page += &table(asked, &first.collect::<Vec<_>>(), &BTreeSet::new());
    page += "\n## Every sink that the relay delivers to\n\nAll types but `websocket`, whose clients read at a pace of their own.\n";
    page += &table(asked, &common.collect::<Vec<_>>(), &BTreeSet::new());
    page
}

fn read() -> (Reference, Asked) {
    let text = std::fs::read_to_string(&examples()[0]).unwrap();
    let reference = Reference::read(&text);
    let asked = Asked::new(&text, &reference);
    (reference, asked)
}

#[test]
fn the_reference_file_has_every_key_of_the_code() {
    let (reference, asked) = read();
    let common: BTreeSet<&str> = reference
        .entries
        .iter()
        .filter(|entry| entry.common)
        .map(|entry| entry.name.as_str())
        .collect();
    let mut missing = BTreeMap::new();
    for Heading { section, .. } in &reference.headings {
        let below = reference.headings.iter().filter_map(|heading| {
            let below = heading.section.strip_prefix(section.as_str())?;
            below.strip_prefix('.')?.split('.').next()
        });
        let here = reference
            .of(section)
            .filter_map(|entry| entry.name.split('.').next());
        let shown: BTreeSet<&str> = here.chain(below).collect();
        let mut known = asked.known(section);
        known.retain(|key| {
            let other = key.strip_suffix("_file").map(ToOwned::to_owned);
            let other = other.unwrap_or_else(|| format!("{key}_file"));
            let delivered = sink_type(&reference, section).is_some_and(|kind| kind != "websocket");
            let common = delivered && (common.contains(key.as_str()) || key == "enabled");
            !(shown.contains(key.as_str()) || shown.contains(other.as_str()) || common)
        });
        if !known.is_empty() {
            missing.insert(section, known);
        }
    }
    assert_eq!(
        missing,
        BTreeMap::new(),
        "config/relay.toml does not show them"
    );
    let sasl = asked.known("sinks.lake.sasl");
    let shown = reference
        .of("sinks.lake")
        .filter_map(|entry| entry.name.strip_prefix("sasl."));
    let shown: BTreeSet<_> = shown.map(|name| name.trim_end_matches("_file")).collect();
    let known = sasl.iter().map(|name| name.trim_end_matches("_file"));
    assert_eq!(known.collect::<BTreeSet<_>>(), shown);
}

#[test]
fn what_replaces_another_key_is_known_too() {
    let (reference, asked) = read();
    for entry in reference.entries.iter().filter(|entry| entry.instead) {
        let known = asked.known(&entry.section);
        assert!(known.contains(&entry.name), "{entry:?}");
    }
}

#[test]
fn the_page_is_what_the_code_says() {
    let (reference, asked) = read();
    let page = page(&reference, &asked);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let kept = std::fs::read_to_string(PAGE).unwrap_or_default();
    for (line, (kept, now)) in kept.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            kept,
            now,
            "line {}: `make reference` writes the page anew",
            line + 1
        );
    }
    assert_eq!(kept, page, "`make reference` writes the page anew");
}

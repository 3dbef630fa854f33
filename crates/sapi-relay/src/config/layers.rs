//! Owns where values come from: files in order, then environment variables, merged by figment, each
//! value traceable to its file and line. It knows no key's meaning.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Num, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use toml::de::{DeTable, DeValue};

use super::problem::{Collector, Place, Problem};

/// The prefix of the environment variables that are read; the rest must contain `__`.
const PREFIX: &str = "SAPI_RELAY_";
const ENVIRONMENT: &str = "environment";

/// The merged layers.
#[derive(Debug)]
pub(super) struct Layers {
    figment: Figment,
    files: Vec<PathBuf>,
    lines: HashMap<(PathBuf, String), usize>,
}

impl Layers {
    /// Reads files in order, later ones over earlier ones, then variables over all of them.
    pub(super) fn read(
        files: &[PathBuf],
        environment: &[(String, String)],
        problems: &Collector,
    ) -> Self {
        let mut layers = Self {
            figment: Figment::new(),
            files: files.to_vec(),
            lines: HashMap::new(),
        };
        for path in files {
            if let Some(values) = layers.file(path, problems) {
                let metadata = Metadata::from("file", path.as_path());
                layers.figment = layers.figment.merge(Layer { metadata, values });
            }
        }
        let values = variables(environment, problems);
        let metadata = Metadata::named(ENVIRONMENT);
        layers.figment = layers.figment.merge(Layer { metadata, values });
        layers
    }

    /// The merged values.
    pub(super) fn root(&self) -> Dict {
        let data = self.figment.data().unwrap_or_default();
        data.into_iter()
            .find_map(|(profile, values)| (profile == Profile::Default).then_some(values))
            .unwrap_or_default()
    }

    /// Where a value of `key` comes from.
    pub(super) fn place(&self, tag: Tag, key: &str) -> Option<Place> {
        if self.is_environment(tag) {
            return Some(Place::Environment(variable(key)));
        }
        let path = self.figment.get_metadata(tag)?.source.as_ref()?;
        Some(self.place_in(path.file_path()?, key))
    }

    /// Whether a value is an environment variable's: text, whatever it stands for.
    pub(super) fn is_environment(&self, tag: Tag) -> bool {
        let metadata = self.figment.get_metadata(tag);
        metadata.is_some_and(|metadata| metadata.name == ENVIRONMENT)
    }

    /// Where a key that is missing would belong: the file of the nearest section around it.
    pub(super) fn home(&self, key: &str) -> Option<Place> {
        let mut around = key;
        while let Some((parent, _)) = around.rsplit_once('.') {
            let holder = self.files.iter().rev().find(|file| {
                self.lines
                    .contains_key(&((*file).clone(), parent.to_owned()))
            });
            if let Some(file) = holder {
                return Some(self.place_in(file, parent));
            }
            around = parent;
        }
        self.files.first().map(|file| Place::File(file.clone(), 0))
    }

    fn place_in(&self, file: &Path, key: &str) -> Place {
        let line = self.lines.get(&(file.to_owned(), key.to_owned()));
        Place::File(file.to_owned(), line.copied().unwrap_or(0))
    }

    /// One file's values; its problems are reported, and then there are none.
    fn file(&mut self, path: &Path, problems: &Collector) -> Option<Dict> {
        let whole = |line, fault: String, remedy: &str| {
            problems.error(Problem {
                place: Some(Place::File(path.to_owned(), line)),
                key: String::new(),
                value: None,
                fault,
                remedy: remedy.to_owned(),
            });
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                whole(0, unreadable(&error), unreadable_remedy(&error));
                return None;
            }
        };
        let line_of = |at: usize| 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
        match DeTable::parse(&text) {
            Ok(table) => {
                let (table, mut lines) = (table.into_inner(), Vec::new());
                let values = dict(&table, "", &mut |key, at| lines.push((key, line_of(at))));
                let lines = lines
                    .into_iter()
                    .map(|(key, line)| ((path.to_owned(), key), line));
                self.lines.extend(lines);
                Some(values)
            }
            Err(error) => {
                // Only where and what: the line itself may hold a secret.
                let line = error.span().map_or(0, |span| line_of(span.start));
                whole(
                    line,
                    format!("is not TOML: {}", error.message()),
                    "text goes in double quotes, a section is [name], a comment begins with #",
                );
                None
            }
        }
    }
}

fn unreadable(error: &std::io::Error) -> String {
    format!("the configuration file can't be read: {error}")
}

fn unreadable_remedy(error: &std::io::Error) -> &'static str {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        "check the path; config/relay.toml lists every key with its default, and \
         `sapi-relay demo` needs no file"
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "let the user that the relay runs as read it, for instance with `chown` or a group"
    } else {
        "the file must be readable UTF-8 text"
    }
}

struct Layer {
    metadata: Metadata,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// A table's values, and where each key stands.
fn dict(table: &DeTable<'_>, prefix: &str, note: &mut impl FnMut(String, usize)) -> Dict {
    let entries = table.iter().map(|(name, entry)| {
        let key = join(prefix, name.get_ref());
        note(key.clone(), name.span().start);
        (
            name.get_ref().to_string(),
            value(entry.get_ref(), &key, note),
        )
    });
    entries.collect()
}

fn value(entry: &DeValue<'_>, key: &str, note: &mut impl FnMut(String, usize)) -> Value {
    match entry {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            match i64::from_str_radix(&digits, number.radix()) {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(digits),
            }
        }
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => Value::Num(Tag::Default, Num::from(number)),
            Err(_) => Value::from(number.as_str()),
        },
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|entry| value(entry.get_ref(), key, note));
            Value::Array(Tag::Default, entries.collect())
        }
        DeValue::Table(table) => Value::Dict(Tag::Default, dict(table, key, note)),
    }
}

/// The values of the variables `SAPI_RELAY_SECTION__KEY`, all of them text.
fn variables(environment: &[(String, String)], problems: &Collector) -> Dict {
    let mut root = Dict::new();
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if path.len() < 2 || path.iter().any(String::is_empty) {
            continue;
        }
        if !insert(&mut root, &path, text) {
            problems.error(Problem {
                place: Some(Place::Environment(name.clone())),
                key: path.join("."),
                value: None,
                fault: "another variable uses the same key both as a section and as a value".into(),
                remedy: "unset one of them".into(),
            });
        }
    }
    root
}

/// Puts a text at a path. False: something of another shape stands there.
fn insert(dict: &mut Dict, path: &[String], text: &str) -> bool {
    match path {
        [] => false,
        [name] => {
            let free = !dict.contains_key(name);
            dict.entry(name.clone()).or_insert_with(|| text.into());
            free
        }
        [name, rest @ ..] => {
            let below = dict.entry(name.clone());
            match below.or_insert_with(|| Value::from(Dict::new())) {
                Value::Dict(_, below) => insert(below, rest, text),
                Value::String(..)
                | Value::Char(..)
                | Value::Bool(..)
                | Value::Num(..)
                | Value::Empty(..)
                | Value::Array(..) => false,
            }
        }
    }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    let name = key.replace('.', "__").to_ascii_uppercase();
    format!("{PREFIX}{name}")
}

/// A key below a prefix.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

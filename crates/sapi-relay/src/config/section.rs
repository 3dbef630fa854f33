//! Owns the typed reading of one section: every value checked where it is asked for, every problem
//! collected, every key that nobody asked for reported with the nearest one. It knows no key itself.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};

use super::layers::{Layers, join};
use super::problem::{Collector, Place, Problem};
use super::secret::Secret;
use super::units;
use super::value::{from_text, nearest, shown, tag_below};

mod secrets;

/// One table of the configuration.
#[derive(Debug)]
pub(super) struct Section<'a> {
    key: String,
    values: Dict,
    place: Option<Place>,
    layers: &'a Layers,
    problems: &'a Collector,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The outermost table.
    pub(super) fn root(layers: &'a Layers, problems: &'a Collector) -> Self {
        Self::of(String::new(), layers.root(), layers, problems)
    }

    fn of(key: String, values: Dict, layers: &'a Layers, problems: &'a Collector) -> Self {
        let place = layers.home(&format!("{key}.x"));
        Self {
            place,
            key,
            values,
            layers,
            problems,
            known: RefCell::default(),
        }
    }

    /// A table within this one; empty where it is absent.
    pub(super) fn child(&self, name: &'static str) -> Self {
        let key = join(&self.key, name);
        let values = match self.value(name) {
            None => Dict::new(),
            Some(Value::Dict(_, values)) => values.clone(),
            Some(other) => {
                let fault = "is a table, not a value".to_owned();
                self.fault(name, other, false, fault, format!("write [{key}]"));
                Dict::new()
            }
        };
        Self::of(key, values, self.layers, self.problems)
    }

    /// The tables of names that the user chose: sinks, clients.
    pub(super) fn children(&self) -> Vec<(String, Self)> {
        let tables = self.values.iter().filter_map(|(name, value)| {
            let key = join(&self.key, name);
            let Value::Dict(_, values) = value else {
                let fault = "is a table, not a value".to_owned();
                self.fault(name, value, false, fault, format!("write [{key}]"));
                return None;
            };
            let fits = (1..=40).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !fits {
                let fault = format!("{name:?} is no name");
                let remedy = "a name has 1 to 40 of the characters a-z, 0-9 and _".to_owned();
                self.fault(name, value, false, fault, remedy);
                return None;
            }
            let child = Self::of(key, values.clone(), self.layers, self.problems);
            Some((name.clone(), child))
        });
        tables.collect()
    }

    /// The dotted key of a name in this section.
    pub(super) fn key(&self, name: &str) -> String {
        join(&self.key, name)
    }

    /// Whether a name is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Marks keys as known that are not read now.
    pub(super) fn knows(&self, names: &[&'static str]) {
        self.known.borrow_mut().extend(names);
    }

    fn value(&self, name: &'static str) -> Option<&Value> {
        self.known.borrow_mut().push(name);
        self.values.get(name)
    }

    /// Text, as it stands.
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        let value = self.value(name)?;
        let text = value.as_str().map(ToOwned::to_owned);
        if text.is_none() {
            let fault = "is not text".to_owned();
            self.fault(name, value, true, fault, "put it in double quotes".into());
        }
        text
    }

    /// Text that has to be there.
    pub(super) fn required(&self, name: &'static str, remedy: &str) -> Option<String> {
        if !self.has(name) {
            self.knows(&[name]);
            self.missing(name, remedy);
            return None;
        }
        self.parsed(name, remedy, |text| {
            (!text.trim().is_empty()).then(|| text.to_owned())
        })
    }

    /// Text that means something; `allowed` says what is meant.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            let fault = if text.trim().is_empty() {
                "is empty"
            } else {
                "is not allowed"
            };
            self.wrong(name, fault, allowed);
        }
        parsed
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, name: &'static str, words: &[(&str, T)], or: T) -> T {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let allowed = format!("one of {}", names.join(", "));
        let find = |text: &str| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, t)| *t)
        };
        self.parsed(name, &allowed, find).unwrap_or(or)
    }

    /// A duration, if there is one.
    pub(super) fn some_duration(&self, name: &'static str) -> Option<Duration> {
        let some = |text: &str| units::duration(text).filter(|length| !length.is_zero());
        self.parsed(name, units::DURATION, some)
    }

    /// A duration above zero.
    pub(super) fn duration(&self, name: &'static str, or: Duration) -> Duration {
        self.some_duration(name).unwrap_or(or)
    }

    /// A size, if there is one.
    pub(super) fn some_size(&self, name: &'static str, least: u64) -> Option<u64> {
        let size = self.parsed(name, units::SIZE, units::size)?;
        if size < least {
            let allowed = format!("at least {}", units::write_size(least));
            self.wrong(name, "is too small", &allowed);
            return None;
        }
        Some(size)
    }

    /// A size in bytes, at least `least`.
    pub(super) fn size(&self, name: &'static str, or: u64, least: u64) -> u64 {
        self.some_size(name, least).unwrap_or(or)
    }

    /// A number within a range.
    pub(super) fn number<T>(&self, name: &'static str, or: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Some(value) = self.value(name) else {
            return or;
        };
        let number = match value.as_str() {
            Some(text) if self.layers.is_environment(value.tag()) => text.trim().parse().ok(),
            Some(_) => None,
            None => value.to_i128(),
        };
        let fits = number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number));
        fits.unwrap_or_else(|| {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(name, "is not allowed", &allowed);
            or
        })
    }

    /// True or false.
    pub(super) fn flag(&self, name: &'static str, or: bool) -> bool {
        let Some(value) = self.value(name) else {
            return or;
        };
        let flag = match value.as_str() {
            Some(text) if self.layers.is_environment(value.tag()) => text.trim().parse().ok(),
            Some(_) => None,
            None => value.to_bool(),
        };
        flag.unwrap_or_else(|| {
            self.wrong(name, "is not allowed", "true or false, without quotes");
            or
        })
    }

    /// A list of texts; from the environment also separated by commas.
    pub(super) fn list(&self, name: &'static str) -> Option<Vec<String>> {
        let value = self.value(name)?;
        let texts = match value {
            Value::Array(_, entries) => entries
                .iter()
                .map(|entry| entry.as_str().map(ToOwned::to_owned))
                .collect(),
            Value::String(tag, text) if self.layers.is_environment(*tag) => from_text(text),
            Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Empty(..)
            | Value::Dict(..) => None,
        };
        if texts.is_none() {
            let fault = "is not a list of texts".to_owned();
            let remedy = "write it like [\"one\", \"two\"]".to_owned();
            // An address may hold a password.
            let show = !shown(value).contains('@');
            self.fault(name, value, show, fault, remedy);
        }
        texts
    }

    /// A path.
    pub(super) fn path(&self, name: &'static str) -> Option<PathBuf> {
        let some = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        self.parsed(name, "a path", some)
    }

    /// A file that has to be readable now.
    pub(super) fn readable(&self, name: &'static str) -> Option<PathBuf> {
        let path = self.path(name)?;
        if let Err(error) = std::fs::File::open(&path) {
            let remedy = "check the path, and that the relay's user may read it";
            self.wrong(name, &format!("can't be read: {error}"), remedy);
        }
        Some(path)
    }

    /// The files that keys of this section and those below name.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        files_in(&self.values)
    }

    /// An address to listen on.
    pub(super) fn address(&self, name: &'static str) -> Option<SocketAddr> {
        const ALLOWED: &str = "an IP address and a port, such as \"127.0.0.1:8080\", \
             \"0.0.0.0:8080\" for every interface, or \"[::1]:8080\"";
        self.parsed(name, ALLOWED, |text| text.parse().ok())
    }

    /// A secret: `name`, or a file in `name_file`.
    pub(super) fn secret(&self, name: &'static str, file: &'static str) -> Option<Secret> {
        let literal = self.value(name).cloned();
        let path = self.readable(file);
        if literal.is_some() && self.has(file) {
            let fault = format!("and {file} are both set");
            self.problem(
                name,
                None,
                fault,
                format!("remove {name}, and keep the secret in {file}"),
            );
            return None;
        }
        if let Some(path) = path {
            let secret = Secret::File(path);
            if let Err(error) = secret.read() {
                let remedy = "put the secret into it, and nothing else";
                self.wrong(file, &format!("holds no secret: {error}"), remedy);
            }
            return Some(secret);
        }
        let value = literal?;
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            let remedy = format!("text in double quotes; or keep it in a file and set {file}");
            self.problem(name, None, "is empty, or not text".into(), remedy);
        }
        text.map(|text| Secret::Literal(text.trim().to_owned()))
    }

    /// Everything of this section and the tables below as pairs of a dotted name and a text: names that
    /// another program knows.
    pub(super) fn flat(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (name, value) in &self.values {
            flatten(name, value, &mut pairs);
        }
        pairs
    }

    /// Reports the keys that nobody asked for. `elsewhere` explains keys that belong to another
    /// kind of section.
    pub(super) fn finish(&self, elsewhere: impl Fn(&str) -> Option<String>) {
        let known = self.known.borrow();
        for (name, value) in &self.values {
            if known.contains(&name.as_str()) {
                continue;
            }
            let remedy = elsewhere(name).unwrap_or_else(|| nearest(name, &known));
            self.fault(name, value, false, "is not a known key".into(), remedy);
        }
    }

    /// Reports a value of this section as wrong.
    pub(super) fn wrong(&self, name: &str, fault: &str, remedy: &str) {
        let value = self.values.get(name).map(shown);
        self.problem(name, value, fault.to_owned(), remedy.to_owned());
    }

    /// Reports a value of this section as wrong, without showing it.
    pub(super) fn hidden(&self, name: &str, fault: &str, remedy: &str) {
        self.problem(name, None, fault.to_owned(), remedy.to_owned());
    }

    /// Reports a key as missing.
    pub(super) fn missing(&self, name: &str, remedy: &str) {
        self.problem(name, None, "is missing".into(), remedy.to_owned());
    }

    /// Something that works, but hardly as intended.
    pub(super) fn warn(&self, name: &str, fault: &str, remedy: &str) {
        let value = self.values.get(name).map(shown);
        let problem = self.make(name, value, fault.to_owned(), remedy.to_owned());
        self.problems.warning(problem);
    }

    fn fault(&self, name: &str, value: &Value, show: bool, fault: String, remedy: String) {
        self.problem(name, show.then(|| shown(value)), fault, remedy);
    }

    fn problem(&self, name: &str, value: Option<String>, fault: String, remedy: String) {
        self.problems.error(self.make(name, value, fault, remedy));
    }

    fn make(&self, name: &str, value: Option<String>, fault: String, remedy: String) -> Problem {
        let key = self.key(name);
        let here = self.values.get(name);
        let place = here.and_then(|value| self.layers.place(tag_below(value), &key));
        Problem {
            place: place.or_else(|| self.place.clone()),
            key,
            value,
            fault,
            remedy,
        }
    }
}

fn flatten(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    if let Value::Dict(_, values) = value {
        for (below, value) in values {
            flatten(&format!("{name}.{below}"), value, pairs);
        }
        return;
    }
    let number = || value.to_num().and_then(|number| number.to_f64());
    let text = value
        .as_str()
        .map(ToOwned::to_owned)
        .or_else(|| value.to_bool().map(|flag| flag.to_string()))
        .or_else(|| value.to_i128().map(|number| number.to_string()))
        .or_else(|| number().map(|number| number.to_string()));
    pairs.push((name.to_owned(), text.unwrap_or_default()));
}

fn files_in(values: &Dict) -> Vec<PathBuf> {
    let files = values.iter().flat_map(|(name, value)| {
        let below = value.as_dict().map(files_in).unwrap_or_default();
        let here = value.as_str().filter(|_| name.ends_with("_file"));
        below.into_iter().chain(here.map(PathBuf::from))
    });
    files.collect()
}

//! What `/metrics` says, read back: families with their types, help texts, labels and values.

use std::collections::{BTreeMap, BTreeSet};

/// One metric, without the prefix of the relay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// Its type.
    pub kind: String,
    /// Its help text.
    pub help: String,
    /// Its series; those of a histogram carry `le`, and its sums and counts are among them.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name of the line: of a histogram, with its suffix.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Family {
    /// The labels that every series has, `le` left out.
    ///
    /// # Panics
    /// If its series differ in that.
    pub fn labels(&self) -> BTreeSet<&str> {
        let own = |series: &'_ Series| -> BTreeSet<String> {
            let names = series.labels.keys().filter(|name| *name != "le");
            names.cloned().collect()
        };
        let first = self.series.first().expect("a family has a series");
        for series in &self.series {
            assert_eq!(own(series), own(first), "{}", series.name);
        }
        let names = first.labels.keys().map(String::as_str);
        names.filter(|name| *name != "le").collect()
    }

    /// The values of a label.
    pub fn values(&self, label: &str) -> BTreeSet<&str> {
        let series = self.series.iter();
        series
            .filter_map(|series| series.labels.get(label).map(String::as_str))
            .collect()
    }
}

/// Reads Prometheus' text format. The names are as they stand there, prefix and all.
///
/// # Panics
/// At the first line that is not of the format.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.is_empty() {
            let series = series(line);
            let name = &series.name;
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|base| families.get(*base).is_some_and(|of| of.kind == "histogram"));
            let family = of_histogram.unwrap_or(name).to_owned();
            let family = families.get_mut(&family);
            let family = family.unwrap_or_else(|| panic!("no type before {line}"));
            family.series.push(series);
        }
    }
    families
}

fn series(line: &str) -> Series {
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, labels)) = head.split_once('{') else {
        return Series {
            name: head.to_owned(),
            labels: BTreeMap::new(),
            value,
        };
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    Series {
        name: name.to_owned(),
        labels: pairs(labels).collect(),
        value,
    }
}

/// `name="value"` after another, whatever the values hold.
fn pairs(mut text: &str) -> impl Iterator<Item = (String, String)> {
    std::iter::from_fn(move || {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    text = rest[at + 1..].trim_start_matches(',');
                    return Some((name.to_owned(), value));
                }
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                char => value.push(char),
            }
        }
        panic!("a value without an end: {rest}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_back() {
        let text = "# HELP a What it is.\n# TYPE a counter\na{x=\"1\",y=\"q\\\"},\\n\"} 2\n\
                    # HELP h_seconds Time.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"+Inf\"} 1\n\
                    h_seconds_sum 0.5\nh_seconds_count 1\n";
        let families = parse(text);
        let a = &families["a"];
        assert_eq!((&*a.kind, &*a.help), ("counter", "What it is."));
        assert_eq!(a.labels(), ["x", "y"].into());
        assert_eq!(a.values("y"), ["q\"},\n"].into());
        assert_eq!(families["h_seconds"].series.len(), 3);
        assert!(families["h_seconds"].labels().is_empty());
    }

    #[test]
    #[should_panic(expected = "no type before b 1")]
    fn a_series_without_a_family_is_an_error() {
        parse("# TYPE a counter\nb 1\n");
    }
}

//! Owns how values are read from text and shown in errors, and which key is the nearest. It knows no
//! section.

use figment::value::Value;

/// The tag of a value, or of the first leaf within it: figment keeps those of leaves reliably.
pub(super) fn tag_below(value: &Value) -> figment::value::Tag {
    match value {
        Value::Dict(tag, values) => values.values().next().map_or(*tag, tag_below),
        Value::Array(..)
        | Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => value.tag(),
    }
}

/// A list as an environment variable writes it.
pub(super) fn from_text(text: &str) -> Option<Vec<String>> {
    if text.trim_start().starts_with('[') {
        let wrapped: toml::Table = toml::from_str(&format!("list = {text}")).ok()?;
        let list = wrapped.get("list")?.as_array()?;
        return list
            .iter()
            .map(|entry| entry.as_str().map(ToOwned::to_owned))
            .collect();
    }
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    Some(entries.map(ToOwned::to_owned).collect())
}

/// A value for an error: as it was written, if it is short.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Value::Array(_, entries) => {
            let entries: Vec<_> = entries.iter().map(shown).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Char(_, character) => format!("{character:?}"),
        Value::Dict(..) => "{..}".to_owned(),
        Value::Empty(..) => String::new(),
    };
    if text.chars().count() > MOST {
        let head: String = text.chars().take(MOST).collect();
        return format!("{head}..");
    }
    text
}

/// Names the nearest known key, and lists the others.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> String {
    let best = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 2)
        .min();
    let mut known = known.to_vec();
    known.sort_unstable();
    known.dedup();
    let all = format!("known here: {}", known.join(", "));
    match best {
        Some((_, best)) => format!("did you mean {best}? ({all})"),
        None => all,
    }
}

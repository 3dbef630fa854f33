//! The parameters of `/v1/stream`, `/v1/events` and `/v1/history`: read strictly, so that a typo is
//! an answer and not a silent default.

use percent_encoding::percent_decode_str;
use relay_core::filter::{Filter, Filters};
use relay_core::{Event, From, Kind};

use super::clients::Entry;
use super::frame::Shape;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) from: Option<From>,
    pub(super) until: Option<From>,
    pub(super) limit: Option<u64>,
    pub(super) shape: Shape,
    pub(super) progress: bool,
    pub(super) select: Select,
}

/// Which events a client is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Select {
    /// What the client may see.
    pub(super) allowed: Option<Filter>,
    types: Option<Filter>,
    key: Option<Box<str>>,
    notices: bool,
}

impl Select {
    /// Everything that a client may see, without notices.
    pub(super) fn allowed(client: &Entry) -> Self {
        Self {
            allowed: client.allowed.clone(),
            ..Self::default()
        }
    }

    /// The one key that is asked for.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Takes the filter that others have who asked for the same types, and what it remembers.
    pub(super) fn share(&mut self, filters: &Filters) {
        self.types = self.types.take().map(|types| filters.share(types));
    }

    /// Whether the client is given an event. Notices are no events of the tenant: no filter and no
    /// allow-list holds them back, only that nobody has asked for them.
    pub(super) fn passes(&self, event: &Event) -> bool {
        if event.kind() == Kind::Notice {
            return self.notices;
        }
        let by = |filter: &Option<Filter>| filter.as_ref().is_none_or(|f| f.passes(event));
        by(&self.allowed)
            && by(&self.types)
            && self
                .key
                .as_deref()
                .is_none_or(|key| event.head().key == key)
    }
}

/// An endpoint, as far as its parameters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Stream,
    Events,
    History,
}

impl Endpoint {
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Stream | Self::Events => {
                &["from", "types", "key", "format", "notices", "progress"]
            }
            Self::History => &["from", "until", "types", "key", "limit", "notices"],
        }
    }
}

/// Reads a query. The error is for the client, in plain text.
pub(super) fn read(endpoint: Endpoint, query: &str, client: &Entry) -> Result<Wish, String> {
    let mut wish = Wish {
        select: Select::allowed(client),
        ..Wish::default()
    };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(known) = endpoint.parameters().iter().find(|known| **known == name) else {
            return Err(unknown(endpoint, &name));
        };
        if seen.contains(known) {
            return Err(format!("{name} is given twice"));
        }
        seen.push(known);
        set(&mut wish, &name, &decode(value)?).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(wish)
}

fn set(wish: &mut Wish, name: &str, value: &str) -> Result<(), String> {
    match name {
        "from" => wish.from = Some(from(value)?),
        "until" => wish.until = Some(from(value)?),
        "types" => {
            let globs: Vec<_> = value
                .split(',')
                .map(|glob| glob.trim().to_owned())
                .collect();
            wish.select.types = Some(Filter::parse(&globs).map_err(|error| error.to_string())?);
        }
        "key" => wish.select.key = Some(value.into()),
        "format" => {
            wish.shape = match value {
                "cloudevents" => Shape::CloudEvents,
                "raw" => Shape::Raw,
                other => return Err(format!("{other:?} is neither cloudevents nor raw")),
            }
        }
        "notices" => wish.select.notices = flag(value)?,
        "progress" => wish.progress = flag(value)?,
        "limit" => {
            let limit = value.parse().ok().filter(|limit| *limit > 0);
            wish.limit = Some(limit.ok_or_else(|| format!("{value:?} is no number above 0"))?);
        }
        _ => {}
    }
    Ok(())
}

/// A starting point. The `+` of a time's zone, which a query turns into a blank, is put back.
fn from(value: &str) -> Result<From, String> {
    value
        .replace(' ', "+")
        .parse()
        .map_err(|error: relay_core::cursor::FromError| error.to_string())
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    Ok(decoded.ok().ok_or("the query is not UTF-8")?.into_owned())
}

fn unknown(endpoint: Endpoint, name: &str) -> String {
    let known = endpoint.parameters();
    let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
    let nearest = known
        .iter()
        .map(|known| (strsim::osa_distance(known, &shown), known))
        .min();
    let nearest = nearest
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known);
    let guess = nearest
        .map(|nearest| format!("; did you mean {nearest:?}?"))
        .unwrap_or_default();
    let hint = if ["token", "access_token", "password"].contains(&&*shown) {
        " (a token never stands in a URL: send it as Authorization: Bearer, or POST /v1/session)"
    } else {
        ""
    };
    format!(
        "unknown parameter {shown:?}{guess}{hint}; known: {}",
        known.join(", ")
    )
}

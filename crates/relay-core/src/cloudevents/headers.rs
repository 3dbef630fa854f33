//! The binary form: attributes as a transport's headers, named and encoded as its binding says.

use std::borrow::Cow;

use super::{Attributes, text};

/// A CloudEvents protocol binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `ce-*`, percent-encoded.
    Http,
    /// `ce-*`, percent-encoded.
    Nats,
    /// `ce_*`, UTF-8 as it is.
    Kafka,
    /// `cloudEvents:*` application properties, UTF-8 as it is.
    Amqp,
}

/// An attribute's name for each binding.
struct Name {
    dash: &'static str,
    underscore: &'static str,
    amqp: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name {
            dash: concat!("ce-", $name),
            underscore: concat!("ce_", $name),
            amqp: concat!("cloudEvents:", $name),
        }
    };
}

impl Binding {
    fn name(self, name: &Name) -> &'static str {
        match self {
            Self::Http | Self::Nats => name.dash,
            Self::Kafka => name.underscore,
            Self::Amqp => name.amqp,
        }
    }

    fn value(self, value: Cow<'_, str>) -> Cow<'_, str> {
        match self {
            Self::Http | Self::Nats => text::header(value),
            Self::Kafka | Self::Amqp => value,
        }
    }
}

impl<'a> Attributes<'a> {
    /// Every attribute that is present but `datacontenttype`, which all bindings carry as their own
    /// content type ([`Attributes::content_type`]).
    pub fn headers(
        &self,
        binding: Binding,
    ) -> impl Iterator<Item = (&'static str, Cow<'a, str>)> + use<'a> {
        let key = self.key();
        let attributes = [
            (name!("specversion"), Some(Cow::Borrowed("1.0"))),
            (name!("id"), Some(self.id())),
            (name!("source"), Some(Cow::Borrowed(self.source()))),
            (name!("type"), Some(Cow::Owned(self.event_type()))),
            (name!("subject"), key.clone()),
            (
                name!("time"),
                Some(Cow::Owned(format!("{:.3}", self.time()))),
            ),
            (name!("sequence"), Some(Cow::Owned(self.sequence()))),
            (
                name!("sapisequence"),
                self.sapi_sequence()
                    .map(|number| Cow::Owned(number.to_string())),
            ),
            (name!("sapiinstance"), self.sapi_instance()),
            (name!("partitionkey"), key),
            (
                name!("relaycursor"),
                Some(Cow::Owned(self.cursor().to_string())),
            ),
        ];
        attributes
            .into_iter()
            .filter_map(move |(name, value)| Some((binding.name(&name), binding.value(value?))))
    }
}

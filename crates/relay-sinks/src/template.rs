//! Templates of topics, subjects, routing keys and paths (PRODUCT section 3). What comes from events is
//! confined there, so that no event can choose where it goes beyond what the operator wrote.

use std::borrow::Cow;

use relay_core::event::Head;

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The tenant.
    Tenant,
    /// The event's class.
    Class,
    /// The event's type.
    Type,
    /// The event's key.
    Key,
    /// The GUID's media part, else mediaType.
    Media,
}

impl Placeholder {
    /// Every placeholder.
    pub const ALL: [Self; 5] = [
        Self::Tenant,
        Self::Class,
        Self::Type,
        Self::Key,
        Self::Media,
    ];

    /// Its name between the braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Class => "class",
            Self::Type => "type",
            Self::Key => "key",
            Self::Media => "media",
        }
    }

    fn value<'a>(self, tenant: &'a str, head: &Head<'a>) -> &'a str {
        match self {
            Self::Tenant => tenant,
            Self::Class => head.class,
            Self::Type => head.event_type,
            Self::Key => head.key,
            Self::Media => head.media,
        }
    }
}

/// Text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that there is not.
    #[error(
        "unknown placeholder {{{0}}}: allowed are {{tenant}}, {{class}}, {{type}}, {{key}} and {{media}}"
    )]
    Unknown(String),
    /// A placeholder that does not fit here.
    #[error("the placeholder {{{0}}} is not allowed here")]
    Refused(&'static str),
    /// A brace without its counterpart.
    #[error("the brace at character {0} has no counterpart")]
    Brace(usize),
    /// Nothing at all.
    #[error("the template is empty")]
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    confined: bool,
}

impl Template {
    /// A template whose values are confined: any character outside `[A-Za-z0-9_-]` becomes `_`, and
    /// so does an empty value. What the operator wrote stays as it is.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn confined(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, true)
    }

    /// A template whose values stand as they are, for a Kafka key.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn verbatim(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, false)
    }

    /// The same, if it does not use a placeholder.
    ///
    /// # Errors
    /// It does.
    pub fn without(self, refused: Placeholder) -> Result<Self, TemplateError> {
        if self.parts.contains(&Part::Value(refused)) {
            return Err(TemplateError::Refused(refused.as_str()));
        }
        Ok(self)
    }

    fn parse(text: &str, confined: bool) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        let at = |rest: &str| {
            let before = text.len() - rest.len();
            text.get(..before).unwrap_or_default().chars().count() + 1
        };
        while let Some(brace) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(brace);
            let name = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((name, after)) = name.filter(|(name, _)| !name.contains('{')) else {
                return Err(TemplateError::Brace(at(tail)));
            };
            let known = Placeholder::ALL
                .into_iter()
                .find(|known| known.as_str() == name);
            let placeholder = known.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            parts.push(Part::Value(placeholder));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts, confined })
    }

    /// The text, if it is the same for every event.
    pub fn fixed(&self, tenant: &str) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(Placeholder::Tenant) if self.confined => confine(tenant, &mut text),
                Part::Value(Placeholder::Tenant) => text.push_str(tenant),
                Part::Value(_) => return None,
            }
        }
        Some(text)
    }

    /// The text for an event. Without placeholders it is not built anew.
    pub fn render<'a>(&'a self, tenant: &str, head: &Head<'_>) -> Cow<'a, str> {
        if let [Part::Text(text)] = self.parts.as_slice() {
            return Cow::Borrowed(text);
        }
        let mut rendered = String::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Value(placeholder) => {
                    let value = placeholder.value(tenant, head);
                    if self.confined {
                        confine(value, &mut rendered);
                    } else {
                        rendered.push_str(value);
                    }
                }
            }
        }
        Cow::Owned(rendered)
    }

    /// The text with its tenant, and `any` where a value of an event will stand: what it can make.
    pub fn outline(&self, tenant: &str, any: &str) -> String {
        let mut outline = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => outline.push_str(text),
                Part::Value(Placeholder::Tenant) if self.confined => confine(tenant, &mut outline),
                Part::Value(Placeholder::Tenant) => outline.push_str(tenant),
                Part::Value(_) => outline.push_str(any),
            }
        }
        outline
    }
}

fn confine(value: &str, out: &mut String) {
    if value.is_empty() {
        out.push('_');
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    out.extend(value.chars().map(|c| if allowed(c) { c } else { '_' }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sapi_protocol::Format;

    use super::*;

    fn head<'a>(key: &'a str, media: &'a str) -> Head<'a> {
        Head {
            format: Format::Json,
            id_hash: 0,
            content_hash: 0,
            sequence: None,
            timestamp: None,
            id: "id",
            subscription: "relay_a",
            class: "Interaction",
            event_type: "InteractionCreated",
            key,
            media,
            instance: "",
        }
    }

    #[test]
    fn values_stand_where_they_are_named() {
        let template = Template::confined("sapi.{tenant}.{class}.{type}.{key}/{media}-x").unwrap();
        let rendered = template.render("acme", &head("int-1 2/3.ä", ""));
        assert_eq!(
            rendered,
            "sapi.acme.Interaction.InteractionCreated.int-1_2_3__/_-x"
        );
        let key = Template::verbatim("{key}").unwrap();
        assert_eq!(key.render("acme", &head("int-1 2/3.ä", "")), "int-1 2/3.ä");
        assert_eq!(key.render("acme", &head("", "")), "");
        assert!(matches!(
            Template::confined("plain.topic")
                .unwrap()
                .render("acme", &head("k", "m")),
            Cow::Borrowed("plain.topic")
        ));
    }

    #[test]
    fn an_outline_has_the_tenant_but_no_event() {
        let template = Template::confined("sapi.{tenant}.{class}.x-{type}").unwrap();
        assert_eq!(template.outline("ac.me", "*"), "sapi.ac_me.*.x-*");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("sapi.{subject}", TemplateError::Unknown("subject".into())),
            ("sapi.{Type}", TemplateError::Unknown("Type".into())),
            ("sapi.{}", TemplateError::Unknown(String::new())),
            ("äb{type", TemplateError::Brace(3)),
            ("a}b", TemplateError::Brace(2)),
            ("a{b{type}", TemplateError::Brace(2)),
            ("", TemplateError::Empty),
        ];
        for (text, error) in cases {
            assert_eq!(Template::confined(text), Err(error), "{text:?}");
        }
        let keyed = Template::confined("sapi.{key}").unwrap();
        assert_eq!(
            keyed.without(Placeholder::Key),
            Err(TemplateError::Refused("key"))
        );
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_place(key: String, media: String) {
            let template = Template::confined("a/{key}/{media}").unwrap();
            let rendered = template.render("t", &head(&key, &media)).into_owned();
            let parts: Vec<_> = rendered.split('/').collect();
            prop_assert_eq!(parts.len(), 3);
            let tame = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            prop_assert!(parts.iter().all(|part| !part.is_empty() && part.chars().all(tame)));
        }
    }
}

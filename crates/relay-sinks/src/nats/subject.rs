//! Subjects: what a template can make, and whether a stream takes it. Pure.

use std::sync::{Mutex, PoisonError};

use relay_core::event::Head;

use crate::template::{Template, TemplateError};

/// The longest subject: a server ends a connection whose line exceeds 4096 bytes (`max_control_line`), and the
/// line holds a reply subject too.
pub(super) const LONGEST: usize = 2048;

/// The template of a subject: tokens with a dot between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(Template);

/// Text that is no subject's template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Two dots, or one at an end.
    #[error("there has to be something before, between and behind its dots")]
    EmptyToken,
    /// A character that can't be published to.
    #[error("a subject has no blanks, no control characters, and no * or >")]
    Character,
    /// Reserved names.
    #[error("subjects that begin with $ or _INBOX belong to the server")]
    Reserved,
    /// Too long.
    #[error("a subject has at most {LONGEST} bytes")]
    TooLong,
}

impl Subject {
    /// A template for subjects. Values of events are confined to their token.
    ///
    /// # Errors
    /// See [`SubjectError`].
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let template = Template::confined(text)?;
        let subject = template.outline("t", "x");
        let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>');
        if subject.len() > LONGEST / 2 {
            Err(SubjectError::TooLong)
        } else if subject.split('.').any(str::is_empty) {
            Err(SubjectError::EmptyToken)
        } else if subject.contains(refused) {
            Err(SubjectError::Character)
        } else if subject.starts_with('$') || subject.starts_with("_INBOX") {
            Err(SubjectError::Reserved)
        } else {
            Ok(Self(template))
        }
    }

    /// The subject of an event.
    pub(super) fn render(&self, tenant: &str, head: &Head<'_>) -> String {
        self.0.render(tenant, head).into_owned()
    }

    /// Every subject it can make: a token that holds a value of an event is `*`.
    pub(super) fn pattern(&self, tenant: &str) -> String {
        let outline = self.0.outline(tenant, "*");
        let tokens = outline.split('.');
        let tokens = tokens.map(|token| if token.contains('*') { "*" } else { token });
        tokens.collect::<Vec<_>>().join(".")
    }
}

/// Whether some subject matches both: a stream's subject with wildcards, and a pattern.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// A subject that no stream took when it was published, until one does.
#[derive(Debug, Default)]
pub(super) struct Untaken(Mutex<Option<String>>);

impl Untaken {
    pub(super) fn set(&self, subject: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(subject);
    }

    pub(super) fn get(&self) -> Option<String> {
        let subject = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subject.clone()
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_makes_no_subject_is_refused() {
        let cases = [
            ("", SubjectError::Template(TemplateError::Empty)),
            ("a..{class}", SubjectError::EmptyToken),
            (".a", SubjectError::EmptyToken),
            ("a.{class}.", SubjectError::EmptyToken),
            ("a.>", SubjectError::Character),
            ("a.*.{type}", SubjectError::Character),
            ("a b", SubjectError::Character),
            ("$JS.API.{type}", SubjectError::Reserved),
            ("_INBOX.{type}", SubjectError::Reserved),
            (&"a".repeat(LONGEST), SubjectError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(Subject::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_has_the_tenant_and_a_wildcard_for_each_value() {
        let subject = Subject::parse("sapi.{tenant}.x-{class}.{type}.end").unwrap();
        assert_eq!(subject.pattern("ac.me*"), "sapi.ac_me_.*.*.end");
        assert_eq!(Subject::parse("plain").unwrap().pattern("t"), "plain");
    }

    #[test]
    fn wildcards_overlap_as_the_server_says() {
        for (stream, pattern, overlaps) in [
            ("sapi.>", "sapi.acme.*.*", true),
            ("sapi.acme.*.*", "sapi.acme.*.*", true),
            ("sapi.acme.Interaction.*", "sapi.acme.*.*", true),
            ("sapi.*.*.*", "sapi.acme.*.*", true),
            (">", "a", true),
            ("sapi.acme.*", "sapi.acme.*.*", false),
            ("sapi.acme.*.*.>", "sapi.acme.*.*", false),
            ("sapi.other.>", "sapi.acme.*.*", false),
            ("sapi.>", "sapi", false),
            ("orders", "sapi.acme.*.*", false),
        ] {
            assert_eq!(overlap(stream, pattern), overlaps, "{stream} {pattern}");
            assert_eq!(overlap(pattern, stream), overlaps, "{pattern} {stream}");
        }
    }
}

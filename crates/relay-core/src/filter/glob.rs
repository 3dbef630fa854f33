//! One glob: `*` for any run of characters, `?` for one, letter case aside.

use super::FilterError;

/// No type is longer.
pub(super) const MAX_LENGTH: usize = 200;

/// A glob, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    pattern: String,
    has_class: bool,
}

impl Glob {
    /// Reads a glob; `whole` is the text to name in an error.
    pub(super) fn parse(pattern: &str, whole: &str) -> Result<Self, FilterError> {
        if pattern.is_empty() {
            return Err(FilterError::Empty(whole.to_owned()));
        }
        if pattern.contains(',') {
            return Err(FilterError::Comma(whole.to_owned()));
        }
        if pattern.chars().count() > MAX_LENGTH {
            return Err(FilterError::TooLong(whole.chars().take(40).collect()));
        }
        Ok(Self {
            pattern: pattern.to_lowercase(),
            has_class: pattern.contains('/'),
        })
    }

    /// Whether it is to be matched with `class/type` rather than with the type.
    pub(super) fn has_class(&self) -> bool {
        self.has_class
    }

    /// Whether a text in lower case matches. At most pattern times text steps: a `*` is tried
    /// anew only by moving the last one on.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut text) = (self.pattern.chars(), text.chars());
        let mut last_star = None;
        loop {
            let mut rest = pattern.clone();
            match (rest.next(), text.clone().next()) {
                (Some('*'), _) => {
                    last_star = Some((rest.clone(), text.clone()));
                    pattern = rest;
                    continue;
                }
                (None, None) => return true,
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    text.next();
                    pattern = rest;
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = &mut last_star else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            (pattern, text) = (after.clone(), from.clone());
        }
    }
}

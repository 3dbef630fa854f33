//! The output types a subscription may ask for, and the two formats behind them; knows no document.

use std::fmt;
use std::str::FromStr;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// XML 1.0.
    Xml,
}

/// `desiredOutputType` of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputType {
    /// JSON documents.
    Json,
    /// XML documents.
    Xml,
    /// JSON documents, a newline after each.
    NewlineJson,
    /// XML documents, a newline after each.
    NewlineXml,
}

/// A text that names no output type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown output type {0:?}: JSON, XML, NEWLINE_JSON or NEWLINE_XML")]
pub struct UnknownOutputType(pub String);

impl OutputType {
    /// All of them, in the order of the vendor's page.
    pub const ALL: [Self; 4] = [Self::Json, Self::Xml, Self::NewlineJson, Self::NewlineXml];

    /// The name as the vendor's page spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Xml => "XML",
            Self::NewlineJson => "NEWLINE_JSON",
            Self::NewlineXml => "NEWLINE_XML",
        }
    }

    /// The format of its documents.
    pub fn format(self) -> Format {
        match self {
            Self::Json | Self::NewlineJson => Format::Json,
            Self::Xml | Self::NewlineXml => Format::Xml,
        }
    }

    /// Whether a newline follows each document.
    pub fn newline(self) -> bool {
        matches!(self, Self::NewlineJson | Self::NewlineXml)
    }
}

impl fmt::Display for OutputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutputType {
    type Err = UnknownOutputType;

    /// Letter case does not matter.
    fn from_str(text: &str) -> Result<Self, UnknownOutputType> {
        Self::ALL
            .into_iter()
            .find(|output| output.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownOutputType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_in_any_case() {
        for output in OutputType::ALL {
            assert_eq!(output.as_str().parse(), Ok(output));
            assert_eq!(output.as_str().to_lowercase().parse(), Ok(output));
        }
        assert_eq!(
            "yaml".parse::<OutputType>(),
            Err(UnknownOutputType("yaml".into()))
        );
        assert_eq!(
            "".parse::<OutputType>(),
            Err(UnknownOutputType(String::new()))
        );
    }

    #[test]
    fn format_and_newline_follow_the_name() {
        for output in OutputType::ALL {
            assert_eq!(output.newline(), output.as_str().starts_with("NEWLINE_"));
            assert_eq!(
                output.format() == Format::Xml,
                output.as_str().ends_with("XML")
            );
        }
    }
}

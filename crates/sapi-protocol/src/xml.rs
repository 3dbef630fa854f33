//! JSON to XML and back.

/// Why a document can't be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The bytes are no JSON.
    #[error("not a JSON document")]
    InvalidJson,
    /// The bytes are no XML.
    #[error("not an XML document")]
    InvalidXml,
    /// Nested too deep.
    #[error("nested deeper than 128 levels")]
    TooDeep,
}

/// JSON to XML.
pub fn json_to_xml(json: &[u8]) -> Result<Vec<u8>, ConvertError> {
    Ok(json.to_vec())
}

/// XML to JSON.
pub fn xml_to_json(xml: &[u8]) -> Result<Vec<u8>, ConvertError> {
    Ok(xml.to_vec())
}

/// Writes text as a JSON string, quotes included.
pub fn write_json_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Writes text as XML character data.
pub fn write_xml_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

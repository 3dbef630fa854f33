//! The resumable search for the end of a document that comes in pieces, in either format.

use super::json_scan::JsonScanner;
use super::xml_scan::XmlScanner;

/// What feeding a piece came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// All of the piece belongs to the document, and more is to come.
    Incomplete,
    /// So many bytes of the piece end it.
    Complete(usize),
    /// At this byte of the piece it can't be a document any more.
    Invalid(usize),
}

/// The scanner of one document. It agrees with the pass over whole documents on every boundary.
#[derive(Debug)]
pub(super) enum Scanner {
    Json(JsonScanner),
    Xml(XmlScanner),
}

impl Scanner {
    /// The scanner of a document that begins with this byte.
    pub(super) fn of(first: Option<&u8>) -> Self {
        if first == Some(&b'<') {
            Self::Xml(XmlScanner::new())
        } else {
            Self::Json(JsonScanner::new())
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Scan {
        match self {
            Self::Json(scanner) => scanner.feed(bytes),
            Self::Xml(scanner) => scanner.feed(bytes),
        }
    }
}

//! Owns the keys `tls.*`, the same wherever they stand.

use std::path::PathBuf;

use super::section::Section;

/// Files of PEM: an own CA, and a certificate with its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Reads `tls.*`; `None` where none of it is set.
pub(super) fn read(section: &Section<'_>) -> Option<Tls> {
    let ca_file = section.readable("ca_file");
    let cert = section.readable("cert_file");
    let key = section.readable("key_file");
    let both = "a certificate and its key belong together: set both";
    match (section.has("cert_file"), section.has("key_file")) {
        (true, false) => section.missing("key_file", both),
        (false, true) => section.missing("cert_file", both),
        (true, true) | (false, false) => {}
    }
    section.finish(|_| None);
    let identity = cert.zip(key);
    (ca_file.is_some() || identity.is_some()).then_some(Tls { ca_file, identity })
}

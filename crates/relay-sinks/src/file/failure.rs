//! What an I/O error means for the sink, and what an operator can do about it.

use std::io::{self, ErrorKind};
use std::path::Path;

use relay_core::sink::{Failure, Next};

/// There may be room again by itself.
const FULL: [ErrorKind; 3] = [
    ErrorKind::StorageFull,
    ErrorKind::QuotaExceeded,
    ErrorKind::FileTooLarge,
];
/// Somebody has to change something.
const BLOCKED: [ErrorKind; 8] = [
    ErrorKind::PermissionDenied,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::NotFound,
    ErrorKind::NotADirectory,
    ErrorKind::IsADirectory,
    ErrorKind::InvalidFilename,
    ErrorKind::BrokenPipe,
    ErrorKind::Unsupported,
];

/// The failure that an error on a path means.
pub(super) fn failure(error: &io::Error, path: &Path) -> Failure {
    let kind = error.kind();
    let next = if FULL.contains(&kind) {
        Next::Retry
    } else if BLOCKED.contains(&kind) {
        Next::Blocked
    } else {
        Next::Reconnect
    };
    Failure {
        next,
        text: format!("{}: {error}", path.display()),
        remedy: remedy(kind, path),
    }
}

fn remedy(kind: ErrorKind, path: &Path) -> String {
    let path = path.display();
    if kind == ErrorKind::PermissionDenied {
        format!("let the relay's user write {path} and its directory")
    } else if kind == ErrorKind::ReadOnlyFilesystem {
        format!("mount the file system of {path} for writing, or choose another path")
    } else if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&kind) {
        format!("make the directory of {path}")
    } else if [ErrorKind::IsADirectory, ErrorKind::InvalidFilename].contains(&kind) {
        "give the path of a file".to_owned()
    } else if kind == ErrorKind::Unsupported {
        "give the path of a regular file, or - for standard output".to_owned()
    } else if kind == ErrorKind::BrokenPipe {
        "nobody reads standard output any more: start the relay again with a reader".to_owned()
    } else if kind == ErrorKind::WouldBlock {
        format!("stop the other process that writes {path}, or choose another path")
    } else if FULL.contains(&kind) {
        format!("make room for {path}")
    } else {
        String::new()
    }
}

//! Files set aside: `{path}.{number}`, numbered upwards, the highest the latest.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Gives the file its number. A crash before or after leaves whole files under right names.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    let last = numbers(path)?.into_iter().max().unwrap_or(0);
    fs::rename(path, numbered(path, last.saturating_add(1)))?;
    sync_directory(path)
}

/// Removes the oldest until `keep` are left.
pub(super) fn remove_oldest(path: &Path, keep: u32) -> io::Result<()> {
    let mut numbers = numbers(path)?;
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    for number in numbers.into_iter().skip(keep) {
        fs::remove_file(numbered(path, number))?;
    }
    Ok(())
}

/// Makes what was created, renamed or removed beside the file durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Where the file lies.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number:06}"));
    PathBuf::from(name)
}

/// The numbers that are taken.
fn numbers(path: &Path) -> io::Result<Vec<u64>> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory(path))? {
        let name = entry?.file_name();
        let number = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes());
        let number = number.and_then(|digits| str::from_utf8(digits).ok());
        let digits =
            number.filter(|text| text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit()));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    Ok(numbers)
}

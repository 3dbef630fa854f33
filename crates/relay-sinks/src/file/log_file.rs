//! One file of whole lines: opened, appended to, synced, set aside. It does not know what a line says.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Config, rotation};

/// How a line of ours begins: only such a line is cut off when it is torn.
const BEGINNING: &[u8] = br#"{"specversion":"#;
const CHUNK: u64 = 64 * 1024;
/// Events tell of people: for the owner and the group.
const MODE: u32 = 0o640;

#[derive(Debug)]
pub(super) struct LogFile {
    config: Config,
    file: File,
    /// The file may end within a line.
    torn: bool,
}

impl LogFile {
    /// Opens the file, or makes it, and locks it. It ends with a whole line afterwards.
    pub(super) fn open(config: &Config) -> io::Result<Self> {
        let mut file = open(&config.path)?;
        mend(&mut file)?;
        Ok(Self {
            config: config.clone(),
            file,
            torn: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.config.path
    }

    /// Appends lines, of which each ends where `ends` says, and syncs them. On an error the file is
    /// as long as before, as far as that can be done; what was set aside stays so.
    pub(super) fn append(&mut self, lines: &[u8], ends: &[usize]) -> io::Result<()> {
        if !self.is_in_place()? {
            // Somebody has moved or removed it: go on in a new one.
            self.file = open(&self.config.path)?;
            self.torn = true;
        }
        if self.torn {
            mend(&mut self.file)?;
            self.torn = false;
        }
        let Some(limit) = self.config.rotate_bytes else {
            return self.write(lines);
        };
        let mut start = 0;
        while start < lines.len() {
            let length = self.file.metadata()?.len();
            let room = usize::try_from(limit.saturating_sub(length)).unwrap_or(usize::MAX);
            let fits = |end: &&usize| **end - start <= room;
            let end = ends
                .iter()
                .filter(|end| **end > start)
                .take_while(fits)
                .last();
            let end = match end {
                Some(end) => *end,
                None if length > 0 => {
                    self.rotate()?;
                    continue;
                }
                // One line alone is larger than a file should be.
                None => ends
                    .iter()
                    .copied()
                    .find(|end| *end > start)
                    .unwrap_or(lines.len()),
            };
            self.write(lines.get(start..end).unwrap_or_default())?;
            start = end;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let written = self
            .file
            .write_all(lines)
            .and_then(|()| self.file.sync_data());
        written.inspect_err(|_| {
            // Half a line must not stay. If this fails too, it is mended before the next write.
            self.torn = self.file.set_len(length).is_err();
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        rotation::set_aside(&self.config.path)?;
        self.file = open(&self.config.path)?;
        if let Some(keep) = self.config.keep {
            rotation::remove_oldest(&self.config.path, keep)?;
        }
        Ok(())
    }

    /// Whether the path still names the open file.
    fn is_in_place(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.config.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(io::Error::new(ErrorKind::Unsupported, "not a regular file"));
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                ErrorKind::WouldBlock,
                "another process writes it",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    rotation::sync_directory(path)?;
    Ok(file)
}

/// Makes the file end with a whole line: a torn line of ours is cut off; what is not ours is ended.
fn mend(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let start = last_line(file, length)?;
    if start == length {
        return Ok(());
    }
    let mut beginning = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    let most = u64::try_from(BEGINNING.len()).unwrap_or(u64::MAX);
    io::Read::by_ref(file)
        .take(most)
        .read_to_end(&mut beginning)?;
    let ours = BEGINNING.starts_with(&beginning) || beginning.iter().all(|byte| *byte == 0);
    if ours {
        file.set_len(start)?;
    } else {
        file.write_all(b"\n")?;
    }
    file.sync_all()
}

/// Where the last line begins that has no end; the file's length if there is none.
fn last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let (mut end, mut chunk) = (length, Vec::new());
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        io::Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut chunk)?;
        if let Some(at) = memchr::memrchr(b'\n', &chunk) {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"{\"specversion\":\"1.0\"}\n";

    #[test]
    fn half_a_line_that_could_not_be_taken_back_is_gone_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            path: dir.path().join("events.ndjson"),
            rotate_bytes: None,
            keep: None,
        };
        let mut log = LogFile::open(&config).unwrap();
        log.append(LINE, &[LINE.len()]).unwrap();
        // A handle that can neither write nor cut, and what a write that failed left behind.
        let writable = std::mem::replace(&mut log.file, File::open(&config.path).unwrap());
        log.append(LINE, &[LINE.len()]).unwrap_err();
        log.file = writable;
        log.file.write_all(&LINE[..10]).unwrap();
        for _ in 0..2 {
            log.append(LINE, &[LINE.len()]).unwrap();
        }
        assert_eq!(fs::read(&config.path).unwrap(), LINE.repeat(3));
    }
}

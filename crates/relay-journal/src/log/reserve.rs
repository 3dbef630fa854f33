//! Disk space held back for when the volume is full: a preallocated file that is given back in steps.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::error::is_full;
use super::volume::{Volume, free_bytes};

const RESERVE: &str = "reserve";
const STEP_MIN: u64 = 1024 * 1024;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

#[derive(Debug)]
pub(super) struct Reserve {
    dir: PathBuf,
    file: Option<File>,
    target: u64,
    held: u64,
}

impl Reserve {
    /// Takes the reserve, as far as there is room.
    pub(super) fn open(volume: &Volume, dir: &Path, target: u64) -> io::Result<Self> {
        let path = dir.join(RESERVE);
        let mut this = Self {
            dir: dir.to_owned(),
            file: None,
            target,
            held: 0,
        };
        if target == 0 {
            return match volume.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(this),
            };
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        this.held = file.metadata()?.len();
        if this.held > target {
            volume.truncate(&file, target)?;
            this.held = target;
        }
        this.file = Some(file);
        this.refill(volume)?;
        Ok(this)
    }

    pub(super) fn left(&self) -> u64 {
        self.held
    }

    /// Gives a quarter back to the volume, and says how much that was.
    pub(super) fn release(&mut self, volume: &Volume) -> io::Result<u64> {
        let Some(file) = &self.file else { return Ok(0) };
        let step = (self.target / 4).max(STEP_MIN).min(self.held);
        if step > 0 {
            volume.truncate(file, self.held - step)?;
            self.held -= step;
        }
        Ok(step)
    }

    /// Takes back what is missing if half as much again as the reserve would stay free. `true`: all
    /// of it is there.
    pub(super) fn refill(&mut self, volume: &Volume) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let missing = self.target - self.held;
        if missing == 0 {
            return Ok(true);
        }
        if free_bytes(&self.dir)?.available < missing.saturating_add(self.target / 2) {
            return Ok(false);
        }
        match take(volume, file, self.held, self.target) {
            Ok(()) => self.held = self.target,
            Err(error) => {
                volume.truncate(file, self.held)?;
                return if is_full(&error) {
                    Ok(false)
                } else {
                    Err(error)
                };
            }
        }
        Ok(true)
    }
}

/// Makes a file `target` bytes long, all of them taken on disk.
fn take(volume: &Volume, file: &File, mut held: u64, target: u64) -> io::Result<()> {
    if !volume.allocate(file, target)? {
        while held < target {
            let len = usize::try_from(target - held)
                .unwrap_or(usize::MAX)
                .min(ZEROS.len());
            volume.write(file, ZEROS.get(..len).unwrap_or(&ZEROS), held)?;
            held += len as u64;
        }
    }
    volume.sync_all(file)
}

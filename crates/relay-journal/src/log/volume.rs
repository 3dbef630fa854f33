//! Every change that the log makes to its volume, one method each, so that tests can make each of
//! them fail. It knows files, not what stands in them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

#[cfg(test)]
use super::tests::faults::{Faults, Op, Verdict};

/// The space of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// What this process may still use, in bytes.
    pub available: u64,
    /// The size of the volume, in bytes.
    pub total: u64,
}

/// The space of the volume that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<FreeSpace> {
    let stat = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(FreeSpace {
        available: bytes(stat.f_bavail),
        total: bytes(stat.f_blocks),
    })
}

#[cfg(not(test))]
#[derive(Clone, Copy, Debug)]
enum Op {
    Create,
    Allocate,
    Write,
    Sync,
    SyncDir,
    Truncate,
    Remove,
}

/// The volume that a log lies on.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume {
    #[cfg(test)]
    pub(super) faults: Faults,
}

impl Volume {
    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "tests inject faults here"
    )]
    fn before(&self, _op: Op) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn before(&self, op: Op) -> io::Result<()> {
        match self.faults.next(op) {
            Verdict::Pass => Ok(()),
            Verdict::Fail(error) | Verdict::Partly(_, error) => Err(error),
        }
    }

    /// Makes a file, in place of any of that name.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.before(Op::Create)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    }

    /// Takes space on disk for the first `len` bytes of a file. `false`: the file system can't.
    pub(super) fn allocate(&self, file: &File, len: u64) -> io::Result<bool> {
        self.before(Op::Allocate)?;
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of `bytes` at a position.
    pub(super) fn write(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        #[cfg(test)]
        match self.faults.next(Op::Write) {
            Verdict::Pass => {}
            Verdict::Fail(error) => return Err(error),
            Verdict::Partly(part, error) => {
                let len = part.min(bytes.len());
                file.write_all_at(&bytes[..len], position)?;
                return Err(error);
            }
        }
        #[cfg(not(test))]
        self.before(Op::Write)?;
        file.write_all_at(bytes, position)
    }

    /// Makes the bytes of a file durable, and its length where it changed.
    pub(super) fn sync_data(&self, file: &File) -> io::Result<()> {
        self.before(Op::Sync)?;
        file.sync_data()
    }

    /// Makes all of a file durable.
    pub(super) fn sync_all(&self, file: &File) -> io::Result<()> {
        self.before(Op::Sync)?;
        file.sync_all()
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.before(Op::SyncDir)?;
        File::open(dir)?.sync_all()
    }

    /// Sets the length of a file.
    pub(super) fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.before(Op::Truncate)?;
        file.set_len(len)
    }

    /// Removes a file.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.before(Op::Remove)?;
        fs::remove_file(path)
    }

    /// Gives a file another name.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Op::Remove)?;
        fs::rename(from, to)
    }
}

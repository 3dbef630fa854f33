//! Opening a log for writing: takes the lock, finds out what is there, cuts a torn tail, and makes
//! sure that no offset is used again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use crate::ids::{Epoch, Offset};

use super::anchor::AnchorFile;
use super::error::{Finding, OpenError};
use super::files::Files;
use super::format::{Anchor, IDENTITY_MAX};
use super::inner::{Inner, Log};
use super::options::LogOptions;
use super::reserve::Reserve;
use super::seal::seal;
use super::survey::{Survey, Surveyed};
use super::view::View;
use super::volume::{Volume, free_bytes};
use super::writer::Writer;

const LOCK: &str = "lock";

/// A tail that was cut: what a write that was never acknowledged had left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub segment: PathBuf,
    /// Where it was cut.
    pub byte: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The offset at which the cut bytes began. The log goes on at a higher one.
    pub offset: Offset,
}

/// What opening a log found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// There was no log: this one is new, and its epoch too.
    pub created: bool,
    /// How many segments there are.
    pub segments: usize,
    /// The tail was torn, and has been cut. Nothing that was acknowledged is lost by that.
    pub torn: Option<Torn>,
    /// Damage that opening came upon. Sealed segments are not read: that does [`Log::verify`].
    pub damage: Vec<Finding>,
}

pub(super) fn open(
    volume: Volume,
    dir: &Path,
    options: LogOptions,
) -> Result<(Writer, Log, Recovery), OpenError> {
    make_dir(&volume, dir).map_err(OpenError::io(dir))?;
    let lock = take_lock(&dir.join(LOCK))?;
    let space = free_bytes(dir).map_err(OpenError::io(dir))?;
    let mut options = options.for_volume(space.total);
    options
        .identity
        .truncate(options.identity.floor_char_boundary(IDENTITY_MAX));
    let survey = Survey::of(dir, None)?;
    if let Some(found) = survey
        .identity
        .as_ref()
        .filter(|found| **found != options.identity)
    {
        let (found, expected) = (found.clone(), options.identity);
        return Err(OpenError::Identity { found, expected });
    }
    let created = survey.epoch.is_none() && survey.segments.is_empty();
    let epoch = survey.epoch.unwrap_or_else(Epoch::draw);
    let mut view = survey.view();
    let anchor = Anchor {
        epoch,
        generation: survey.anchor.as_ref().map_or(0, |anchor| anchor.generation),
        floor: view.next,
        join: view.join,
        newest: Offset(0),
        newest_bytes: 0,
        last_time: view.last_time,
        identity: options.identity.clone(),
    };
    // The floor is durable before what it was derived from is cut.
    let anchor = AnchorFile::open(&volume, dir, anchor).map_err(OpenError::io(dir))?;
    let torn = repair(&volume, dir, epoch, &survey, &mut view).map_err(OpenError::io(dir))?;
    let reserve = Reserve::open(&volume, dir, options.reserve_bytes).map_err(OpenError::io(dir))?;
    let damage = survey.findings;
    let recovery = Recovery {
        created,
        segments: view.segments.len(),
        torn,
        damage,
    };
    let log = Log(Arc::new(Inner {
        dir: dir.to_owned(),
        volume,
        epoch,
        identity: options.identity.clone(),
        view: RwLock::new(view),
        files: Files::default(),
        hints: Mutex::default(),
        anchor: Some(Mutex::new(anchor)),
        trimming: Mutex::default(),
    }));
    let writer = Writer::new(log.clone(), options, reserve, lock);
    Ok((writer, log, recovery))
}

fn make_dir(volume: &Volume, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    dir.parent()
        .filter(|parent| parent.is_dir())
        .map_or(Ok(()), |parent| volume.sync_dir(parent))
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let io = || OpenError::io(path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { pid });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io()(source)),
    }
    // The id is a courtesy to whoever finds the log locked: a full volume does no harm.
    let noted = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    drop(noted);
    Ok(file)
}

/// Sets aside what can't be read, and seals what was not.
fn repair(
    volume: &Volume,
    dir: &Path,
    epoch: Epoch,
    survey: &Survey,
    view: &mut View,
) -> io::Result<Option<Torn>> {
    for path in &survey.foreign {
        volume.rename(path, &path.with_extension("foreign"))?;
    }
    let mut torn = None;
    for (
        at,
        Surveyed {
            segment,
            dirty,
            header,
        },
    ) in survey.segments.iter().enumerate()
    {
        if *dirty > 0 && at + 1 == survey.segments.len() {
            let (byte, offset) = (segment.end, segment.next);
            torn = Some(Torn {
                segment: segment.path.clone(),
                byte,
                bytes: *dirty,
                offset,
            });
        }
        if segment.first < segment.next {
            continue;
        }
        if *header && *dirty == 0 {
            volume.remove(&segment.path)?;
        } else {
            let aside = segment.path.with_extension("damaged");
            volume.rename(&segment.path, &aside)?;
            let file = OpenOptions::new().write(true).open(&aside)?;
            volume.truncate(&file, segment.end + dirty)?;
        }
    }
    view.segments.retain(|segment| segment.first < segment.next);
    for segment in view.segments.iter_mut().filter(|segment| !segment.sealed) {
        // Without a footer it is read again at the next start: slower, and nothing worse.
        drop(seal(volume, epoch, segment));
    }
    volume.sync_dir(dir)?;
    Ok(torn)
}

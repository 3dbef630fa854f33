//! The anchor's file: written in place, slot by slot, so that one good slot always remains and a full
//! volume is no obstacle. It does not know what the floor is derived from.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::files::read_start;
use super::format::{Anchor, BLOCK, BadBlock, SLOT_STRIDE};
use super::volume::Volume;

pub(super) const ANCHOR: &str = "anchor";

/// What was found of an anchor.
#[derive(Debug)]
pub(super) enum Found {
    None,
    Good(Anchor),
    Bad(BadBlock),
}

/// Reads the newer of the two slots.
pub(super) fn read_anchor(dir: &Path) -> io::Result<Found> {
    let bytes = match read_start(&dir.join(ANCHOR), BLOCK, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        read => read?,
    };
    let second = read_start(&dir.join(ANCHOR), BLOCK, SLOT_STRIDE)?;
    let slots = [Anchor::decode(&bytes), Anchor::decode(&second)];
    let newer = slots.iter().find_map(|slot| match slot {
        Err(newer @ BadBlock::Newer(_)) => Some(*newer),
        Err(BadBlock::Damaged) | Ok(_) => None,
    });
    if let Some(newer) = newer {
        return Ok(Found::Bad(newer));
    }
    let best = slots
        .into_iter()
        .flatten()
        .max_by_key(|anchor| anchor.generation);
    Ok(best.map_or(Found::Bad(BadBlock::Damaged), Found::Good))
}

/// The anchor in the writer's hand.
#[derive(Debug)]
pub(super) struct AnchorFile {
    file: File,
    anchor: Anchor,
}

impl AnchorFile {
    /// Opens the file, or makes it, and writes `anchor` to it.
    pub(super) fn open(volume: &Volume, dir: &Path, anchor: Anchor) -> io::Result<Self> {
        let path = dir.join(ANCHOR);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => volume.create(&path)?,
            opened => opened?,
        };
        let mut this = Self { file, anchor };
        this.write(volume, |_| ())?;
        volume.sync_all(&this.file)?;
        volume.sync_dir(dir)?;
        Ok(this)
    }

    /// Changes what it says, durably.
    pub(super) fn write(
        &mut self,
        volume: &Volume,
        change: impl FnOnce(&mut Anchor),
    ) -> io::Result<()> {
        let mut anchor = self.anchor.clone();
        anchor.generation += 1;
        change(&mut anchor);
        let slot = anchor.generation % 2 * SLOT_STRIDE;
        volume.write(&self.file, &anchor.encode(), slot)?;
        volume.sync_data(&self.file)?;
        self.anchor = anchor;
        Ok(())
    }
}

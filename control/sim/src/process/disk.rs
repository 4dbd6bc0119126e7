//! A disk that keeps only what was synced: a cut of the power loses any of the other sectors, and a
//! sync may fail.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use weir_engine_sim::rng::{Rng, mix};

/// What the disk writes or loses as one.
const SECTOR: usize = 512;

#[derive(Debug)]
struct Platter {
    /// What the running system reads.
    cached: Vec<u8>,
    /// What is there after a cut of the power.
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// How often the process has been started: the handles of older ones do nothing.
    starts: u64,
    full: bool,
    /// Per mille of the syncs that fail.
    sync_errors: u32,
    /// A planted bug: a sync does nothing.
    lies: bool,
    rng: Rng,
    syncs: u64,
    /// Reads, writes and syncs that failed because the seed wanted it.
    failures: u64,
    /// After N writes and syncs the process is killed, or the power goes (`true`).
    trap: Option<(u32, bool)>,
    /// The byte and the bit that went bad while no process ran.
    rotten: Option<(usize, u8)>,
}

impl Platter {
    /// One write or sync more. True if it is not made any more.
    fn springs(&mut self) -> bool {
        let Some((left, power)) = &mut self.trap else { return false };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        let power = *power;
        self.trap = None;
        self.failures += 1;
        if power {
            self.cut_power()
        } else {
            self.starts += 1
        }
        true
    }

    fn flip(&mut self, (place, bit): (usize, u8)) {
        for bytes in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= bit;
            }
        }
    }

    fn cut_power(&mut self) {
        self.starts += 1;
        let seed = self.rng.draw();
        let (old, new) = (self.durable.len(), self.cached.len());
        // The length is not synced either.
        let length = if mix(seed) & 1 == 0 { old } else { new };
        self.durable.resize(length, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let lost = mix(seed ^ (sector as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) & 1 == 0;
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(length).min(new);
            if !lost && range.start < range.end {
                self.durable[range.clone()].copy_from_slice(&self.cached[range]);
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

/// The disk itself: it survives every process.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Platter>>);

/// One process's open file.
#[derive(Clone, Debug)]
pub struct OpenFile {
    disk: Disk,
    start: u64,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(rng: Rng) -> Disk {
        Disk(Arc::new(Mutex::new(Platter {
            cached: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            starts: 0,
            full: false,
            sync_errors: 0,
            lies: false,
            rng,
            syncs: 0,
            failures: 0,
            trap: None,
            rotten: None,
        })))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, for a process that starts now.
    #[must_use]
    pub fn open(&self) -> OpenFile {
        OpenFile { disk: self.clone(), start: self.platter().starts }
    }

    /// The process is gone: whatever it still does with its file does nothing.
    pub fn leave(&self) {
        self.platter().starts += 1;
    }

    /// The power goes: of the sectors that were not synced any may be lost.
    pub fn cut_power(&self) {
        self.platter().cut_power();
    }

    /// The process is killed, or the power goes, at the `after`-th write or sync from now on.
    pub fn set_trap(&self, after: u32, power: bool) {
        self.platter().trap = Some((after, power));
    }

    /// No trap is set any more. True if it has sprung since it was set.
    pub fn clear_trap(&self) -> bool {
        self.platter().trap.take().is_none()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, full: bool, sync_errors: u32) {
        let mut platter = self.platter();
        (platter.full, platter.sync_errors) = (full, sync_errors);
    }

    /// A bit of the file goes bad, on the disk and for whoever reads it.
    pub fn rot(&self) {
        let mut platter = self.platter();
        let length = platter.cached.len();
        // Most of the file is empty; where something stands a bit is more likely missed.
        let mut places = (0..64).map(|_| platter.rng.below(length.max(1))).collect::<Vec<_>>();
        places.sort_by_key(|place| platter.cached.get(*place).is_none_or(|byte| *byte == 0));
        let place = places[0];
        let bit = 1 << platter.rng.below(8);
        platter.flip((place, bit));
        platter.rotten = Some((place, bit));
    }

    /// The file is put back as it was before it went bad. False if it had not.
    pub fn mend(&self) -> bool {
        let mut platter = self.platter();
        let Some(place) = platter.rotten.take() else { return false };
        platter.flip(place);
        true
    }

    /// The file is used as it is.
    pub fn accept(&self) {
        self.platter().rotten = None;
    }

    /// Plants a bug: syncs do nothing.
    pub fn lie(&self) {
        self.platter().lies = true;
    }

    /// What failed because the seed wanted it.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.platter().failures
    }

    /// Syncs that went well.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.platter().syncs
    }
}

impl OpenFile {
    /// The disk, if this process still runs.
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.platter();
        if platter.starts == self.start {
            Ok(platter)
        } else {
            Err(io::Error::other("the process is gone"))
        }
    }

    fn to_write(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter()?;
        if platter.full {
            platter.failures += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(platter)
    }

    fn trapped(&self) -> io::Result<()> {
        if self.platter()?.springs() { Err(io::Error::other("the end")) } else { Ok(()) }
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl StorageBackend for OpenFile {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.platter()?.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (platter, start) = (self.platter()?, place(offset)?);
        let bytes = platter.cached.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.to_write()?.cached.resize(place(len)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.trapped()?;
        let mut platter = self.platter()?;
        let errors = platter.sync_errors;
        if platter.rng.hits(errors) {
            platter.failures += 1;
            let seed = platter.rng.draw();
            platter.dirty.retain(|sector| mix(seed ^ *sector as u64) & 1 == 0);
            return Err(io::Error::other("the sync failed"));
        }
        if platter.lies {
            return Ok(());
        }
        let Platter { cached, durable, dirty, syncs, .. } = &mut *platter;
        durable.resize(cached.len(), 0);
        for sector in std::mem::take(dirty) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(cached.len());
            if range.start < range.end {
                durable[range.clone()].copy_from_slice(&cached[range]);
            }
        }
        *syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.trapped()?;
        let (mut platter, start) = (self.to_write()?, place(offset)?);
        let end = start + data.len();
        let bytes = platter.cached.get_mut(start..end);
        bytes.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        platter.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_of_the_power_keeps_what_was_synced_and_some_of_the_rest() {
        let disk = Disk::new(Rng::new(1));
        let file = disk.open();
        file.set_len(64 * SECTOR as u64).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[1; 32 * SECTOR]).unwrap();
        file.sync_data().unwrap();
        file.write(32 * SECTOR as u64, &[2; 32 * SECTOR]).unwrap();
        disk.cut_power();
        assert!(file.len().is_err(), "an older process writes no more");
        let mut bytes = vec![0; 64 * SECTOR];
        disk.open().read(0, &mut bytes).unwrap();
        assert!(bytes[..32 * SECTOR].iter().all(|byte| *byte == 1));
        let kept = bytes[32 * SECTOR..].chunks(SECTOR).filter(|sector| sector[0] == 2).count();
        assert!((1..32).contains(&kept), "{kept} sectors are kept");
    }

    #[test]
    fn a_process_that_is_killed_loses_nothing_that_it_wrote() {
        let disk = Disk::new(Rng::new(1));
        let file = disk.open();
        file.set_len(SECTOR as u64).unwrap();
        file.write(0, &[1; SECTOR]).unwrap();
        disk.leave();
        let mut bytes = vec![0; SECTOR];
        disk.open().read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1; SECTOR]);
    }
}

//! A disk in memory: what was written, what of it is durable, and when it fails.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use redb::StorageBackend;

/// A disk: what was written, and what of it is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(pub(super) Arc<Mutex<Platter>>, Arc<Condvar>);

#[derive(Debug, Default)]
pub(super) struct Platter {
    pub(super) written: Vec<u8>,
    /// The bytes as of the last sync.
    pub(super) durable: Vec<u8>,
    /// Pages written since the last sync, each with what it held: a crash may lose any of them.
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
    /// Every write and sync fails from now on.
    pub(super) full: bool,
    /// So many writes and syncs still work, then every one fails.
    pub(super) fails_after: Option<usize>,
    /// Only one fails then.
    pub(super) fails_once: bool,
    /// Every state of the disk after a write or a sync: the places where the power may go.
    pub(super) moments: Vec<CrashPoint>,
    pub(super) record_moments: bool,
    /// Its size at most, in bytes.
    pub(super) room: Option<usize>,
    /// Syncs wait until they are released.
    holds: bool,
    /// One waits now.
    is_held: bool,
}

/// A moment for a crash: the durable bytes and the writes after them.
#[derive(Clone, Debug)]
pub(super) struct CrashPoint {
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
    pub(super) length: usize,
}

impl Disk {
    pub(crate) fn of(bytes: &[u8]) -> Disk {
        let platter =
            Platter { written: bytes.to_vec(), durable: bytes.to_vec(), ..Platter::default() };
        Disk(Arc::new(Mutex::new(platter)), Arc::default())
    }

    /// Every write fails, or works again.
    pub(crate) fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// From now on a sync does not end before [`Disk::release`].
    pub(crate) fn hold(&self) {
        self.0.lock().unwrap().holds = true;
    }

    /// Returns when a sync waits.
    pub(crate) fn wait_until_held(&self) {
        let platter = self.0.lock().unwrap();
        drop(self.1.wait_while(platter, |platter| !platter.is_held).unwrap());
    }

    /// Syncs take no time any more.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap().holds = false;
        self.1.notify_all();
    }

    fn after_hold(&self) -> MutexGuard<'_, Platter> {
        let mut platter = self.0.lock().unwrap();
        platter.is_held = platter.holds;
        self.1.notify_all();
        let mut platter = self.1.wait_while(platter, |platter| platter.holds).unwrap();
        platter.is_held = false;
        platter
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().written.clone()
    }
}

impl Platter {
    fn note(&mut self) {
        if self.record_moments {
            self.moments.push(CrashPoint {
                durable: self.durable.clone(),
                unsynced: self.unsynced.clone(),
                length: self.written.len(),
            });
        }
    }

    fn check(&mut self) -> Result<(), io::Error> {
        let worn_out = self.fails_after == Some(0);
        self.fails_after = match self.fails_after {
            Some(0) if self.fails_once => None,
            left => left.map(|left| left.saturating_sub(1)),
        };
        match (self.full, worn_out) {
            (true, _) => Err(io::ErrorKind::StorageFull.into()),
            (false, true) => Err(io::Error::other("worn out")),
            (false, false) => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let Some(bytes) = platter.written.get(start..start + out.len()) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut platter = self.0.lock().unwrap();
        platter.check()?;
        let length = usize::try_from(len).unwrap();
        if platter.room.is_some_and(|room| length > room.max(platter.written.len())) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.written.resize(length, 0);
        platter.note();
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut platter = self.after_hold();
        platter.check()?;
        platter.durable = platter.written.clone();
        platter.unsynced.clear();
        platter.note();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut platter = self.0.lock().unwrap();
        platter.check()?;
        let start = usize::try_from(offset).unwrap();
        platter.written[start..start + data.len()].copy_from_slice(data);
        platter.unsynced.push((start, data.to_vec()));
        platter.note();
        Ok(())
    }
}

/// Bytes that the disk writes or loses together.
const SECTOR: usize = 512;

/// The disk after a loss of power.
pub(super) struct PowerLoss {
    pub(super) bytes: Vec<u8>,
    /// Sectors that had not been synced, and those of them that are lost.
    pub(super) sectors: u64,
    pub(super) lost: u64,
}

impl Disk {
    /// This number of writes and syncs still work, then none.
    pub(super) fn fail_after(&self, operations: usize) {
        self.0.lock().unwrap().fails_after = Some(operations);
    }

    /// The power goes: of each write since the last sync each sector is lost or kept, as `draw`
    /// decides, and so is the file's length.
    pub(super) fn lose_power(&self, mut draw: impl FnMut() -> u64) -> PowerLoss {
        let platter = self.0.lock().unwrap();
        let mut bytes = platter.durable.clone();
        let is_long = draw() >> 32 & 1 == 1;
        bytes.resize(if is_long { platter.written.len() } else { bytes.len() }, 0);
        let (mut sectors, mut lost) = (0, 0);
        for (start, data) in &platter.unsynced {
            let mut at = *start;
            while at < start + data.len() {
                let next = (at / SECTOR + 1) * SECTOR;
                let end = next.min(start + data.len()).min(bytes.len());
                sectors += 1;
                if draw() >> 32 & 1 == 0 || at >= end {
                    lost += 1;
                } else {
                    bytes[at..end].copy_from_slice(&data[at - start..end - start]);
                }
                at = next;
            }
        }
        PowerLoss { bytes, sectors, lost }
    }
}

impl CrashPoint {
    /// The possible disks after a cut of the power here: none of the writes since the last sync,
    /// all of them, or all but one.
    pub(super) fn images(&self) -> Vec<Vec<u8>> {
        let count = self.unsynced.len();
        let mut kept: Vec<Vec<bool>> = vec![vec![false; count], vec![true; count]];
        for lost in 0..count {
            let mut but_one = vec![true; count];
            but_one[lost] = false;
            kept.push(but_one);
        }
        let image = |keep: Vec<bool>| {
            let mut bytes = self.durable.clone();
            bytes.resize(self.length, 0);
            for ((start, data), _) in self.unsynced.iter().zip(&keep).filter(|(_, keep)| **keep) {
                bytes[*start..*start + data.len()].copy_from_slice(data);
            }
            bytes
        };
        kept.into_iter().map(image).collect()
    }
}

impl Disk {
    /// Every moment of `work` at which the power may go.
    pub(super) fn moments(&self, work: impl FnOnce()) -> Vec<CrashPoint> {
        self.0.lock().unwrap().record_moments = true;
        work();
        let mut platter = self.0.lock().unwrap();
        platter.record_moments = false;
        std::mem::take(&mut platter.moments)
    }
}

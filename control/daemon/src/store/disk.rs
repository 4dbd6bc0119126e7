//! Where redb's bytes are: a file that is held open, or a layer of memory over one that is not to
//! be touched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use rustix::io::Errno;

use super::calls::{Calls, Faults, Which};

/// The state file, held open whatever becomes of its name. Its blocks are allocated when it grows,
/// never when a page is written: on a full disk weir can still give up old versions in the room
/// that it has.
#[derive(Clone, Debug)]
pub(super) struct StateFile(Arc<Calls>);

impl StateFile {
    /// Takes an open file, and allocates what it has of holes as far as there is room.
    pub(super) fn new(file: File, faults: &Faults) -> StateFile {
        let file = Calls::new(file, Which::State, faults);
        let length = file.metadata().map_or(0, |facts| facts.len());
        if length > 0 {
            let _ = file.allocate(0, length);
        }
        StateFile(Arc::new(file))
    }

    /// Takes an open file that nothing is written into.
    pub(super) fn for_reading(file: File) -> StateFile {
        StateFile(Arc::new(Calls::new(file, Which::State, &Faults::default())))
    }

    /// Why `path` does not name this file any more. `None`: it does.
    pub(super) fn misnamed(&self, path: &Path) -> Option<String> {
        let own = match self.0.metadata() {
            Ok(facts) => (facts.dev(), facts.ino()),
            Err(error) => return Some(error.to_string()),
        };
        match std::fs::symlink_metadata(path) {
            Ok(facts) if (facts.dev(), facts.ino()) == own => None,
            Ok(_) => Some("another file is in its place".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("it was removed or moved".to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

impl StorageBackend for StateFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let before = self.len()?;
        self.0.set_len(length)?;
        if length <= before {
            return Ok(());
        }
        let Err(error) = self.0.allocate(before, length - before) else { return Ok(()) };
        // A file system that cannot is left to find out when the page is written.
        if let Some(Errno::OPNOTSUPP | Errno::NOSYS) = Errno::from_io_error(&error) {
            return Ok(());
        }
        self.0.set_len(before)?;
        Err(error)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// The layer keeps pages of this many bytes.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// Reads what is below and keeps what is written in memory.
#[derive(Clone, Debug)]
pub(super) struct Overlay<B> {
    below: B,
    above: Arc<Mutex<Above>>,
}

#[derive(Debug)]
struct Above {
    length: u64,
    /// The length of the lower file, as far as it still counts.
    below: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl<B: StorageBackend> Overlay<B> {
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(below: B) -> io::Result<Overlay<B>> {
        let length = below.len()?;
        let above = Above { length, below: length, pages: BTreeMap::new() };
        Ok(Overlay { below, above: Arc::new(Mutex::new(above)) })
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads within one page.
    fn read_part(&self, above: &Above, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(page) = above.pages.get(&(offset / PAGE)) {
            let from = within(offset);
            out.copy_from_slice(&page[from..from + out.len()]);
            return Ok(());
        }
        let there = above.below.saturating_sub(offset).min(out.len() as u64);
        let (known, beyond) = out.split_at_mut(usize::try_from(there).unwrap_or(out.len()));
        beyond.fill(0);
        if known.is_empty() { Ok(()) } else { self.below.read(offset, known) }
    }
}

fn within(offset: u64) -> usize {
    usize::try_from(offset % PAGE).unwrap_or_default()
}

/// The end of the part of `offset..end` that is on the first page of it.
fn part(offset: u64, end: u64) -> u64 {
    end.min((offset / PAGE + 1) * PAGE)
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above();
        let (mut at, end) = (offset, offset + out.len() as u64);
        if end > above.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        while at < end {
            let next = part(at, end);
            let length = usize::try_from(next - at).unwrap_or_default();
            let (piece, more) = rest.split_at_mut(length);
            self.read_part(&above, at, piece)?;
            (at, rest) = (next, more);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut above = self.above();
        above.below = above.below.min(length);
        above.pages.retain(|page, _| page * PAGE < length);
        if let Some(page) = above.pages.get_mut(&(length / PAGE)) {
            page[within(length)..].fill(0);
        }
        above.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.above();
        let (mut at, end) = (offset, offset + data.len() as u64);
        if end > above.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = data;
        while at < end {
            let (page, next) = (at / PAGE, part(at, end));
            if !above.pages.contains_key(&page) {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                let last = usize::try_from((above.length - page * PAGE).min(PAGE));
                let known = &mut bytes[..last.unwrap_or(PAGE_BYTES)];
                self.read_part(&above, page * PAGE, known)?;
                above.pages.insert(page, bytes);
            }
            let length = usize::try_from(next - at).unwrap_or_default();
            let (piece, more) = rest.split_at(length);
            if let Some(bytes) = above.pages.get_mut(&page) {
                bytes[within(at)..within(at) + length].copy_from_slice(piece);
            }
            (at, rest) = (next, more);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Disk;

    #[test]
    fn a_layer_over_a_file_reads_what_was_written_and_leaves_the_file() {
        let below = Disk::of(&[7; 10_000]);
        let layer = Overlay::new(below.clone()).unwrap();
        layer.write(4000, &[1; 200]).unwrap();
        layer.set_len(20_000).unwrap();
        layer.write(19_990, &[2; 10]).unwrap();
        let read = |offset, length| {
            let mut bytes = vec![9; length];
            layer.read(offset, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(3999, 202), [&[7][..], &[1; 200], &[7]].concat());
        assert_eq!(read(9999, 3), [7, 0, 0], "what is new is empty");
        assert_eq!(read(19_989, 11), [&[0][..], &[2; 10]].concat());
        assert!(layer.read(19_991, &mut [0; 10]).is_err());
        assert!(layer.write(19_991, &[0; 10]).is_err());
        // What was cut off is empty when it comes back.
        layer.set_len(4100).unwrap();
        layer.set_len(10_000).unwrap();
        assert_eq!(read(4095, 10), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(below.len().unwrap(), 10_000);
        let mut bytes = vec![0; 10_000];
        below.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 10_000]);
    }
}

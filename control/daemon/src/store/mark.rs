//! The high-water mark: the newest version that was ever durable, in a small file beside the
//! database (ADR 0031). It is written after the version and before the version is acknowledged, so
//! a database that gives an older one has lost what was acknowledged.
//!
//! The file has one line, which is overwritten in place: it needs no room on a full disk.
//!
//! ```text
//! weir 00000000000000000042 6c1f9ae0a2b4d855
//! ```

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::calls::{Calls, Faults, Which};

/// Its name in the state directory.
pub(super) const FILE: &str = "weir.newest";

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Newest(u64),
    /// There is no such file: a weir before this one has made the state.
    Absent,
    /// It cannot be read, or is damaged: why.
    Unknown(String),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: Calls,
    path: PathBuf,
}

/// Reads the file in `directory`.
pub(super) fn read(directory: &Path) -> Reading {
    match std::fs::read(directory.join(FILE)) {
        Ok(bytes) => parse(&bytes)
            .map_or_else(|| Reading::Unknown(format!("{FILE} is damaged")), Reading::Newest),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Absent,
        Err(error) => Reading::Unknown(format!("{FILE}: {error}")),
    }
}

impl Mark {
    /// Opens the file in `directory`, which is made if it is not there, and writes `newest` unless
    /// it says so already. The directory must be synced after that.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(directory: &Path, newest: u64, faults: &Faults) -> Result<Mark, String> {
        let path = directory.join(FILE);
        if let Some(why) = crate::paths::link("the high-water mark", &path) {
            return Err(why);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mark = Mark { file: Calls::new(file, Which::Mark, faults), path };
        if read(directory) != Reading::Newest(newest) {
            mark.write(newest)?;
            // What a damaged one had more.
            let _ = mark.file.set_len(line(newest).len() as u64);
        }
        Ok(mark)
    }

    /// `newest` is the newest version from now on. It is on disk when this returns.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn write(&self, newest: u64) -> Result<(), String> {
        let written = self.file.write_all_at(line(newest).as_bytes(), 0);
        let written = written.and_then(|()| self.file.sync_data());
        written.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn line(newest: u64) -> String {
    format!("weir {newest:020} {:016x}\n", check(newest))
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(bytes).ok()?;
    let newest = text.split(' ').nth(1)?.parse().ok()?;
    (text == line(newest)).then_some(newest)
}

/// FNV-1a of the number's bytes: against damage, not against a person.
fn check(newest: u64) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    newest.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Directory;

    #[test]
    fn a_mark_says_what_was_written_and_a_damaged_one_says_so() {
        let directory = Directory::new("mark");
        std::fs::create_dir_all(&directory.0).unwrap();
        assert_eq!(read(&directory.0), Reading::Absent);
        let mark = Mark::open(&directory.0, 41, &Faults::default()).unwrap();
        assert_eq!(read(&directory.0), Reading::Newest(41));
        mark.write(u64::MAX).unwrap();
        assert_eq!(read(&directory.0), Reading::Newest(u64::MAX));
        mark.write(42).unwrap();
        assert_eq!(read(&directory.0), Reading::Newest(42));
        let path = directory.0.join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(read(&directory.0), Reading::Unknown(_)), "bit {bit}");
        }
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(read(&directory.0), Reading::Unknown(_)));
        Mark::open(&directory.0, 43, &Faults::default()).unwrap();
        assert_eq!(read(&directory.0), Reading::Newest(43), "it is written anew");
    }
}

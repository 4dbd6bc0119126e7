//! F4: the state file, damaged. Opening it gives the newest version as it was written, or an error
//! that says what to do: never a panic, never a version that nobody made, never an older one in
//! silence: what redb itself takes for an older file, the mark betrays.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use redb::StorageBackend;
use weir_control::store::Store;
use weir_control_core::record::{Record, Retention};
use weir_proto::answer::Author;
use weir_proto::spec::{PoolSpec, Spec};

use crate::choices::Choices;
use crate::feature_of_message;

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (bytes, start) = (self.bytes(), place(offset)?);
        let end = start.checked_add(out.len());
        let from = end.and_then(|end| bytes.get(start..end));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = place(length)?;
        assert!(length <= LENGTH_MAX, "the file is made {length} bytes long");
        self.bytes().resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut bytes, start) = (self.bytes(), place(offset)?);
        let end = start.checked_add(data.len());
        let into = end.and_then(|end| bytes.get_mut(start..end));
        into.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

/// A damaged file may not make weir ask for more than this.
const LENGTH_MAX: usize = 64 << 20;
const VERSIONS: u64 = 3;

fn record(version: u64) -> Record {
    let pool = (format!("pool{version}").parse().expect("a name"), PoolSpec::default().into());
    let spec = Spec { pool: [pool].into(), ..Spec::default() };
    let by = Author::new(0, 1);
    Record::new(version, "2026-01-02T03:04:05Z".into(), by, format!("change {version}"), spec)
}

/// The bytes of a state with [`VERSIONS`] versions, closed cleanly, and of one that was cut
/// off.
fn images() -> &'static [Vec<u8>; 2] {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let memory = Memory::default();
        let mut store =
            Store::seed_backend(memory.clone(), &record(1)).expect("memory is writable");
        for version in 2..=VERSIONS {
            store.append(&record(version)).expect("memory is writable");
        }
        let open = memory.bytes().clone();
        drop(store);
        let closed = memory.bytes().clone();
        [closed, open]
    })
}

/// The first byte says which file; then come damages: what kind, where (three bytes), with what. A
/// file of arbitrary bytes is one of the kinds.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let mut choices = Choices::new(bytes);
    let images = images();
    let first = choices.byte();
    let mut image = match first % 8 {
        7 => choices.rest().to_vec(),
        number => images[usize::from(number % 2)].clone(),
    };
    if first % 8 != 7 {
        damage(&mut image, &mut choices);
    }
    let is_whole = images.contains(&image);
    let memory = Memory(Arc::new(Mutex::new(image)));
    match Store::with_backend(memory, Some(VERSIONS), Retention::default()) {
        Err(error) => {
            assert!(!is_whole, "a whole file is refused: {error}");
            assert!(!error.hint.is_empty(), "no way out of {error}");
            feature_of_message(error.what.split(": ").last().unwrap_or_default())
        }
        Ok((store, newest)) => {
            let last = store.newest();
            assert_eq!(last, VERSIONS, "an older version");
            assert_eq!(newest, record(last), "a version that nobody made");
            for version in 0..VERSIONS + 2 {
                let wanted = (1..=last).contains(&version).then(|| record(version));
                let got = store.reader().get(version).expect("every version was read before");
                assert_eq!(got, wanted, "version {version}");
            }
            let rows = store.reader().history(None, 9).expect("every version was read before");
            assert_eq!(rows.len() as u64, last);
            u64::from(is_whole)
        }
    }
}

fn damage(image: &mut Vec<u8>, choices: &mut Choices<'_>) {
    while !choices.is_empty() && !image.is_empty() {
        let kind = choices.byte();
        let [low, high] = choices.short().to_le_bytes();
        let raw = usize::from(u16::from_le_bytes([low, high])) | usize::from(choices.byte()) << 16;
        // Most of a file is empty: half of the damages are where the headers are.
        let at = if kind.is_multiple_of(2) { raw % 512 } else { raw } % image.len();
        let value = choices.byte();
        match kind / 2 % 6 {
            0 => image[at] ^= 1 << (value % 8),
            1 => image[at] = value,
            2 => image.truncate(at),
            3 => {
                let end = (at + 1 + usize::from(value) * 16).min(image.len());
                image[at..end].fill(0);
            }
            4 => {
                // A page that came back from somewhere else.
                let (from, to) = (at / 4096 * 4096, usize::from(value) * 4096);
                if from + 4096 <= image.len() && to + 4096 <= image.len() {
                    image.copy_within(from..from + 4096, to);
                }
            }
            _ => image.extend(std::iter::repeat_n(value, 16)),
        }
    }
}

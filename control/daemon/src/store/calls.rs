//! The system calls that make a version durable. In builds with debug assertions a test can make
//! any of them fail ([`Faults`]); a release build has only the calls.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
#[cfg(debug_assertions)]
use std::sync::{Arc, Mutex};

use rustix::fs::{FallocateFlags, fallocate};

#[cfg(debug_assertions)]
pub(crate) use faults::{Failure, Fault};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Read,
    Write,
    /// ftruncate.
    Resize,
    Allocate,
    /// fdatasync.
    Sync,
}

/// One of the files of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    State,
    Mark,
}

/// An open file of a state.
#[derive(Debug)]
pub(super) struct Calls {
    file: File,
    #[cfg(debug_assertions)]
    faults: (Which, Faults),
}

/// The fault of a state, if it has one now, and the calls since it was set. A release build has
/// none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(debug_assertions)]
    plan: Arc<Mutex<faults::Plan>>,
}

impl Calls {
    #[cfg(debug_assertions)]
    pub(super) fn new(file: File, which: Which, faults: &Faults) -> Calls {
        Calls { file, faults: (which, faults.clone()) }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn new(file: File, _: Which, _: &Faults) -> Calls {
        Calls { file }
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        self.begin(Call::Resize)?;
        self.file.set_len(length)
    }

    /// Allocates the blocks of a part of the file.
    pub(super) fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.begin(Call::Allocate)?;
        Ok(fallocate(&self.file, FallocateFlags::empty(), offset, length)?)
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.begin(Call::Sync)?;
        self.file.sync_data()
    }

    #[cfg(debug_assertions)]
    fn begin(&self, call: Call) -> io::Result<()> {
        self.faults.1.begin(self.faults.0, call).map(drop)
    }

    #[cfg(not(debug_assertions))]
    fn begin(&self, _: Call) -> io::Result<()> {
        Ok(())
    }

    /// The bytes that one write takes.
    #[cfg(debug_assertions)]
    fn taken(&self, bytes: usize) -> io::Result<usize> {
        let is_short = self.faults.1.begin(self.faults.0, Call::Write)?;
        Ok(if is_short { bytes.div_ceil(2) } else { bytes })
    }

    #[cfg(not(debug_assertions))]
    fn taken(&self, bytes: usize) -> io::Result<usize> {
        self.begin(Call::Write).map(|()| bytes)
    }
}

impl FileExt for Calls {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.begin(Call::Read)?;
        self.file.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let taken = self.taken(bytes.len())?;
        self.file.write_at(&bytes[..taken], offset)
    }
}

#[cfg(debug_assertions)]
mod faults {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::PoisonError;

    use super::{Call, Faults, Which};

    /// How a call fails.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Failure {
        /// With this number, and nothing is done.
        Errno(i32),
        /// A write takes half of its bytes, and says so.
        Short,
        /// A write takes half of its bytes; the next one fails with this number.
        ShortThen(i32),
    }

    /// A call that fails.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Fault {
        pub(crate) which: Which,
        pub(crate) call: Call,
        /// This number of these calls still work.
        pub(crate) after: u32,
        /// Every call of both files fails from then on that reads, or that writes.
        pub(crate) lasts: bool,
        pub(crate) failure: Failure,
    }

    #[derive(Debug, Default)]
    pub(super) struct Plan {
        fault: Option<Fault>,
        /// It has struck.
        struck: u32,
        made: BTreeMap<(Which, Call), u32>,
    }

    impl Faults {
        /// From now on there is this fault, or none.
        pub(crate) fn set(&self, fault: Option<Fault>) {
            let plan = Plan { fault, ..Plan::default() };
            *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        }

        /// The calls that were made since then, of each kind.
        #[cfg(test)]
        pub(crate) fn made(&self) -> BTreeMap<(Which, Call), u32> {
            self.plan.lock().unwrap_or_else(PoisonError::into_inner).made.clone()
        }

        /// How often it has struck.
        #[cfg(test)]
        pub(crate) fn struck(&self) -> u32 {
            self.plan.lock().unwrap_or_else(PoisonError::into_inner).struck
        }

        /// A call is made. True if it is to be short.
        pub(super) fn begin(&self, which: Which, call: Call) -> io::Result<bool> {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            *plan.made.entry((which, call)).or_default() += 1;
            let Some(fault) = plan.fault else { return Ok(false) };
            let is_like_it = (call == Call::Read) == (fault.call == Call::Read);
            let again = fault.lasts && plan.struck > 0 && is_like_it;
            if !again && (which, call) != (fault.which, fault.call) {
                return Ok(false);
            }
            if let Some(Fault { after, .. }) = &mut plan.fault
                && *after > 0
            {
                *after -= 1;
                return Ok(false);
            }
            plan.struck += 1;
            let (failure, lasts) = (fault.failure, fault.lasts);
            if !lasts {
                plan.fault = None;
            }
            match failure {
                Failure::Errno(number) => Err(io::Error::from_raw_os_error(number)),
                Failure::Short => Ok(true),
                Failure::ShortThen(number) => {
                    let failure = Failure::Errno(number);
                    plan.fault = Some(Fault { failure, ..fault });
                    Ok(true)
                }
            }
        }
    }
}

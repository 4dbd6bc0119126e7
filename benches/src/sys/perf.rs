//! Tracepoints counted per thread with perf_event_open(2): syscalls, io-wq punts, CQ overflows.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::check;

/// The first version of `struct perf_event_attr` (linux/perf_event.h); later fields count as 0.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config_1: u64,
}

const TYPE_SOFTWARE: u32 = 1;
const TYPE_TRACEPOINT: u32 = 2;
const CONTEXT_SWITCHES: u64 = 3;
/// Threads that a counted thread starts are counted too (io-wq workers).
const FLAG_INHERIT: u64 = 1 << 1;
/// PERF_EVENT_IOC_SET_FILTER: _IOW('$', 6, char *).
const SET_FILTER: libc::c_ulong = 0x4008_2406;
/// PERF_FLAG_FD_CLOEXEC.
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountedEvent {
    /// `group:name` of tracefs, and a filter on its fields (empty: all).
    Tracepoint {
        id: u64,
        filter: &'static str,
    },
    ContextSwitches,
}

impl CountedEvent {
    /// Looks a tracepoint up, `group/name`.
    pub fn tracepoint(name: &str, filter: &'static str) -> io::Result<Self> {
        let file = folder()?.join("events").join(name).join("id");
        let text = fs::read_to_string(&file)?;
        let id = text.trim().parse().map_err(io::Error::other)?;
        Ok(Self::Tracepoint { id, filter })
    }
}

/// Where tracefs is mounted.
fn folder() -> io::Result<PathBuf> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(Path::new);
    let found = places.into_iter().find(|place| place.join("events").is_dir());
    found.map(Path::to_path_buf).ok_or_else(|| {
        io::Error::other("tracefs is not mounted (mount -t tracefs none /sys/kernel/tracing)")
    })
}

/// A running count of one event in one thread and in those that it starts later.
#[derive(Debug)]
pub struct Counter {
    fd: OwnedFd,
}

impl Counter {
    /// Counts from now on until it is dropped.
    pub fn start(event: &CountedEvent, thread: u32) -> io::Result<Self> {
        let (kind, config) = match event {
            CountedEvent::Tracepoint { id, .. } => (TYPE_TRACEPOINT, *id),
            CountedEvent::ContextSwitches => (TYPE_SOFTWARE, CONTEXT_SWITCHES),
        };
        let attributes = Attributes {
            kind,
            size: u32::try_from(size_of::<Attributes>()).expect("64 bytes"),
            config,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: FLAG_INHERIT,
            wakeup: 0,
            breakpoint: 0,
            config_1: 0,
        };
        let thread = libc::pid_t::try_from(thread).map_err(io::Error::other)?;
        // SAFETY: `attributes` is a whole perf_event_attr of its first version and outlives the
        // call; any core (-1), no group (-1). The new descriptor is ours alone.
        let fd = unsafe {
            let number = libc::SYS_perf_event_open;
            let fd = libc::syscall(number, &raw const attributes, thread, -1, -1, CLOSE_ON_EXEC);
            OwnedFd::from_raw_fd(check(i32::try_from(fd).unwrap_or(-1))?)
        };
        if let CountedEvent::Tracepoint { filter, .. } = event
            && !filter.is_empty()
        {
            let text = std::ffi::CString::new(*filter).map_err(io::Error::other)?;
            // SAFETY: `text` ends with NUL and outlives the call.
            check(unsafe { libc::ioctl(fd.as_raw_fd(), SET_FILTER, text.as_ptr()) })?;
        }
        Ok(Self { fd })
    }

    /// How often it happened so far.
    pub fn count(&self) -> io::Result<u64> {
        let mut bytes = [0_u8; 8];
        // SAFETY: `bytes` is writable for its length; the descriptor is open.
        let length =
            unsafe { libc::read(self.fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        match usize::try_from(length) {
            Ok(8) => Ok(u64::from_ne_bytes(bytes)),
            Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

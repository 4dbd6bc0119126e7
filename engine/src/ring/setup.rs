//! Making a ring: sizes, flags, and what to say when the kernel refuses.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::StartError;

/// Entries of the submission queue: 64 bytes each. A turn that asks for more submits in between.
const SUBMISSIONS: u32 = 4096;
/// Entries of the completion queue: 16 bytes each. One enter makes at most this many answers
/// before the kernel has to keep some aside (an overflow, which is counted).
const COMPLETIONS: u32 = 32_768;

/// What weir cannot do without: name, number.
const OPERATIONS: [(&str, u8); 6] = [
    ("ACCEPT", opcode::Accept::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("READ", opcode::Read::CODE),
];

/// A ring for the calling thread. Where memory is locked out (RLIMIT_MEMLOCK) or fragmented,
/// smaller queues are tried before giving up.
pub(super) fn build() -> io::Result<IoUring> {
    let mut shift = 0;
    loop {
        let result = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS >> shift)
            .dontfork()
            .build(SUBMISSIONS >> shift);
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && shift < 4 => shift += 1,
            result => return result,
        }
    }
}

/// Tries a ring and its operations.
pub(crate) fn probe() -> Result<(), StartError> {
    let ring = build().map_err(|error| refusal(&error))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| refusal(&error))?;
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StartError {
        what: format!("this kernel's io_uring lacks {}", missing.join(", ")),
        hint: "weir needs Linux 6.1 or newer".to_owned(),
    })
}

/// What to say, and what to do, when a ring cannot be had.
pub(crate) fn refusal(error: &io::Error) -> StartError {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is switched off: look at `sysctl kernel.io_uring_disabled` (0 allows it; 1 \
             only for kernel.io_uring_group), or allow io_uring_setup in the container's seccomp \
             profile"
        }
        Some(libc::ENOSYS | libc::EINVAL) => "weir needs Linux 6.1 or newer, with io_uring",
        Some(libc::ENOMEM) => {
            "raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK= in the unit) to 8 MiB or more"
        }
        Some(libc::EMFILE | libc::ENFILE) => "raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)",
        _ => "`weir doctor` tells what this host lacks",
    };
    StartError { what: format!("io_uring is not to be had: {error}"), hint: hint.to_owned() }
}

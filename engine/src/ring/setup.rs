//! Making a ring: sizes, flags, what it may be asked for, and what to say when the kernel refuses.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::register::Restriction;
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use weir_proto::complaint::Complaint;

use super::sqe;

/// Entries of the submission queue: 64 bytes each. A turn that asks for more submits in between.
const SUBMISSIONS: u32 = 4096;

/// Every operation that weir asks for: name, number. What is not here is refused by the kernel
/// (-EACCES), whoever asks on this ring; what is here must be there. A new operation in `sqe.rs`
/// begins with a row here.
const OPERATIONS: [(&str, u8); 7] = [
    ("ACCEPT", opcode::Accept::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("READ", opcode::Read::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
];

/// Every flag that an entry of weir's may carry (IOSQE_*). The same rule.
const FLAGS: squeue::Flags = squeue::Flags::BUFFER_SELECT;

/// A ring for the calling thread, disabled: it takes registrations and no entry until [`enable`].
/// Where memory is locked out (RLIMIT_MEMLOCK) or fragmented, smaller queues are tried before
/// giving up. `completions`: entries of the completion queue.
pub(super) fn build(completions: u32) -> io::Result<IoUring> {
    let mut shift = 0;
    loop {
        let result = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag() // so that a submit that does not wait runs what is due
            .setup_submit_all()
            .setup_clamp()
            .setup_r_disabled()
            .setup_cqsize(completions >> shift)
            .dontfork()
            .build(SUBMISSIONS.min(completions) >> shift);
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && shift < 4 => shift += 1,
            result => return result,
        }
    }
}

/// Bytes that a ring of [`build`] takes of RLIMIT_MEMLOCK: its entries, and a page for the heads.
pub(super) fn locked_bytes(completions: u32) -> u64 {
    let submissions = u64::from(SUBMISSIONS.min(completions));
    let index = size_of::<u32>() as u64;
    u64::from(completions) * size_of::<cqueue::Entry>() as u64
        + submissions * (size_of::<squeue::Entry>() as u64 + index)
        + 4096
}

/// Bars everything that the tables above do not name, for good, and every later registration, which
/// weir has none of. Then the ring works; the calling thread is its only issuer.
pub(super) fn enable(ring: &IoUring) -> io::Result<()> {
    let mut allowed: Vec<Restriction> =
        OPERATIONS.iter().map(|(_, code)| Restriction::sqe_op(*code)).collect();
    allowed.push(Restriction::sqe_flags_allowed(FLAGS.bits()));
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()
}

/// True if the kernel can end a multishot receive after N bytes (6.17). Without that no
/// receive is multishot: its bytes could come faster than they go.
pub(super) fn ends_multishots(ring: &mut IoUring) -> io::Result<bool> {
    let (here, _there) = UnixStream::pair()?;
    let entry = sqe::receive_nowhere(here.as_raw_fd());
    // SAFETY: the entry points nowhere.
    unsafe { ring.submission().push(&entry) }.expect("nothing was asked for before");
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next().map(|answer| answer.result());
    Ok(answer == Some(-libc::ENOBUFS))
}

/// Tries a ring and its operations.
pub(crate) fn probe() -> Result<(), Complaint> {
    let ring = build(SUBMISSIONS).map_err(|error| refusal(&error))?;
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
    Err(Complaint {
        what: format!("this kernel's io_uring lacks {}", missing.join(", ")),
        hint: "weir needs Linux 6.1 or newer".to_owned(),
    })
}

/// RLIMIT_AS, in bytes, if there is one.
fn address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// The limit to raise when a ring gets no memory: both limits give ENOMEM.
fn memory_hint(address_space: Option<u64>) -> &'static str {
    match address_space {
        None => "raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK= in the unit) to 8 MiB or more",
        Some(_) => {
            "take RLIMIT_AS away (`ulimit -v unlimited`, LimitAS=infinity in the unit); if it is \
             not that, raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK=) to 8 MiB or more"
        }
    }
}

/// What to say, and what to do, when a ring cannot be had.
pub(crate) fn refusal(error: &io::Error) -> Complaint {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is switched off: look at `sysctl kernel.io_uring_disabled` (0 allows it; 1 \
             only for kernel.io_uring_group), or allow io_uring_setup in the container's seccomp \
             profile"
        }
        Some(libc::ENOSYS | libc::EINVAL) => "weir needs Linux 6.1 or newer, with io_uring",
        Some(libc::ENOMEM) => memory_hint(address_space()),
        Some(libc::EMFILE | libc::ENFILE) => "raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)",
        _ => "`weir doctor` tells what this host lacks",
    };
    Complaint { what: format!("io_uring is not to be had: {error}"), hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use io_uring::types::Fd;

    use super::*;

    #[test]
    fn a_limited_address_space_is_named_before_locked_memory() {
        assert!(memory_hint(None).starts_with("raise RLIMIT_MEMLOCK"));
        assert!(memory_hint(Some(1 << 30)).starts_with("take RLIMIT_AS away"));
    }

    /// What the kernel answers to one entry.
    fn ask(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: the entries of these tests point to a static string, or nowhere.
        unsafe { ring.submission().push(entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap().result()
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        let mut ring = build(SUBMISSIONS).unwrap();
        enable(&ring).unwrap();
        let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), c"/dev/null".as_ptr()).build();
        assert_eq!(ask(&mut ring, &open), -libc::EACCES);
        assert_eq!(ask(&mut ring, &opcode::Nop::new().build()), -libc::EACCES);
        // A flag that weir does not use, on an operation that it does.
        let poll = opcode::PollAdd::new(Fd(0), 1).build().flags(squeue::Flags::ASYNC);
        assert_eq!(ask(&mut ring, &poll), -libc::EACCES);
        // And one that it does use: nothing is wrong but the descriptor.
        assert_eq!(ask(&mut ring, &opcode::PollAdd::new(Fd(-1), 1).build()), -libc::EBADF);
    }

    #[test]
    fn an_enabled_ring_takes_no_registration_and_no_second_list() {
        let ring = build(SUBMISSIONS).unwrap();
        enable(&ring).unwrap();
        let code = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        let files = ring.submitter().register_files(&[0]);
        assert_eq!(code(files), Some(libc::EACCES));
        let again = ring.submitter().register_restrictions(&mut [Restriction::sqe_op(0)]);
        assert!(matches!(code(again), Some(libc::EACCES | libc::EBUSY | libc::EBADFD)));
    }

    #[test]
    fn a_disabled_ring_takes_no_entry() {
        let mut ring = build(SUBMISSIONS).unwrap();
        // SAFETY: the entry points nowhere.
        unsafe { ring.submission().push(&opcode::PollAdd::new(Fd(0), 1).build()) }.unwrap();
        assert_eq!(ring.submit().unwrap_err().raw_os_error(), Some(libc::EBADFD));
    }
}

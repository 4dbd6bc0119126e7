//! A descriptor table of the calling thread's own.
//!
//! RLIMIT_NOFILE counts each table by itself, so every shard has the whole limit for its sessions;
//! and no shard waits for another's table lock when it opens or closes a socket.

use std::io;
use std::os::fd::RawFd;

/// Leaves the process's table for a copy in which only `keep` and the standard streams are open.
///
/// # Errors
/// ENOMEM; EPERM where a seccomp profile forbids close_range(2).
pub(crate) fn leave(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    // The first call makes the copy, whether or not there is something to close before `keep`.
    let mut flags = libc::CLOSE_RANGE_UNSHARE;
    for kept in keep.into_iter().chain([u32::MAX]) {
        if kept > first || flags != 0 {
            close_range(first.min(kept), kept.max(first) - 1, kept > first, flags)?;
            flags = 0;
        }
        first = kept.saturating_add(1).max(first);
    }
    Ok(())
}

fn close_range(first: u32, last: u32, any: bool, flags: libc::c_uint) -> io::Result<()> {
    // An empty range is asked for as one that cannot hold a descriptor.
    let (first, last) = if any { (first, last) } else { (u32::MAX, u32::MAX) };
    // SAFETY: no pointers. In the copy nothing but what the caller keeps is used by this thread.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::thread;

    use super::*;

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: no pointers.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    }

    #[test]
    fn only_what_is_kept_is_open_in_the_copy_and_all_of_it_in_the_original() {
        let files: Vec<File> = (0..4).map(|_| File::open("/dev/null").unwrap()).collect();
        let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let theirs = fds.clone();
        let open = thread::spawn(move || {
            leave(&[theirs[2], theirs[0]]).unwrap();
            theirs.iter().map(|fd| is_open(*fd)).collect::<Vec<_>>()
        });
        assert_eq!(open.join().unwrap(), [true, false, true, false]);
        assert!(fds.iter().all(|fd| is_open(*fd)));
    }
}

//! A descriptor table of the calling thread's own.
//!
//! RLIMIT_NOFILE counts each table by itself, so every shard has the whole limit for its sessions;
//! and no shard waits for another's table lock when it opens or closes a socket.

use std::io;
use std::os::fd::RawFd;

use weir_core::action::How;
use weir_core::event::Leg;

use super::socket;

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

/// Closes, with resets, whatever the calling thread's own table holds beside `keep` and the
/// standard streams: the connections that a shard which panicked had in its hands and wrote down
/// nowhere, or whose accepts the kernel had no room to answer.
pub(crate) fn reset_others(keep: &[RawFd]) {
    for fd in others().filter(|fd| !keep.contains(fd)) {
        socket::close(Leg(fd), How::Reset);
    }
}

/// The descriptors of the calling thread's table, but for the standard streams; some more if /proc
/// does not tell.
fn others() -> impl Iterator<Item = RawFd> {
    let listed = std::fs::read_dir("/proc/thread-self/fd").ok().map(|entries| {
        let number = |entry: io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok()
        };
        entries.filter_map(number).collect::<Vec<_>>()
    });
    // The folder's own is among them, and closed by now.
    let all = if listed.is_none() { 0..MOST } else { 0..0 };
    listed.into_iter().flatten().chain(all).filter(|fd| *fd > libc::STDERR_FILENO)
}

/// No table of a shard is larger (`Limits`, fs.nr_open).
const MOST: RawFd = 1 << 20;

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
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, IntoRawFd};
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

    #[test]
    fn a_connection_that_nobody_knows_of_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = [0; 2].map(|_| TcpStream::connect(address).unwrap());
        let [kept, lost] = [0; 2].map(|_| listener.accept().unwrap().0.into_raw_fd());
        let open = thread::spawn(move || {
            leave(&[kept, lost]).unwrap();
            reset_others(&[kept]);
            [kept, lost].map(is_open)
        });
        assert_eq!(open.join().unwrap(), [true, false]);
        // The table of this thread has them still. SAFETY: they are ours.
        unsafe { libc::close(lost) };
        let heard = clients[1].read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::ConnectionReset));
        clients[0].set_nonblocking(true).unwrap();
        let heard = clients[0].read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::WouldBlock));
        // SAFETY: it is ours.
        unsafe { libc::close(kept) };
    }
}

//! The groups of a Unix socket's peer: getsockopt(2) with SO_PEERGROUPS (Linux 4.13).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most processes are in fewer groups than this: one call is enough.
const GROUPS_FIRST: usize = 32;
/// The most that the kernel lets a process have (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// The supplementary groups that the peer had when it connected.
pub(crate) fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_FIRST];
    loop {
        // At most 256 KiB.
        #[allow(clippy::cast_possible_truncation)]
        let mut bytes = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: `groups` has room for `bytes` bytes, and gid_t is a u32; both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // ERANGE: `bytes` now says how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS_MAX
        {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_has_the_groups_of_this_process() {
        let (here, _there) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let own: Vec<u32> = line.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
        assert_eq!(groups(here.as_fd()).unwrap(), own);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(groups(file.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}

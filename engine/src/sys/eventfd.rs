//! The bell of a shard: eventfd(2).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A bell that has not rung.
pub(crate) fn new() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked before it is used.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Rings it. It can be rung 2^64 − 2 times before a call would wait, so this never does.
pub(crate) fn ring(bell: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is 8 bytes long, as eventfd wants it.
    unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

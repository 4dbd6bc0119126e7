//! System calls that are not the ring's: sockets, the eventfd, the clock, pinning. Thin, safe to
//! call from above.

#![allow(unsafe_code)]

pub(crate) mod abort;
pub(crate) mod affinity;
pub(crate) mod eventfd;
pub(crate) mod memory;
pub(crate) mod peek;
pub(crate) mod peer;
pub(crate) mod rights;
pub(crate) mod slice;
pub(crate) mod socket;
pub(crate) mod source;
pub(crate) mod steer;
pub(crate) mod table;
pub(crate) mod tcp_info;
pub(crate) mod thread;

use weir_core::base::clock::Now;

/// CLOCK_MONOTONIC.
pub(crate) fn now() -> Now {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC is always there");
    // Since boot, so never negative.
    Now::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

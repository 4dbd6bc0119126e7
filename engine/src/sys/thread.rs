//! Threads by their number in /proc: which one this is, and how much CPU time one has had.

/// The calling thread's number.
pub(crate) fn id() -> i32 {
    // SAFETY: no pointers, and it cannot fail.
    unsafe { libc::gettid() }
}

/// Nanoseconds of CPU time that a thread of this process has had; `None` if it is gone.
pub(crate) fn cpu_ns(task: i32) -> Option<u64> {
    // How Linux names a thread's clock: its number inverted, then "per thread" (4) and "scheduled
    // time" (2). pthread_getcpuclockid(3) computes the same, but from a handle that must be alive.
    let clock = (!task) << 3 | 4 | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to. A clock that is not there is
    // EINVAL.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

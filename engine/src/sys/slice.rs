//! How long a thread may keep its core from others that want it: sched_setattr(2).

use std::io;

/// The shortest slice that Linux gives, in nanoseconds.
const SHORTEST_NS: u64 = 100_000;

/// sched_attr of sched_setattr(2), as long as it was at first.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for short slices for the calling thread: it gets its core sooner when it wakes and another
/// thread computes there, and is interrupted sooner while others wait; its share stays the same.
/// From Linux 6.12 on; before, it changes nothing.
///
/// # Errors
/// As sched_getattr(2) and sched_setattr(2).
pub(crate) fn shorten() -> io::Result<()> {
    const SIZE: u32 = 48;
    const _: () = assert!(size_of::<SchedAttr>() == SIZE as usize);
    let mut attr = SchedAttr::default();
    // SAFETY: `attr` is as long as we say, and valid for the call to write to.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, SIZE, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    (attr.size, attr.runtime) = (SIZE, SHORTEST_NS);
    // SAFETY: `attr` is as long as it says.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_stays_what_it_is() {
        let thread = std::thread::spawn(|| {
            shorten().expect("sched_setattr");
            // SAFETY: no pointers.
            unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) }
        });
        let (policy, nice) = thread.join().unwrap();
        assert_eq!((policy, nice), (libc::SCHED_OTHER, 0));
    }
}

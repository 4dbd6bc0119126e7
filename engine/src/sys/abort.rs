//! The last moment of a process that ends by SIGABRT.

use std::sync::OnceLock;

/// Looks at whether everything is written, a millisecond apart: at least and at most. The least is
/// for a line that was printed just now and has still to reach the log.
const LOOKS_MIN: u32 = 50;
const LOOKS_MAX: u32 = 1000;

static IS_WRITTEN: OnceLock<fn() -> bool> = OnceLock::new();

/// From now on abort(3), a panic that cannot unwind, a failed allocation and SIGABRT from outside
/// end the process a moment later, when `is_written` says so, and after a second in any case. It is
/// called in a signal handler: it may read atomics and nothing else.
pub(crate) fn linger(is_written: fn() -> bool) {
    let _ = IS_WRITTEN.set(is_written);
    let handler: extern "C" fn(i32) = on_abort;
    // SAFETY: the handler only calls what signal-safety(7) allows. A refusal leaves the default:
    // the process ends at once.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
}

/// The other threads run on meanwhile; this one has nothing more to do.
extern "C" fn on_abort(signal: i32) {
    let step = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    for look in 0..LOOKS_MAX {
        if look >= LOOKS_MIN && IS_WRITTEN.get().is_none_or(|is_written| is_written()) {
            break;
        }
        // SAFETY: `step` is a valid time; what is left of it is not asked for.
        unsafe { libc::nanosleep(&raw const step, std::ptr::null_mut()) };
    }
    // SAFETY: no pointers. Once this handler returns the signal is delivered again and ends us.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

//! `top` does not outlive its terminal.
//!
//! crossterm 0.29 reads a terminal until it says WouldBlock; one that has hung up says EIO for
//! ever, so that the thread which shows the view never comes back and looks at no flag
//! (`UnixInternalEventSource::try_read`). This thread ends the process then.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exit::Exit;

/// From one look at the terminal and the signals to the next; a hangup ends the wait.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// Looks after a signal by which the view has left by itself, unless it is stuck.
const LOOKS_MAX: u32 = 4;

/// Ends the process when the terminal on stdin has hung up, or a second after `leave` was set.
///
/// # Errors
/// There can be no more threads.
pub(super) fn watch(leave: Arc<AtomicBool>) -> io::Result<()> {
    let run = move || {
        let mut looks = 0;
        while looks < LOOKS_MAX && !has_hung_up(&io::stdin()) {
            looks += u32::from(leave.load(Ordering::Relaxed));
        }
        // Whatever is left of the terminal is as it was before.
        let _ = ratatui::try_restore();
        std::process::exit(Exit::Failed as i32);
    };
    std::thread::Builder::new().name("weirctl-hangup".into()).spawn(run).map(drop)
}

/// Waits for [`LOOK`] or until the terminal has hung up. It is not read.
fn has_hung_up(terminal: &impl AsFd) -> bool {
    let mut terminals = [PollFd::new(terminal, PollFlags::empty())];
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    match poll(&mut terminals, Some(&LOOK)) {
        Ok(_) => terminals[0].revents().intersects(gone),
        // A signal: the next look tells.
        Err(rustix::io::Errno::INTR) => false,
        // Without poll(2) the terminal cannot be used.
        Err(_) => true,
    }
}

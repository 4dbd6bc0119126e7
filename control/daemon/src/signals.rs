//! Signals for the control thread: SIGINT stops, SIGTERM and SIGQUIT drain, SIGHUP reads the file
//! again. SIGUSR1 and SIGUSR2, which others use for logs and upgrades, end nothing.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use weir_control_core::fallback::SignalsSeen;

use crate::rt::Bell;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
    Quit,
    Reload,
    /// Open log files again.
    Reopen,
    /// Hand over to another process.
    Upgrade,
}

/// Which signals came. They outlive the task that hears them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) interrupt: Arc<AtomicBool>,
    pub(crate) terminate: Arc<AtomicBool>,
    pub(crate) quit: Arc<AtomicBool>,
    pub(crate) reload: Arc<AtomicBool>,
    pub(crate) reopen: Arc<AtomicBool>,
    pub(crate) upgrade: Arc<AtomicBool>,
}

impl Flags {
    /// The signals that came since the last call, for a process that can only end.
    pub(crate) fn take(&self) -> SignalsSeen {
        let raised = |flag: &AtomicBool| flag.swap(false, Ordering::AcqRel);
        SignalsSeen {
            interrupt: raised(&self.interrupt),
            terminate: raised(&self.terminate) | raised(&self.quit),
            reload: raised(&self.reload),
        }
    }
}

/// The signals that came, for one task.
pub(crate) struct Signals {
    bell: Bell,
    flags: Flags,
    /// The file that SIGHUP reads again.
    pub(crate) file: Option<PathBuf>,
}

impl Signals {
    /// Takes the signals over. Once a process, inside the executor.
    ///
    /// # Errors
    /// The kernel refused a handler or a socket.
    pub(crate) fn take_over(file: Option<PathBuf>) -> Result<Signals, String> {
        let text = |error: std::io::Error| format!("cannot handle signals: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(text)?;
        ours.set_nonblocking(true).map_err(text)?;
        theirs.set_nonblocking(true).map_err(text)?;
        let flags = Flags::default();
        let numbers = [
            (SIGTERM, &flags.terminate),
            (SIGQUIT, &flags.quit),
            (SIGHUP, &flags.reload),
            (SIGUSR1, &flags.reopen),
            (SIGUSR2, &flags.upgrade),
        ];
        for (number, flag) in numbers {
            // In this order: whoever hears the bell finds the flag up.
            signal_hook::flag::register(number, Arc::clone(flag)).map_err(text)?;
            let bell = theirs.try_clone().map_err(text)?;
            signal_hook::low_level::pipe::register(number, bell).map_err(text)?;
        }
        // A file that has reached RLIMIT_FSIZE is the error of a write, not the end of the process.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::default()).map_err(text)?;
        let flag = Arc::clone(&flags.interrupt);
        ctrlc::set_handler(move || {
            flag.store(true, Ordering::Release);
            // A full socket has rung already.
            let _ = (&theirs).write(&[1]);
        })
        .map_err(|error| format!("cannot handle SIGINT: {error}"))?;
        let bell = Bell::from(OwnedFd::from(ours));
        Ok(Signals { bell, flags, file })
    }

    /// The same flags again.
    pub(crate) fn flags(&self) -> Flags {
        self.flags.clone()
    }

    /// The next signal. Several of one kind that came together are one.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            let flags = [
                (&self.flags.interrupt, Signal::Interrupt),
                (&self.flags.terminate, Signal::Terminate),
                (&self.flags.quit, Signal::Quit),
                (&self.flags.reload, Signal::Reload),
                (&self.flags.reopen, Signal::Reopen),
                (&self.flags.upgrade, Signal::Upgrade),
            ];
            for (flag, signal) in flags {
                if flag.swap(false, Ordering::AcqRel) {
                    return signal;
                }
            }
            self.bell.wait().await;
        }
    }
}

//! Ctrl-C: noticed while weirctl waits, so that it can say that the operation goes on.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::SIGINT;

/// Says whether the operator pressed Ctrl-C, and waits no longer than until they do.
pub(crate) struct Interrupt {
    pressed: Arc<AtomicBool>,
    /// Gets a byte with each Ctrl-C.
    wake: UnixStream,
    /// Held so that the other end does not read as closed when no handler owns this one.
    _keep: Option<UnixStream>,
}

impl Interrupt {
    /// Takes over SIGINT. The first one is noticed here; a second one ends the process as usual.
    pub(crate) fn install() -> io::Result<Interrupt> {
        let pressed = Arc::new(AtomicBool::new(false));
        let (wake, write) = UnixStream::pair()?;
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&pressed))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&pressed))?;
        signal_hook::low_level::pipe::register(SIGINT, write)?;
        Ok(Interrupt { pressed, wake, _keep: None })
    }

    /// One that no signal reaches: `top` reads Ctrl-C as a key.
    pub(crate) fn deaf() -> io::Result<Interrupt> {
        let (wake, keep) = UnixStream::pair()?;
        Ok(Interrupt { pressed: Arc::new(AtomicBool::new(false)), wake, _keep: Some(keep) })
    }

    pub(crate) fn pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// Waits this long, less if Ctrl-C comes. True if it came, now or before.
    pub(crate) fn wait(&mut self, wait: Duration) -> bool {
        // A timeout of zero would mean to wait for ever.
        let wait = wait.max(Duration::from_millis(1));
        if !self.pressed() && self.wake.set_read_timeout(Some(wait)).is_ok() {
            // A byte, a timeout or EINTR: `pressed` knows which of them it was.
            let _ = self.wake.read(&mut [0]);
        }
        self.pressed()
    }
}

//! The state is another process's for a while: the next weir opens it, and this one takes it back
//! if that one does not come to serve.

use rustix::fs::{FlockOperation, flock};

use super::Store;

impl Store {
    /// Lets the storage and its lock go. Until [`Store::take_back`] nothing is read or written.
    pub(crate) fn lend(&mut self) {
        self.is_lent = true;
        self.close();
        if let Some(home) = &self.home {
            // It cannot fail on an open directory; the one who wants it says that it is in use.
            let _ = flock(&home._directory, FlockOperation::NonBlockingUnlock);
        }
    }

    /// Opens the storage again.
    ///
    /// # Errors
    /// Another process has it, or it cannot be read. The next append tries again.
    pub(crate) fn take_back(&mut self) -> Result<(), String> {
        if let Some(home) = &self.home {
            flock(&home._directory, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
                format!("{}: it cannot be locked: {error}", home.path.display())
            })?;
        }
        self.is_lent = false;
        self.open_again()
    }
}

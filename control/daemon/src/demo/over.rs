//! The end of the demo, for its threads: what they wait for meanwhile, they wait for with a limit.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Says to every thread that has a copy when the demo is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Over(Arc<(Mutex<bool>, Condvar)>);

impl Over {
    /// The demo is over.
    pub(super) fn set(&self) {
        let (over, change) = &*self.0;
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        change.notify_all();
    }

    /// Waits for the end, for `span` at most. True if it has come.
    pub(super) fn within(&self, span: Duration) -> bool {
        let (over, change) = &*self.0;
        let over = over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = change.wait_timeout_while(over, span, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_waited_for_and_ends_every_wait() {
        let over = Over::default();
        assert!(!over.within(Duration::from_millis(1)));
        let waiting = over.clone();
        let thread = std::thread::spawn(move || waiting.within(Duration::MAX));
        over.set();
        assert!(thread.join().unwrap());
        assert!(over.within(Duration::ZERO));
    }
}

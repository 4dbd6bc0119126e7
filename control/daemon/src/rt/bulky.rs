//! Bytes that take long to give back: the kernel needs 10 ms and more to unmap a page of 170 MB,
//! and the task that drops the last reference to it would hold the control thread for so long.

use core::cell::Cell;
use core::ops::Deref;

/// Fewer bytes are dropped where they are: the way to another thread costs more.
const BULKY_MIN: usize = 1 << 20;

thread_local! {
    /// Whether this thread runs an executor, which can hand work to other threads.
    static HAS_EXECUTOR: Cell<bool> = const { Cell::new(false) };
}

/// This thread's executor begins or ends.
pub(super) fn set_executor(is_there: bool) {
    HAS_EXECUTOR.set(is_there);
}

/// Bytes that another thread drops if they are many.
#[derive(Debug)]
pub(crate) struct Bulky<T: AsRef<[u8]> + Send + 'static>(Option<T>);

impl<T: AsRef<[u8]> + Send + 'static> Bulky<T> {
    pub(crate) fn new(bytes: T) -> Bulky<T> {
        Bulky(Some(bytes))
    }
}

impl<T: AsRef<[u8]> + Send + 'static> Deref for Bulky<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("they are there until they are dropped")
    }
}

impl<T: AsRef<[u8]> + Send + 'static> AsRef<[u8]> for Bulky<T> {
    fn as_ref(&self) -> &[u8] {
        (**self).as_ref()
    }
}

impl<T: AsRef<[u8]> + Send + 'static> Drop for Bulky<T> {
    fn drop(&mut self) {
        let Some(bytes) = self.0.take() else { return };
        // Without an executor no task waits for this thread.
        if bytes.as_ref().len() >= BULKY_MIN && HAS_EXECUTOR.get() {
            super::spawn("free", super::blocking(move || drop(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Bytes that say which thread drops them.
    struct Told(Vec<u8>, Sender<ThreadId>);

    impl AsRef<[u8]> for Told {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.1.send(thread::current().id()).expect("the test listens");
        }
    }

    #[test]
    fn another_thread_drops_many_bytes_while_there_is_an_executor() {
        let (send, receive) = channel();
        let own = thread::current().id();
        let bytes = |count| Bulky::new(Told(vec![0; count], send.clone()));
        drop(bytes(BULKY_MIN));
        assert_eq!(receive.try_recv(), Ok(own));
        let (few, many) = (bytes(BULKY_MIN - 1), bytes(BULKY_MIN));
        let dropped_by = super::super::run(|| async move {
            drop(few);
            assert_eq!(receive.try_recv(), Ok(own));
            drop(many);
            super::super::blocking(move || receive.recv()).await
        });
        assert_ne!(dropped_by.unwrap(), Ok(own));
    }
}

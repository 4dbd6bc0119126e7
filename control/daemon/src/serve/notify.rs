//! Waiting on one thread: tasks wait for something to come true, and look again at every ring.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};

/// A signal that tasks of one thread wait for.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes everybody who waits.
    pub(crate) fn ring(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until `look` finds something. It is asked now and after every ring.
    pub(crate) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        poll_fn(move |context| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        })
    }
}

/// A door for one task at a time.
#[derive(Debug, Default)]
pub(crate) struct TaskLock {
    taken: Cell<bool>,
    free: Notify,
}

/// Somebody is in; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a TaskLock);

impl TaskLock {
    /// Waits for one's turn.
    pub(crate) async fn enter(&self) -> Turn<'_> {
        self.free.until(|| (!self.taken.replace(true)).then_some(())).await;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.free.ring();
    }
}

#[cfg(test)]
mod tests {
    use core::pin::pin;
    use core::task::Context;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_waiter_sees_what_came_true_before_and_after() {
        let notify = Notify::default();
        let value = Cell::new(None);
        let waker = Waker::from(Arc::new(Task));
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(notify.until(|| value.get()));
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(notify.waiting.borrow().len(), 1, "one waker a task");
        value.set(Some(3));
        notify.ring();
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(3));
        assert!(notify.waiting.borrow().is_empty());
    }

    #[test]
    fn only_one_is_inside() {
        let lock = TaskLock::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(lock.enter());
        let mut second = pin!(lock.enter());
        let Poll::Ready(turn) = first.as_mut().poll(&mut context) else { panic!("it is free") };
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(turn);
        let Poll::Ready(turn) = second.as_mut().poll(&mut context) else { panic!("it is free") };
        let mut third = pin!(lock.enter());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(turn);
        assert!(third.as_mut().poll(&mut context).is_ready());
    }
}

//! Something that costs much to make and is made once for all who ask at nearly the same time: a
//! metrics page for twenty scrapers.

use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_core::base::clock::Now;

use super::notify::TaskLock;
use crate::rt;

/// How old one may be that is given out again: less than the figures in it may be anyway.
const AGE_MAX: Duration = Duration::from_millis(100);
/// The most that are kept by those who read them slowly; then the newest one must do, whatever its
/// age.
const COPIES_MAX: usize = 4;

/// The last one that was made, and those before it that somebody still reads.
pub(crate) struct SharedPage<T> {
    made: RefCell<Vec<(Now, Weak<T>)>>,
    /// So that the last one lives while it has no reader.
    last: RefCell<Option<Arc<T>>>,
    /// One is made at a time.
    lock: TaskLock,
}

impl<T> Default for SharedPage<T> {
    fn default() -> SharedPage<T> {
        SharedPage { made: RefCell::default(), last: RefCell::default(), lock: TaskLock::default() }
    }
}

impl<T> SharedPage<T> {
    /// Gives the last one if it is new enough, else what `make` makes.
    pub(crate) async fn get(&self, make: impl Future<Output = T>) -> Arc<T> {
        let _turn = self.lock.enter().await;
        if let Some(page) = self.reused(rt::now()) {
            return page;
        }
        let page = Arc::new(make.await);
        self.made.borrow_mut().push((rt::now(), Arc::downgrade(&page)));
        *self.last.borrow_mut() = Some(page.clone());
        page
    }

    fn reused(&self, now: Now) -> Option<Arc<T>> {
        let mut made = self.made.borrow_mut();
        made.retain(|(_, page)| page.strong_count() > 0);
        let is_new = made.last().is_some_and(|(at, _)| now - *at < AGE_MAX);
        if is_new || made.len() >= COPIES_MAX { self.last.borrow().clone() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_made_for_all_who_ask_at_once_and_few_are_kept() {
        rt::run(|| async {
            let page = SharedPage::default();
            let made = std::cell::Cell::new(0);
            let make = || async {
                rt::pause().await;
                made.set(made.get() + 1);
                made.get()
            };
            let (one, two) = futures_lite::future::zip(page.get(make()), page.get(make())).await;
            assert_eq!((*one, *two, made.get()), (1, 1, 1));
            // All of them are too old.
            let age = || {
                for (at, _) in &mut *page.made.borrow_mut() {
                    *at = Now { nanos: 0 };
                }
            };
            let mut kept = vec![one];
            for number in 2..=COPIES_MAX {
                age();
                kept.push(page.get(make()).await);
                assert_eq!(made.get(), number);
            }
            age();
            assert_eq!(*page.get(make()).await, COPIES_MAX, "somebody reads each of them");
            kept.clear();
            assert_eq!(*page.get(make()).await, COPIES_MAX + 1);
        })
        .unwrap();
    }
}

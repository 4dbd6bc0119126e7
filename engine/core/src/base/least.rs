//! The least few of many that are looked at one after another.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

/// The least of what was offered, and no more of them than each offer says.
#[derive(Debug)]
pub struct Least<T> {
    /// The greatest on top.
    kept: BinaryHeap<T>,
}

impl<T: Ord> Least<T> {
    /// Nothing was offered yet. Memory for `capacity` of them is taken now.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Least<T> {
        Least { kept: BinaryHeap::with_capacity(capacity) }
    }

    /// Keeps `item` if it is one of the `most` least so far.
    pub fn offer(&mut self, item: T, most: u32) {
        if self.kept.len() < most as usize {
            self.kept.push(item);
        } else if let Some(mut greatest) = self.kept.peek_mut()
            && item < *greatest
        {
            *greatest = item;
        }
    }

    /// Takes what was kept, in no order; the memory stays.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.kept.drain()
    }

    /// Takes what was kept, in no order, with the memory.
    pub fn take(&mut self) -> Vec<T> {
        core::mem::take(&mut self.kept).into_vec()
    }
}

impl<T: Ord> Default for Least<T> {
    fn default() -> Least<T> {
        Least::with_capacity(0)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn the_least_are_kept_whatever_their_order() {
        let mut least = Least::default();
        for item in [5, 3, 9, 1, 7, 1, 4] {
            least.offer(item, 3);
        }
        let mut kept: Vec<i32> = least.drain().collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 1, 3]);
        least.offer(2, 0);
        assert_eq!(least.take(), vec![0; 0]);
        least.offer(2, 1);
        assert_eq!(least.take(), [2]);
    }
}

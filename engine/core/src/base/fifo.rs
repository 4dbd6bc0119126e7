//! A queue with a fixed capacity: a ring in one allocation, touched only as far as it was ever
//! full.

use alloc::vec::Vec;

/// First in, first out, at most `capacity` items.
#[derive(Debug)]
pub struct Fifo<T> {
    /// Grows to `capacity` during the first lap and never past it.
    items: Vec<T>,
    capacity: u32,
    head: u32,
    len: u32,
}

impl<T: Copy> Fifo<T> {
    /// # Panics
    /// If `capacity` is more than 2^31.
    #[must_use]
    pub fn new(capacity: u32) -> Fifo<T> {
        assert!(capacity <= 1 << 31, "a queue of {capacity} items");
        Fifo { items: Vec::with_capacity(capacity as usize), capacity, head: 0, len: 0 }
    }

    /// Adds `item` at the end.
    ///
    /// # Errors
    /// Gives `item` back if the queue is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        let tail = self.wrap(self.head + self.len) as usize;
        match self.items.get_mut(tail) {
            Some(place) => *place = item,
            None => self.items.push(item),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let item = self.items[self.head as usize];
        self.head = self.wrap(self.head + 1);
        self.len -= 1;
        Some(item)
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// `place` is at most one lap ahead.
    fn wrap(&self, place: u32) -> u32 {
        if place >= self.capacity { place - self.capacity } else { place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_bounded_vecdeque(
            capacity in 0_u32..9,
            ops in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut fifo = Fifo::new(capacity);
            let mut model = VecDeque::new();
            for (step, push) in ops.into_iter().enumerate() {
                if !push {
                    prop_assert_eq!(fifo.pop(), model.pop_front());
                } else if model.len() < capacity as usize {
                    prop_assert_eq!(fifo.push(step), Ok(()));
                    model.push_back(step);
                } else {
                    prop_assert_eq!(fifo.push(step), Err(step));
                }
                prop_assert_eq!(fifo.len() as usize, model.len());
                prop_assert_eq!(fifo.is_full(), model.len() == capacity as usize);
                prop_assert!(fifo.items.len() <= capacity as usize);
            }
        }
    }
}

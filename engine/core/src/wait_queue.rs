//! The line for a free buffer: first come, first served, and a session that ends leaves it from any
//! place.

use alloc::vec;
use alloc::vec::Vec;

/// A doubly linked list over indices below a fixed capacity. Each index stands in it at most once.
#[derive(Debug)]
pub struct WaitQueue {
    /// Neighbours of each index, stored + 1 so that untouched memory means "nobody".
    links: Vec<QueueLink>,
    front: u32,
    back: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct QueueLink {
    next: u32,
    previous: u32,
    /// 1 while it stands in the queue.
    queued: u32,
}

impl WaitQueue {
    /// A line for indices below `capacity`. Its memory is touched only when somebody waits.
    #[must_use]
    pub fn new(capacity: u32) -> WaitQueue {
        WaitQueue {
            links: vec![QueueLink::default(); capacity as usize],
            front: 0,
            back: 0,
            length: 0,
        }
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Joins at the back. Joining twice changes nothing.
    pub fn push(&mut self, index: u32) {
        if self.links[index as usize].queued == 1 {
            return;
        }
        self.links[index as usize] = QueueLink { next: 0, previous: self.back, queued: 1 };
        match self.back {
            0 => self.front = index + 1,
            back => self.links[back as usize - 1].next = index + 1,
        }
        self.back = index + 1;
        self.length += 1;
    }

    /// Takes the one at the front.
    pub fn pop(&mut self) -> Option<u32> {
        let index = self.front.checked_sub(1)?;
        self.remove(index);
        Some(index)
    }

    /// Leaves the line, from any place; nothing if it does not stand in it.
    pub fn remove(&mut self, index: u32) {
        let link = core::mem::take(&mut self.links[index as usize]);
        if link.queued == 0 {
            return;
        }
        match link.previous {
            0 => self.front = link.next,
            previous => self.links[previous as usize - 1].next = link.next,
        }
        match link.next {
            0 => self.back = link.previous,
            next => self.links[next as usize - 1].previous = link.previous,
        }
        self.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_leaving_from_the_middle() {
        let mut queue = WaitQueue::new(8);
        for index in [3, 0, 7, 5, 0] {
            queue.push(index);
        }
        assert_eq!(queue.len(), 4);
        queue.remove(7);
        queue.remove(7);
        queue.remove(1);
        queue.push(7);
        let order: Vec<u32> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 0, 5, 7]);
        assert!(queue.is_empty());
        queue.push(0);
        queue.remove(0);
        assert_eq!(queue.pop(), None);
    }
}

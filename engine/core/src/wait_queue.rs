//! Lines in which sessions or flows wait: first come, first served, and one that ends leaves its
//! line from any place.

use alloc::vec;
use alloc::vec::Vec;

/// A doubly linked list over indices below a fixed capacity. Each index stands in it at most once.
#[derive(Debug)]
pub struct WaitQueue {
    links: Links,
    line: Line,
}

/// The links of any number of lines over the same indices. Each index stands in one of them at
/// most.
#[derive(Debug)]
pub struct Links(Vec<QueueLink>);

/// One line, whose places are in [`Links`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Stored + 1, so that 0 means none.
    front: u32,
    back: u32,
    length: u32,
}

/// Neighbours of an index, stored + 1 so that untouched memory means none.
#[derive(Clone, Copy, Debug, Default)]
struct QueueLink {
    next: u32,
    previous: u32,
    /// 1 while it stands in a line.
    queued: u32,
}

impl WaitQueue {
    /// A line for indices below `capacity`. Its memory is touched only when somebody waits.
    #[must_use]
    pub fn new(capacity: u32) -> WaitQueue {
        WaitQueue { links: Links::new(capacity), line: Line::default() }
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        self.line.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Joins at the back. Joining twice changes nothing.
    pub fn push(&mut self, index: u32) {
        self.line.push(&mut self.links, index);
    }

    /// Takes the one at the front.
    pub fn pop(&mut self) -> Option<u32> {
        let index = self.line.front()?;
        self.remove(index);
        Some(index)
    }

    /// Leaves the line, from any place; nothing if it does not stand in it.
    pub fn remove(&mut self, index: u32) {
        self.line.remove(&mut self.links, index);
    }
}

impl Links {
    /// Links for indices below `capacity`. Their memory is touched only when somebody waits.
    #[must_use]
    pub fn new(capacity: u32) -> Links {
        Links(vec![QueueLink::default(); capacity as usize])
    }

    /// The one behind `index` in its line.
    #[must_use]
    pub fn behind(&self, index: u32) -> Option<u32> {
        self.0[index as usize].next.checked_sub(1)
    }
}

impl Line {
    #[must_use]
    pub fn len(&self) -> u32 {
        self.length
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[must_use]
    pub fn front(&self) -> Option<u32> {
        self.front.checked_sub(1)
    }

    /// Joins at the back. Joining twice changes nothing.
    pub fn push(&mut self, Links(links): &mut Links, index: u32) {
        if links[index as usize].queued == 1 {
            return;
        }
        links[index as usize] = QueueLink { next: 0, previous: self.back, queued: 1 };
        match self.back {
            0 => self.front = index + 1,
            back => links[back as usize - 1].next = index + 1,
        }
        self.back = index + 1;
        self.length += 1;
    }

    /// Joins at the front: its turn has been before. Joining twice changes nothing.
    pub fn push_front(&mut self, Links(links): &mut Links, index: u32) {
        if links[index as usize].queued == 1 {
            return;
        }
        links[index as usize] = QueueLink { next: self.front, previous: 0, queued: 1 };
        match self.front {
            0 => self.back = index + 1,
            front => links[front as usize - 1].previous = index + 1,
        }
        self.front = index + 1;
        self.length += 1;
    }

    /// Leaves the line, from any place; nothing if it does not stand in it.
    pub fn remove(&mut self, Links(links): &mut Links, index: u32) {
        let link = core::mem::take(&mut links[index as usize]);
        if link.queued == 0 {
            return;
        }
        match link.previous {
            0 => self.front = link.next,
            previous => links[previous as usize - 1].next = link.next,
        }
        match link.next {
            0 => self.back = link.previous,
            next => links[next as usize - 1].previous = link.previous,
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

    #[test]
    fn lines_share_their_links_and_one_may_come_first_again() {
        let (mut links, [mut a, mut b]) = (Links::new(8), [Line::default(); 2]);
        a.push(&mut links, 1);
        b.push(&mut links, 2);
        a.push_front(&mut links, 3);
        b.push_front(&mut links, 0);
        a.push(&mut links, 4);
        assert_eq!((a.len(), b.len(), a.front(), b.front()), (3, 2, Some(3), Some(0)));
        assert_eq!((links.behind(3), links.behind(1), links.behind(4)), (Some(1), Some(4), None));
        a.remove(&mut links, 1);
        a.remove(&mut links, 3);
        assert_eq!((a.front(), links.behind(4), a.len()), (Some(4), None, 1));
        b.remove(&mut links, 2);
        b.remove(&mut links, 0);
        assert!(b.is_empty() && b.front().is_none());
    }
}

//! Rare parts of a session, beside its slot: memory for as many slots as ever had one.

use alloc::vec::Vec;

/// One of these for some slots.
#[derive(Debug)]
pub(super) struct BySlot<T>(Vec<Option<T>>);

impl<T> Default for BySlot<T> {
    fn default() -> BySlot<T> {
        BySlot(Vec::new())
    }
}

impl<T> BySlot<T> {
    pub(super) fn note(&mut self, slot: u32, it: T) {
        let slot = slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = Some(it);
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.0.get(slot as usize)?.as_ref()
    }

    /// Takes it, if there is one.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        self.0.get_mut(slot as usize)?.take()
    }

    /// The session in this slot has none any more.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(it) = self.0.get_mut(slot as usize) {
            *it = None;
        }
    }
}

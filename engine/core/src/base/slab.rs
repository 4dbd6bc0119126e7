//! A fixed number of slots with generations: a key of an earlier life finds nothing.

use alloc::vec::Vec;

/// One more than the largest slot: a slot fits in 24 bits, so that a key fits in a token.
pub const SLOTS_MAX: u32 = 1 << 24;

/// Names one value in a [`Slab`]; when the value is removed, its key never finds another one
/// (until the slot was reused 2^32 times).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Below [`SLOTS_MAX`].
    pub slot: u32,
    /// How often the slot was freed before, modulo 2^32.
    pub generation: u32,
}

/// At most `capacity` values. Slots are reused last in, first out, so that the hot ones stay hot;
/// the memory of a slot that was never used is never touched.
#[derive(Debug)]
pub struct Slab<T> {
    /// Grows by one slot when no freed one is left, up to `capacity`, and never past its first
    /// allocation.
    slots: Vec<Slot<T>>,
    capacity: u32,
    len: u32,
    /// The slot freed last, or [`NO_SLOT`].
    free: u32,
}

/// The generation stands in both arms, not beside the enum: it then shares a word with the tag, and
/// a slot costs 8 bytes more than its value instead of 16.
#[derive(Debug)]
enum Slot<T> {
    Occupied { generation: u32, value: T },
    Vacant { generation: u32, next_free: u32 },
}

impl<T> Slab<T> {
    /// # Panics
    /// If `capacity` is more than [`SLOTS_MAX`].
    #[must_use]
    pub fn new(capacity: u32) -> Slab<T> {
        assert!(capacity <= SLOTS_MAX, "a slab of {capacity} slots; a slot has 24 bits");
        Slab { slots: Vec::with_capacity(capacity as usize), capacity, len: 0, free: NO_SLOT }
    }

    /// Stores `value` under a new key; `None`, and `value` is dropped, if the slab is full.
    pub fn insert(&mut self, value: T) -> Option<Key> {
        if self.is_full() {
            return None;
        }
        self.len += 1;
        let slot = self.free;
        if slot == NO_SLOT {
            let key = Key { slot: self.used(), generation: 0 };
            self.slots.push(Slot::Occupied { generation: 0, value });
            return Some(key);
        }
        let place = &mut self.slots[slot as usize];
        let Slot::Vacant { generation, next_free } = *place else {
            unreachable!("slot {slot} is on the free list and occupied")
        };
        self.free = next_free;
        *place = Slot::Occupied { generation, value };
        Some(Key { slot, generation })
    }

    /// Takes the value out and ends the life of its key.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let vacant =
            Slot::Vacant { generation: key.generation.wrapping_add(1), next_free: self.free };
        let before = core::mem::replace(&mut self.slots[key.slot as usize], vacant);
        self.free = key.slot;
        self.len -= 1;
        match before {
            Slot::Occupied { value, .. } => Some(value),
            Slot::Vacant { .. } => unreachable!("{key:?} was found and is vacant"),
        }
    }

    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot as usize)? {
            Slot::Occupied { generation, value } if *generation == key.generation => Some(value),
            Slot::Occupied { .. } | Slot::Vacant { .. } => None,
        }
    }

    #[must_use]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot as usize)? {
            Slot::Occupied { generation, value } if *generation == key.generation => Some(value),
            Slot::Occupied { .. } | Slot::Vacant { .. } => None,
        }
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Every value with its key, by rising slot.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0_u32..).zip(&self.slots).filter_map(|(slot, place)| match place {
            Slot::Occupied { generation, value } => {
                Some((Key { slot, generation: *generation }, value))
            }
            Slot::Vacant { .. } => None,
        })
    }

    /// The key of the value in that slot, if there is one. A walk over the slots, at any pace, sees
    /// every value that is there from its start to its end, and none twice.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<Key> {
        match self.slots.get(slot as usize)? {
            Slot::Occupied { generation, .. } => Some(Key { slot, generation: *generation }),
            Slot::Vacant { .. } => None,
        }
    }

    /// How many slots were ever used: the others have never had a value.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("bounded by SLOTS_MAX")
    }
}

const NO_SLOT: u32 = u32::MAX;
const _: () = assert!(size_of::<Slot<[u64; 3]>>() <= 24 + 8 && size_of::<Slot<u32>>() <= 4 + 8);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum SlabStep {
        Insert(u64),
        Remove(usize),
        Change(usize, u64),
    }

    fn step() -> impl Strategy<Value = SlabStep> {
        prop_oneof![
            3 => any::<u64>().prop_map(SlabStep::Insert),
            2 => any::<usize>().prop_map(SlabStep::Remove),
            1 => (any::<usize>(), any::<u64>()).prop_map(|(at, value)| SlabStep::Change(at, value)),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_with_keys_of_its_own(
            capacity in 0_u32..12,
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let mut slab = Slab::new(capacity);
            let mut model: HashMap<Key, u64> = HashMap::new();
            let mut given: Vec<Key> = Vec::new();
            for step in steps {
                match step {
                    SlabStep::Insert(value) => {
                        let key = slab.insert(value);
                        prop_assert_eq!(key.is_some(), model.len() < capacity as usize);
                        if let Some(key) = key {
                            prop_assert!(key.slot < capacity && !given.contains(&key));
                            given.push(key);
                            model.insert(key, value);
                        }
                    }
                    // Any key that was ever given, so most of them are stale.
                    SlabStep::Remove(at) if !given.is_empty() => {
                        let key = given[at % given.len()];
                        prop_assert_eq!(slab.remove(key), model.remove(&key));
                    }
                    SlabStep::Change(at, value) if !given.is_empty() => {
                        let key = given[at % given.len()];
                        let place = slab.get_mut(key);
                        prop_assert_eq!(place.is_some(), model.contains_key(&key));
                        if let Some(place) = place {
                            *place = value;
                            model.insert(key, value);
                        }
                    }
                    SlabStep::Remove(_) | SlabStep::Change(..) => {}
                }
                prop_assert_eq!(slab.len() as usize, model.len());
                prop_assert_eq!(slab.is_full(), slab.len() == capacity);
                for key in &given {
                    prop_assert_eq!(slab.get(*key), model.get(key));
                }
                let all: Vec<Key> = slab.iter().map(|(key, _)| key).collect();
                prop_assert_eq!(all.len(), model.len());
                prop_assert!(slab.iter().all(|(key, value)| model.get(&key) == Some(value)));
                prop_assert_eq!(walk(&slab), all);
            }
        }
    }

    fn walk(slab: &Slab<u64>) -> Vec<Key> {
        (0..slab.used()).filter_map(|slot| slab.at(slot)).collect()
    }

    #[test]
    fn the_slot_freed_last_is_used_first_and_new_ones_only_when_needed() {
        let mut slab = Slab::new(1 << 20);
        let keys: Vec<Key> = (0..4_u64).map(|n| slab.insert(n).unwrap()).collect();
        assert_eq!(keys.iter().map(|key| key.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
        slab.remove(keys[1]).unwrap();
        slab.remove(keys[3]).unwrap();
        assert_eq!(slab.insert(9), Some(Key { slot: 3, generation: 1 }));
        assert_eq!(slab.insert(9), Some(Key { slot: 1, generation: 1 }));
        assert_eq!(slab.insert(9), Some(Key { slot: 4, generation: 0 }));
        assert_eq!(slab.slots.len(), 5);
        assert_eq!(slab.remove(keys[1]), None);
        assert_eq!(slab.get(Key { slot: 9, generation: 0 }), None);
    }

    #[test]
    fn a_slab_never_moves() {
        let mut slab = Slab::new(1000);
        let place = slab.slots.as_ptr();
        while slab.insert(0_u64).is_some() {}
        assert_eq!((slab.len(), slab.slots.as_ptr()), (1000, place));
    }
}

//! Who has which slot of listeners and pools, of which there are few: they keep theirs while
//! snapshots come and go. Those of backends are in `adopt`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use weir_proto::ids::{ListenerId, PoolId};

use super::{ListenerView, PoolView};

/// What has a slot: an object of the snapshot, or one of the past that sessions still count on.
pub(super) trait Occupant {
    type Id: Ord + Copy;
    fn id(&self) -> Self::Id;
    fn sessions(&self) -> u32;
    /// It is not in the coming snapshot.
    fn leave(&mut self);
}

impl Occupant for PoolView {
    type Id = PoolId;
    fn id(&self) -> PoolId {
        self.id
    }
    fn sessions(&self) -> u32 {
        self.sessions
    }
    fn leave(&mut self) {
        self.present = false;
        // Sessions that still connect find no backend here: its backends have left, too, and their
        // slots may be those of another pool's.
        self.picker.clear();
        (self.tallies, self.shares) = (Vec::new(), Vec::new());
        self.slots = Vec::new();
        self.unsteady = Vec::new();
    }
}

impl Occupant for ListenerView {
    type Id = ListenerId;
    fn id(&self) -> ListenerId {
        self.id
    }
    fn sessions(&self) -> u32 {
        self.sessions
    }
    fn leave(&mut self) {
        self.present = false;
        self.accepting = false;
        (self.lease, self.rate, self.per_source) = (None, None, None);
        // Their pools may be of the past, too, and another one may have got the slot.
        self.routes = Arc::default();
        self.reads_hello = false;
    }
}

/// The slots of one kind of object, while a snapshot is being adopted.
pub(super) struct Slots<Id> {
    known: BTreeMap<Id, usize>,
    free: Vec<usize>,
    length: usize,
}

impl<Id: Ord + Copy> Slots<Id> {
    pub(super) fn new<R: Occupant<Id = Id>>(
        rows: &mut [R],
        coming: impl Iterator<Item = Id>,
    ) -> Slots<Id> {
        let coming: BTreeSet<Id> = coming.collect();
        let mut slots = Slots { known: BTreeMap::new(), free: Vec::new(), length: rows.len() };
        for (slot, row) in rows.iter_mut().enumerate() {
            if coming.contains(&row.id()) {
                slots.known.insert(row.id(), slot);
            } else {
                row.leave();
                if row.sessions() == 0 {
                    slots.free.push(slot);
                }
            }
        }
        slots
    }

    /// The slot of that object: its own, a free one, or the next after the last.
    pub(super) fn take(&mut self, id: Id) -> usize {
        self.known.get(&id).copied().or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.length += 1;
            self.length - 1
        })
    }
}

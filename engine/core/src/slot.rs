//! Places in the tables of a view, as types: a listener's slot cannot be taken for a pool's.
//!
//! Slots are stable while a session counts on them; see [`crate::view`].

/// A place in a table: a number that is an index and nothing else.
macro_rules! slots {
    ($($(#[$about:meta])* $name:ident($number:ty);)*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($number);

        impl $name {
            /// The first row.
            pub const FIRST: $name = $name(0);

            /// The place with this index.
            ///
            /// # Panics
            /// If the index does not fit: snapshots are bounded, so that is a mistake of ours.
            #[must_use]
            pub fn at(index: usize) -> $name {
                $name(index.try_into().expect("snapshots are bounded"))
            }

            /// The index in the table.
            #[must_use]
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

slots! {
    /// A row of [`View::listeners`](crate::view::View::listeners).
    ListenerSlot(u16);
    /// A row of [`View::pools`](crate::view::View::pools).
    PoolSlot(u16);
    /// A row of [`View::backends`](crate::view::View::backends).
    BackendSlot(u32);
    /// A backend's place in its pool: the index of the picker's candidate.
    MemberIndex(u16);
}

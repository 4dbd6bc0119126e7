//! A point in time, as an argument.

/// Nanoseconds of the monotonic clock. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    pub nanos: u64,
}

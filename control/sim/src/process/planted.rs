//! Planted bugs of a whole process: in the disk, on the channels, in the planner.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A version is called durable before it was synced.
    AckBeforeSync,
    /// A change is answered before it was written.
    AckBeforeCommit,
    /// A shard is believed to have adopted what it was only sent.
    NoAdoptionWait,
    /// An older snapshot comes after a newer one.
    VersionGoesBack,
    /// A snapshot that did not fit is forgotten.
    AdoptLost,
    /// Control does not hear of some adoptions.
    AdoptedLost,
    /// Only the first shard gets listening sockets.
    SocketsForOne,
    /// A shard that was built again gets no snapshot.
    NotBuiltAgain,
    /// Some figures are added twice.
    CountedTwice,
}

impl Planted {
    pub const ALL: [Planted; 9] = [
        Planted::AckBeforeSync,
        Planted::AckBeforeCommit,
        Planted::NoAdoptionWait,
        Planted::VersionGoesBack,
        Planted::AdoptLost,
        Planted::AdoptedLost,
        Planted::SocketsForOne,
        Planted::NotBuiltAgain,
        Planted::CountedTwice,
    ];
}

//! Identities as types: a shard can never be passed where a backend is wanted.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// One shard: 0 to the number of shards − 1, in the order of the cores.
    ShardId(u16)
}
id! {
    /// One listener. Given by control, never reused while the process lives.
    ListenerId(u32)
}
id! {
    /// One pool. Given by control, never reused while the process lives.
    PoolId(u32)
}
id! {
    /// One backend at one address. It survives versions: load and health are carried from one
    /// snapshot to the next by it. A backend whose address changes becomes another one.
    BackendId(u32)
}
id! {
    /// The number of a snapshot. Given by control, only grows, kept across restarts.
    Version(u64)
}

impl Version {
    /// The version that follows this one.
    #[must_use]
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

/// A version as the shards have it: with the backends that were found by DNS since it was made,
/// and with what agents say of backends.
/// Only grows; the second number begins again with each version, and is not kept across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edition {
    pub version: Version,
    /// How often discovered backends, or what agents say, have changed under this version.
    pub regroupings: u32,
}

impl Edition {
    /// A version when it is new.
    #[must_use]
    pub fn of(version: Version) -> Edition {
        Edition { version, regroupings: 0 }
    }

    /// The same version with other discovered backends.
    #[must_use]
    pub fn regrouped(self) -> Edition {
        Edition { regroupings: self.regroupings + 1, ..self }
    }
}

/// The version: people know of no other number.
impl core::fmt::Display for Edition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.version.fmt(f)
    }
}

/// Gives out identities that were never given before in this process, nor in those whose sessions
/// it has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdSource {
    last: u32,
}

impl IdSource {
    /// The next identity, from 1 on.
    pub fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }
}

//! How many sessions of a shard were accepted under each version. Nearly all come and go under the
//! version of the moment, which costs one addition; only sessions of older ones are looked up.

use alloc::collections::BTreeMap;

use weir_proto::ids::Version;

/// The lower half of a version's number, which is all of it for some thousands of years of changes:
/// a session has no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// The generation of sessions that are accepted under this version.
    #[must_use]
    pub fn of(version: Version) -> Generation {
        Generation(u32::try_from(version.0).unwrap_or(u32::MAX))
    }

    /// The version.
    #[must_use]
    pub fn version(self) -> Version {
        Version(self.0.into())
    }
}

/// The open sessions of one shard, counted by generation.
#[derive(Debug)]
pub struct Generations {
    /// The one that was accepted last, and its sessions.
    newest: (Generation, u32),
    /// The older ones that have sessions.
    older: BTreeMap<Generation, u32>,
}

impl Default for Generations {
    fn default() -> Generations {
        Generations { newest: (Generation(0), 0), older: BTreeMap::new() }
    }
}

impl Generations {
    /// A session is accepted, or comes from another shard: then it may be of an older one.
    pub fn opened(&mut self, generation: Generation) {
        if generation < self.newest.0 {
            *self.older.entry(generation).or_default() += 1;
            return;
        }
        if self.newest.0 != generation {
            let (before, sessions) = core::mem::replace(&mut self.newest, (generation, 0));
            if sessions > 0 {
                self.older.insert(before, sessions);
            }
        }
        self.newest.1 += 1;
    }

    /// A session is over.
    ///
    /// # Panics
    /// If none of that generation is open.
    pub fn closed(&mut self, generation: Generation) {
        if self.newest.0 == generation {
            self.newest.1 -= 1;
            return;
        }
        let sessions = self.older.get_mut(&generation).expect("it was counted when it came");
        *sessions -= 1;
        if *sessions == 0 {
            self.older.remove(&generation);
        }
    }

    /// Those that have sessions, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Version, u32)> {
        let newest = Some(self.newest).filter(|(_, sessions)| *sessions > 0);
        let older = self.older.iter().map(|(generation, sessions)| (*generation, *sessions));
        older.chain(newest).map(|(generation, sessions)| (generation.version(), sessions))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn sessions_are_counted_by_the_version_under_which_they_came() {
        let mut all = Generations::default();
        let of = |version| Generation::of(Version(version));
        let counted = |all: &Generations| all.iter().map(|it| (it.0.0, it.1)).collect::<Vec<_>>();
        assert_eq!(counted(&all), []);
        for version in [1, 1, 3, 7, 7] {
            all.opened(of(version));
        }
        assert_eq!(counted(&all), [(1, 2), (3, 1), (7, 2)]);
        all.closed(of(1));
        all.closed(of(3));
        all.closed(of(7));
        assert_eq!(counted(&all), [(1, 1), (7, 1)]);
        all.closed(of(7));
        all.opened(of(8));
        assert_eq!(counted(&all), [(1, 1), (8, 1)], "one without sessions is not kept");
    }
}

//! Sessions that shards have handed over, or have taken, since the process began.

use std::collections::BTreeMap;

use weir_proto::ids::ShardId;

/// The words of shards on hand-overs that have ended.
#[derive(Clone, Debug, Default)]
pub struct Handovers {
    gave: BTreeMap<ShardId, HandedOver>,
    took: BTreeMap<ShardId, HandedOver>,
}

/// Sessions that one shard has given or taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// How many hand-overs have ended, and those of them whose other end had gone before.
    pub ended: u32,
    pub broken: u32,
    pub sessions: u64,
}

impl HandedOver {
    fn add(&mut self, sessions: u64, is_whole: bool) {
        self.ended += 1;
        self.broken += u32::from(!is_whole);
        self.sessions += sessions;
    }
}

impl Handovers {
    /// A shard has given some.
    pub(super) fn gave(&mut self, shard: ShardId, sessions: u64, is_whole: bool) {
        self.gave.entry(shard).or_default().add(sessions, is_whole);
    }

    /// A shard has taken some.
    pub(super) fn took(&mut self, shard: ShardId, sessions: u64, is_whole: bool) {
        self.took.entry(shard).or_default().add(sessions, is_whole);
    }

    /// Sessions that all shards have given.
    #[must_use]
    pub fn given(&self) -> HandedOver {
        sum(&self.gave)
    }

    /// Sessions that all shards have taken.
    #[must_use]
    pub fn taken(&self) -> HandedOver {
        sum(&self.took)
    }
}

fn sum(of: &BTreeMap<ShardId, HandedOver>) -> HandedOver {
    of.values().fold(HandedOver::default(), |sum, it| HandedOver {
        ended: sum.ended + it.ended,
        broken: sum.broken + it.broken,
        sessions: sum.sessions + it.sessions,
    })
}

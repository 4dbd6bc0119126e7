//! A version on its way to the shards: who has adopted it, who is late. Pure: time is an argument.

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_core::machine;
use weir_proto::ids::{Edition, ShardId};

/// How long a version may be on its way before it counts as late.
pub const LATE_AFTER: Duration = Duration::from_secs(5);

/// A set of shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSet {
    /// Bit `n % 64` of word `n / 64` is shard `n`. No trailing zero words.
    words: Vec<u64>,
}

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        let (word, bit) = place(shard);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Takes a shard out. True if it was in.
    pub fn remove(&mut self, shard: ShardId) -> bool {
        let was_in = self.contains(shard);
        if was_in {
            let (word, bit) = place(shard);
            self.words[word] &= !bit;
            while self.words.last() == Some(&0) {
                self.words.pop();
            }
        }
        was_in
    }

    /// True if the shard is in the set.
    pub fn contains(&self, shard: ShardId) -> bool {
        let (word, bit) = place(shard);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// True if no shard is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The shards in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> {
        (0..=u16::MAX)
            .map(ShardId)
            .take(self.words.len() * 64)
            .filter(|shard| self.contains(*shard))
    }
}

impl FromIterator<ShardId> for ShardSet {
    fn from_iter<I: IntoIterator<Item = ShardId>>(shards: I) -> ShardSet {
        let mut set = ShardSet::default();
        for shard in shards {
            set.insert(shard);
        }
        set
    }
}

/// As in `[0, 3]`.
impl core::fmt::Display for ShardSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names: Vec<String> = self.iter().map(|shard| shard.to_string()).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

fn place(shard: ShardId) -> (usize, u64) {
    (usize::from(shard.0) / 64, 1 << (shard.0 % 64))
}

/// A snapshot on its way to the shards.
///
/// A shard whose thread has ended, or is stuck and fenced, is not waited for any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// On its way.
    Sent { edition: Edition, waiting: ShardSet, since: Now },
    /// Reported as late; still waited for.
    Late { edition: Edition, waiting: ShardSet, since: Now },
    /// Every live shard has it.
    Done { edition: Edition, took_ms: u64 },
}

machine! {
    /// Transitions of a version that goes to the shards.
    pub static ROLLOUT: Rollout = "rollout";
    states: Sent, Late, Done;
    start => Sent: "durable, and sent to every live shard";
    start => Done: "there is no live shard";
    Sent => Done: "every live shard has adopted it";
    Sent => Late: "5 s";
    Late => Done: "every live shard has adopted it";
}

impl Rollout {
    /// A snapshot that has just been sent to these shards. With no shard it is done at once.
    pub fn sent(edition: Edition, waiting: ShardSet, now: Now) -> Rollout {
        if waiting.is_empty() {
            return Rollout::Done { edition, took_ms: 0 };
        }
        Rollout::Sent { edition, waiting, since: now }
    }

    /// The one that is, or was, on its way.
    pub fn edition(&self) -> Edition {
        match self {
            Rollout::Sent { edition, .. }
            | Rollout::Late { edition, .. }
            | Rollout::Done { edition, .. } => *edition,
        }
    }

    /// The shards that have not adopted it.
    pub fn waiting(&self) -> ShardSet {
        match self {
            Rollout::Sent { waiting, .. } | Rollout::Late { waiting, .. } => waiting.clone(),
            Rollout::Done { .. } => ShardSet::default(),
        }
    }

    /// True when every live shard has it.
    pub fn is_done(&self) -> bool {
        matches!(self, Rollout::Done { .. })
    }

    /// True when it has been on its way for too long.
    pub fn is_late(&self) -> bool {
        matches!(self, Rollout::Late { .. })
    }

    /// A shard uses `edition`. An older one than this says nothing about this one; a newer one
    /// includes it. True if it was waited for.
    pub fn on_adopted(&mut self, shard: ShardId, edition: Edition, now: Now) -> bool {
        edition >= self.edition() && self.forget(shard, now)
    }

    /// A shard's thread has ended or is fenced. True if it was waited for.
    pub fn on_ended(&mut self, shard: ShardId, now: Now) -> bool {
        self.forget(shard, now)
    }

    /// Time passes. True at the moment at which the version becomes late.
    pub fn on_time(&mut self, now: Now) -> bool {
        let Rollout::Sent { edition, waiting, since } = self else { return false };
        if now - *since < LATE_AFTER {
            return false;
        }
        let (edition, since) = (*edition, *since);
        let waiting = core::mem::take(waiting);
        enter(self, Rollout::Late { edition, waiting, since });
        true
    }

    fn forget(&mut self, shard: ShardId, now: Now) -> bool {
        let (edition, waiting, since) = match self {
            Rollout::Sent { edition, waiting, since }
            | Rollout::Late { edition, waiting, since } => (edition, waiting, since),
            Rollout::Done { .. } => return false,
        };
        let was_waited_for = waiting.remove(shard);
        if waiting.is_empty() {
            let took_ms = u64::try_from((now - *since).as_millis()).unwrap_or(u64::MAX);
            let edition = *edition;
            enter(self, Rollout::Done { edition, took_ms });
        }
        was_waited_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { nanos: ms * 1_000_000 }
    }

    fn version(number: u64) -> Edition {
        Edition::of(weir_proto::ids::Version(number))
    }

    fn set(shards: &[u16]) -> ShardSet {
        shards.iter().copied().map(ShardId).collect()
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut shards = set(&[3, 0, 200, 64]);
        assert_eq!(shards.to_string(), "[0, 3, 64, 200]");
        assert!(shards.remove(ShardId(200)));
        assert!(!shards.remove(ShardId(200)));
        assert!(!shards.contains(ShardId(1)) && shards.contains(ShardId(64)));
        assert_eq!(shards, set(&[0, 3, 64]));
        for shard in [0, 3, 64] {
            assert!(shards.remove(ShardId(shard)));
        }
        assert!(shards.is_empty());
        assert_eq!(shards, ShardSet::default());
        assert_eq!(set(&[u16::MAX]).iter().collect::<Vec<_>>(), [ShardId(u16::MAX)]);
    }

    #[test]
    fn a_version_is_done_when_the_last_shard_has_it() {
        let mut rollout = Rollout::sent(version(7), set(&[0, 1]), at(100));
        assert!(rollout.on_adopted(ShardId(1), version(7), at(101)));
        assert!(!rollout.on_adopted(ShardId(1), version(7), at(101)), "said twice");
        assert!(!rollout.on_adopted(ShardId(0), version(6), at(102)), "an older version");
        assert_eq!(rollout.waiting(), set(&[0]));
        assert!(rollout.on_adopted(ShardId(0), version(7), at(103)));
        assert_eq!(rollout, Rollout::Done { edition: version(7), took_ms: 3 });
        assert!(!rollout.on_time(at(60_000)), "a done rollout is never late");
    }

    #[test]
    fn a_newer_version_includes_this_one() {
        let mut rollout = Rollout::sent(version(7), set(&[0]), at(0));
        assert!(rollout.on_adopted(ShardId(0), version(9), at(1)));
        assert!(rollout.is_done());
    }

    #[test]
    fn late_is_said_once_and_still_waited_for() {
        let mut rollout = Rollout::sent(version(2), set(&[0, 1]), at(0));
        assert!(rollout.on_adopted(ShardId(0), version(2), at(1)));
        assert!(!rollout.on_time(at(4_999)));
        assert!(rollout.on_time(at(5_000)));
        assert!(!rollout.on_time(at(6_000)));
        assert!(rollout.is_late() && !rollout.is_done());
        assert_eq!(rollout.waiting().to_string(), "[1]");
        assert!(rollout.on_adopted(ShardId(1), version(2), at(7_500)));
        assert_eq!(rollout, Rollout::Done { edition: version(2), took_ms: 7_500 });
    }

    #[test]
    fn a_shard_that_has_ended_is_not_waited_for() {
        let mut rollout = Rollout::sent(version(2), set(&[0, 1]), at(0));
        assert!(rollout.on_ended(ShardId(1), at(1)));
        assert!(rollout.on_adopted(ShardId(0), version(2), at(2)));
        assert!(rollout.is_done());
        assert!(Rollout::sent(version(3), ShardSet::default(), at(0)).is_done());
    }

    #[test]
    fn a_shard_that_nobody_waits_for_changes_nothing() {
        let mut rollout = Rollout::sent(version(2), set(&[0]), at(0));
        assert!(!rollout.on_adopted(ShardId(9), version(2), at(1)));
        assert!(!rollout.on_ended(ShardId(9), at(1)));
        assert_eq!(rollout.waiting(), set(&[0]));
    }
}

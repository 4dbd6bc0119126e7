//! The backends of one pool that DNS has named, and what an answer makes of them.
//!
//! ```text
//! in an answer ──▶ Here ──a good answer without it──▶ Missing ──the next good one, too──▶ Left
//!                   ▲ ◀── in an answer again ──────────┘              │   no session: forgotten
//!                   └──────────────── in an answer again ─────────────┘
//! ```
//! Only a good answer takes anything away. One that lacks more than half of them is believed later
//! ([`MASS_ANSWERS`], [`MASS_SPAN`]): half a zone is lost more often than half of a service ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::snapshot::Member;
use weir_proto::spec::DISCOVERED_MAX;

use crate::legacy::moment;

use super::{Found, FoundAddress};

/// Good answers in a row, and the span, after which what most of them lack is gone.
const MASS_ANSWERS: u32 = 4;
const MASS_SPAN: Duration = Duration::from_secs(30);

/// The backends that DNS has named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Members {
    known: BTreeMap<SocketAddr, Known>,
    /// They were found under another name, which is no longer asked for.
    pub(super) are_of_before: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    weight: u16,
    priority: u8,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Presence {
    Here,
    /// Good answers lack it: how many, and since when.
    Missing {
        answers: u32,
        #[serde(with = "moment")]
        since: Now,
    },
    /// It gets no new session.
    Left,
}

/// The changes that an answer makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberChanges {
    pub joined: Vec<SocketAddr>,
    pub left: Vec<SocketAddr>,
    /// Weights or priorities are others, or one that had left is forgotten.
    pub is_other: bool,
    /// The answer lacks most of them, and is not believed yet.
    pub is_mass: bool,
    /// Addresses for which there was no room.
    pub dropped: usize,
}

impl MemberChanges {
    /// True if the pool has other backends now.
    pub(super) fn is_news(&self) -> bool {
        self.is_other || !self.joined.is_empty() || !self.left.is_empty()
    }
}

impl Members {
    /// Those that a pool has already.
    pub(super) fn of(members: &[Member]) -> Members {
        let known = |it: &Member| {
            let presence = if it.leaves { Presence::Left } else { Presence::Here };
            (it.address, Known { weight: it.weight, priority: it.priority, presence })
        };
        Members { known: members.iter().map(known).collect(), are_of_before: false }
    }

    /// For a snapshot, in the order of their addresses.
    pub(super) fn list(&self) -> Vec<Member> {
        let member = |(address, it): (&SocketAddr, &Known)| Member {
            address: *address,
            weight: it.weight,
            priority: it.priority,
            leaves: it.presence == Presence::Left,
        };
        self.known.iter().map(member).collect()
    }

    /// Takes in a good answer. `has_sessions` says which of those that have left are still needed.
    pub(super) fn take(
        &mut self,
        found: &Found,
        has_sessions: impl Fn(SocketAddr) -> bool,
        now: Now,
    ) -> MemberChanges {
        let mut changes = MemberChanges::default();
        let wanted = self.wanted(found, &mut changes);
        let lacks = |address: &SocketAddr| {
            found.is_whole[usize::from(address.is_ipv6())] && !wanted.contains_key(address)
        };
        let serving = self.known.iter().filter(|(_, it)| it.presence != Presence::Left);
        let (serving, lacking) = serving.fold((0, 0), |(all, lacking), (address, _)| {
            (all + 1, lacking + usize::from(lacks(address)))
        });
        changes.is_mass = lacking * 2 > serving && !self.are_of_before;
        let is_mass = changes.is_mass;
        let are_of_before = self.are_of_before;
        for (address, known) in self.known.iter_mut().filter(|(address, _)| lacks(address)) {
            let (answers, since) = match known.presence {
                Presence::Left => continue,
                Presence::Here => (1, now),
                Presence::Missing { answers, since } => (answers + 1, since),
            };
            let is_gone = if is_mass {
                answers >= MASS_ANSWERS && now - since >= MASS_SPAN
            } else {
                answers >= 2
            };
            if is_gone || are_of_before {
                known.presence = Presence::Left;
                changes.left.push(*address);
            } else {
                known.presence = Presence::Missing { answers, since };
            }
        }
        for it in wanted.values() {
            self.enter(**it, &mut changes);
        }
        self.forget(has_sessions, &mut changes);
        self.are_of_before = false;
        changes
    }

    /// No good answer has come for longer than they are kept: none of them gets new sessions.
    pub(super) fn give_up(&mut self) -> MemberChanges {
        let mut changes = MemberChanges::default();
        for (address, known) in &mut self.known {
            if known.presence != Presence::Left {
                known.presence = Presence::Left;
                changes.left.push(*address);
            }
        }
        changes
    }

    /// The addresses of an answer by address, as many as there is room for: those that are known
    /// come first.
    fn wanted<'a>(
        &self,
        found: &'a Found,
        changes: &mut MemberChanges,
    ) -> BTreeMap<SocketAddr, &'a FoundAddress> {
        let mut wanted: BTreeMap<SocketAddr, &FoundAddress> = BTreeMap::new();
        for it in &found.addresses {
            // Of two records with one address the more important one counts.
            let rank = |it: &FoundAddress| (it.priority, std::cmp::Reverse(it.weight));
            let kept = wanted.entry(it.address).or_insert(it);
            if rank(it) < rank(kept) {
                *kept = it;
            }
        }
        let mut room = DISCOVERED_MAX;
        for is_known in [true, false] {
            wanted.retain(|address, _| {
                if self.known.contains_key(address) != is_known {
                    return true;
                }
                changes.dropped += usize::from(room == 0);
                let fits = room > 0;
                room = room.saturating_sub(1);
                fits
            });
        }
        wanted
    }

    fn enter(&mut self, it: FoundAddress, changes: &mut MemberChanges) {
        let FoundAddress { address, weight, priority } = it;
        let fresh = Known { weight, priority, presence: Presence::Here };
        match self.known.insert(address, fresh) {
            Some(before) if before.presence != Presence::Left => {
                changes.is_other |= (before.weight, before.priority) != (weight, priority);
            }
            _ => changes.joined.push(address),
        }
    }

    /// Forgets those that have left and have no session, and others that have left if there is no
    /// room.
    fn forget(&mut self, has_sessions: impl Fn(SocketAddr) -> bool, changes: &mut MemberChanges) {
        let left = |it: &Known| it.presence == Presence::Left;
        let just_left = changes.left.clone();
        let before = self.known.len();
        self.known.retain(|address, it| {
            !left(it) || just_left.contains(address) || has_sessions(*address)
        });
        let mut surplus = self.known.len().saturating_sub(DISCOVERED_MAX);
        for wanted in [Presence::Left, Presence::Here] {
            self.known.retain(|_, it| {
                // What is missing goes before what is there.
                let goes = surplus > 0 && (it.presence == wanted) == (wanted == Presence::Left);
                surplus -= usize::from(goes);
                !goes
            });
        }
        changes.is_other |= self.known.len() != before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { nanos: seconds * 1_000_000_000 }
    }

    fn address(number: usize) -> SocketAddr {
        format!("10.0.{}.{}:443", number / 256, number % 256).parse().unwrap()
    }

    fn found(numbers: impl IntoIterator<Item = usize>) -> Found {
        let mut found = Found::new(30);
        found.extend(numbers.into_iter().map(|number| {
            let address = address(number);
            FoundAddress::new(address.ip(), address.port())
        }));
        found
    }

    /// Those that take sessions, and those that have left.
    fn shown(members: &Members) -> (Vec<usize>, Vec<usize>) {
        let number = |it: &Member| (0..1024).find(|number| address(*number) == it.address).unwrap();
        let list = members.list();
        let of = |leaves| list.iter().filter(|it| it.leaves == leaves).map(number).collect();
        (of(false), of(true))
    }

    #[test]
    fn one_that_two_answers_lack_gets_no_new_sessions_and_is_forgotten_without_any() {
        let mut members = Members::default();
        assert_eq!(members.take(&found([3, 1, 2]), |_| true, at(0)).joined.len(), 3);
        assert_eq!(shown(&members), (vec![1, 2, 3], vec![]));
        assert!(!members.take(&found([2, 3]), |_| true, at(30)).is_news());
        assert_eq!(shown(&members), (vec![1, 2, 3], vec![]), "for one more TTL");
        assert_eq!(members.take(&found([3, 2]), |_| true, at(60)).left, [address(1)]);
        assert_eq!(shown(&members), (vec![2, 3], vec![1]));
        assert!(!members.take(&found([2, 3]), |_| true, at(90)).is_news(), "it has sessions");
        assert!(members.take(&found([2, 3]), |_| false, at(120)).is_other);
        assert_eq!(shown(&members), (vec![2, 3], vec![]));
    }

    #[test]
    fn one_that_is_back_counts_as_if_it_had_never_left() {
        let mut members = Members::default();
        members.take(&found([1, 2, 3]), |_| true, at(0));
        members.take(&found([2, 3]), |_| true, at(30));
        assert!(!members.take(&found([1, 2, 3]), |_| true, at(60)).is_news());
        members.take(&found([2, 3]), |_| true, at(90));
        assert_eq!(shown(&members), (vec![1, 2, 3], vec![]), "one answer lacks it");
        members.take(&found([2, 3]), |_| true, at(120));
        assert_eq!(members.take(&found([1, 2, 3]), |_| true, at(150)).joined, [address(1)]);
        assert_eq!(shown(&members), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn an_answer_that_lacks_most_is_believed_after_four_of_them_and_half_a_minute() {
        let mut members = Members::default();
        members.take(&found(0..10), |_| true, at(0));
        for second in [1, 2, 3, 4, 5, 29] {
            let changes = members.take(&found(10..14), |_| true, at(second));
            assert!(changes.is_mass && changes.left.is_empty(), "{second}: {changes:?}");
        }
        assert_eq!(shown(&members).0.len(), 14, "new ones are there at once");
        // Then they are less than half.
        let changes = members.take(&found(10..14), |_| true, at(31));
        assert_eq!(changes.left.len(), 10, "{changes:?}");
        assert_eq!(shown(&members).0, (10..14).collect::<Vec<_>>());
    }

    #[test]
    fn a_family_that_was_not_answered_stays() {
        let mut members = Members::default();
        members.take(&found([1, 2, 3]), |_| true, at(0));
        let mut half = Found::new(30);
        half.extend([FoundAddress::new("fd00::1".parse().unwrap(), 443)]);
        half.is_whole = [false, true];
        for second in 1..100 {
            members.take(&half, |_| false, at(second * 30));
        }
        assert_eq!(members.list().iter().filter(|it| !it.leaves).count(), 4);
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let mut members = Members::default();
        members.take(&found(0..200), |_| true, at(0));
        let changes = members.take(&found(150..1000), |_| true, at(30));
        assert_eq!(members.list().len(), DISCOVERED_MAX);
        assert_eq!(changes.dropped, 850 - DISCOVERED_MAX);
        let here = shown(&members).0;
        assert!((150..200).all(|number| here.contains(&number)), "{here:?}");
    }

    #[test]
    fn those_of_another_name_leave_with_the_first_answer() {
        let mut members = Members::default();
        members.take(&found([1, 2]), |_| true, at(0));
        members.are_of_before = true;
        members.take(&found([2, 9]), |_| true, at(1));
        assert_eq!(shown(&members), (vec![2, 9], vec![1]));
        assert_eq!(members.give_up().left.len(), 2);
        assert_eq!(shown(&members), (vec![], vec![1, 2, 9]));
    }
}

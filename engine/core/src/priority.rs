//! Which priority groups of a pool take sessions, and which share of them.
//!
//! A group that is *whole* takes all sessions, and those behind it none. With `spill` a group is
//! whole while at least that share of its weight is up; below that it takes the sessions that it
//! can take in proportion, and the next group the rest (Envoy's overprovisioning, with 1 / `spill`
//! as its factor). Without, it takes all sessions while at least `health.panic` of its members are
//! up, and none otherwise.

use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Pool, panics};
use weir_proto::spec::Percent;

/// All sessions, in parts.
pub const WHOLE: u32 = 10_000;

/// The backends of one priority group, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTally {
    /// Those that get sessions if they are up.
    members: u32,
    up: u32,
    unproven: u32,
    /// The sum of the weights, of backends that an operator has taken out too: weight that is
    /// missing is missing, for whatever reason.
    weight: u32,
    up_weight: u32,
    unproven_weight: u32,
}

/// The settings of a pool that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRule {
    pub panic: Percent,
    /// 0 %: the next group takes nothing before this one takes nothing.
    pub spill: Percent,
}

impl GroupRule {
    /// The rule of a pool.
    #[must_use]
    pub fn of(pool: &Pool) -> GroupRule {
        GroupRule { panic: pool.health.panic, spill: pool.spec.spill }
    }
}

impl GroupTally {
    /// True if one of them is up, or its first check is not over.
    #[must_use]
    pub fn has_up(&self) -> bool {
        self.up + self.unproven > 0
    }

    /// The count of one backend.
    #[must_use]
    pub fn of(backend: &Backend, health: BackendHealth) -> GroupTally {
        GroupTally::one((backend.is_member(), backend.weight), health)
    }

    /// The count of a backend that is a member or not, and has this weight. One that stands aside
    /// counts for nothing.
    #[must_use]
    pub fn one((is_member, weight): (bool, u16), health: BackendHealth) -> GroupTally {
        if health == BackendHealth::Aside {
            return GroupTally::default();
        }
        let weight = u32::from(weight);
        let count = |health_is: BackendHealth| u32::from(is_member && health == health_is);
        let (up, unproven) = (count(BackendHealth::Up), count(BackendHealth::Unproven));
        GroupTally {
            members: u32::from(is_member),
            up,
            unproven,
            weight,
            up_weight: up * weight,
            unproven_weight: unproven * weight,
        }
    }

    /// Adds up two counts, or whatever else `with` does.
    #[must_use]
    pub fn each(self, other: GroupTally, with: impl Fn(u32, u32) -> u32) -> GroupTally {
        GroupTally {
            members: with(self.members, other.members),
            up: with(self.up, other.up),
            unproven: with(self.unproven, other.unproven),
            weight: with(self.weight, other.weight),
            up_weight: with(self.up_weight, other.up_weight),
            unproven_weight: with(self.unproven_weight, other.unproven_weight),
        }
    }

    /// Members that are up, and all that count. Unproven ones count only if there is no other: they
    /// are not missing yet.
    #[must_use]
    pub fn members(&self) -> (u32, u32) {
        let GroupTally { members, up, unproven, .. } = *self;
        (up, if unproven < members { members - unproven } else { members })
    }

    /// Weight that is up, and all that counts.
    #[must_use]
    pub fn weights(&self) -> (u32, u32) {
        let GroupTally { weight, up_weight, unproven_weight, .. } = *self;
        (up_weight, if unproven_weight < weight { weight - unproven_weight } else { weight })
    }

    /// So few of its members are up that their health would be ignored if it were the only group.
    fn is_weak(&self, rule: GroupRule) -> bool {
        let (up, members) = self.members();
        panics(rule.panic, up as usize, members as usize)
    }

    /// The part of all sessions that it can take.
    fn strength(&self, rule: GroupRule, believes: bool) -> u32 {
        if rule.spill == Percent::ZERO {
            let takes = self.up > 0 && !(believes && self.is_weak(rule));
            return if takes { WHOLE } else { 0 };
        }
        let (up, all) = self.weights();
        let needed = u64::from(all) * u64::from(rule.spill.hundredths());
        // Rounded up: parts that are a whole together must not fall short of it.
        let part = (u64::from(up) * 100 * u64::from(WHOLE)).div_ceil(needed.max(1));
        u32::try_from(part).unwrap_or(WHOLE).min(WHOLE)
    }
}

/// Gives each group its part of [`WHOLE`]; the groups are in the order of their priority. If no
/// group can take sessions each part is 0, otherwise they add up. True if health is to be ignored
/// (panic): the groups cannot take all sessions together, and each of them has too few members up.
pub fn share_out(groups: &[GroupTally], rule: GroupRule, shares: &mut [u32]) -> bool {
    let mut sum = strengths(groups, (rule, true), shares);
    let counting = || groups.iter().filter(|group| group.members > 0);
    let panics = sum < WHOLE && counting().count() > 0 && counting().all(|it| it.is_weak(rule));
    if panics {
        sum = strengths(groups, (rule, false), shares);
        if sum == 0 {
            let first = groups.iter().position(|group| group.members > 0);
            first.into_iter().for_each(|first| shares[first] = WHOLE);
            return true;
        }
    }
    if sum >= WHOLE {
        let mut rest = WHOLE;
        for share in shares {
            *share = (*share).min(rest);
            rest -= *share;
        }
    } else if sum > 0 {
        scale_up(shares, sum);
    }
    panics
}

/// The group that a pool with `failover = "stay"` uses, by its index: `current` for as long as it
/// can take sessions, else the first that can. If none can, `current` again, unless only another
/// one has a member up.
#[must_use]
pub fn keep(groups: &[GroupTally], rule: GroupRule, current: Option<usize>) -> Option<usize> {
    let rule = GroupRule { spill: Percent::ZERO, ..rule };
    let current = current.filter(|index| groups.get(*index).is_some_and(|it| it.members > 0));
    let takes = |index: &usize| groups[*index].strength(rule, true) > 0;
    let is_up = |index: &usize| groups[*index].up > 0;
    let all = 0..groups.len();
    current
        .filter(takes)
        .or_else(|| all.clone().find(takes))
        .or_else(|| current.filter(is_up))
        .or_else(|| all.clone().find(is_up))
        .or(current)
        .or_else(|| all.clone().find(|index| groups[*index].members > 0))
}

fn strengths(groups: &[GroupTally], (rule, believes): (GroupRule, bool), out: &mut [u32]) -> u32 {
    let mut sum = 0;
    for (group, out) in groups.iter().zip(out) {
        *out = group.strength(rule, believes);
        sum += *out;
    }
    sum
}

/// Makes parts of `sum` parts of [`WHOLE`]; the rounding goes to the last one that has a part.
fn scale_up(shares: &mut [u32], sum: u32) {
    let (mut before, mut given) = (0_u64, 0_u32);
    for share in shares {
        before += u64::from(*share);
        let until = before * u64::from(WHOLE) / u64::from(sum);
        let until = u32::try_from(until).unwrap_or(WHOLE);
        *share = until - given;
        given = until;
    }
}

#[cfg(test)]
#[path = "priority/tests.rs"]
mod tests;

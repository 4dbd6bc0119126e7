//! The ledger of priority groups: which of a pool's groups may have a session, in plain fractions.

use std::collections::BTreeSet;

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Pool};

use super::Ledger;
use super::caps::may_be_full;

/// One priority group, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    up: f64,
    members: f64,
    up_weight: f64,
    weight: f64,
}

/// The groups of a pool that may have sessions.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) priorities: BTreeSet<u8>,
    /// Those of them that have more than what rounding may give or take.
    sure: BTreeSet<u8>,
    /// Health is ignored (panic mode, docs/operating.md).
    pub(super) panics: bool,
}

/// Where the fractions add up to nearly one, rounding decides: both is right.
const NEARLY: f64 = 0.01;

impl Ledger {
    /// So few of the pool's members are up that health is ignored.
    pub(super) fn is_in_panic(&self, pool: &Pool) -> bool {
        self.allowed(pool).panics
    }

    pub(super) fn allowed(&self, pool: &Pool) -> Allowed {
        let counts: Vec<(u8, Count)> =
            pool.priorities().into_iter().map(|it| (it, self.count(pool, it))).collect();
        let panic = f64::from(pool.health.panic.hundredths()) / 100.0;
        let spill = f64::from(pool.spec.spill.hundredths()) / 100.0;
        let is_weak = |it: &Count| it.up < it.members * panic;
        let part = |it: &Count, believes: bool| {
            if spill > 0.0 {
                return (it.up_weight / (it.weight * spill).max(1e-9)).min(1.0);
            }
            f64::from(u8::from(it.up > 0.0 && !(believes && is_weak(it))))
        };
        let sum = |believes: bool| counts.iter().map(|(_, it)| part(it, believes)).sum::<f64>();
        let mut members = counts.iter().filter(|(_, it)| it.members > 0.0).peekable();
        let all_weak = members.peek().is_some() && members.all(|(_, it)| is_weak(it));
        let whole = sum(true);
        let panics = all_weak && whole < 1.0 + NEARLY;
        let believes = !panics;
        let (mut priorities, mut sure) = (BTreeSet::new(), BTreeSet::new());
        let mut before = 0.0;
        for (priority, count) in &counts {
            let part = part(count, believes);
            if part > 0.0 && before < 1.0 + NEARLY {
                priorities.insert(*priority);
            }
            if part > 0.0 && before < 1.0 - NEARLY {
                sure.insert(*priority);
            }
            before += part;
        }
        if priorities.is_empty() && panics {
            let first = counts.iter().find(|(_, it)| it.members > 0.0);
            priorities.extend(first.map(|(priority, _)| *priority));
        }
        Allowed { priorities, sure, panics }
    }

    fn count(&self, pool: &Pool, priority: u8) -> Count {
        let of_group = |it: &&Backend| it.priority == priority;
        let is = |it: &Backend, health| self.health_of(it.id) == health;
        let here = pool.backends.iter().filter(of_group);
        let here: Vec<&Backend> = here.filter(|it| !is(it, BackendHealth::Aside)).collect();
        let count = |which: &dyn Fn(&Backend) -> bool| -> (f64, f64) {
            let those = here.iter().filter(|it| which(it));
            let weight: u32 = those.clone().map(|it| u32::from(it.weight)).sum();
            (f64::from(u32::try_from(those.count()).unwrap_or(0)), f64::from(weight))
        };
        let (all, weight) = (count(&|it| it.is_member()).0, count(&|_| true).1);
        let unproven = count(&|it| it.is_member() && is(it, BackendHealth::Unproven));
        let (up, up_weight) = count(&|it| it.is_member() && is(it, BackendHealth::Up));
        let without = |all: f64, unproven: f64| if unproven < all { all - unproven } else { all };
        Count {
            up,
            members: without(all, unproven.0),
            up_weight,
            weight: without(weight, unproven.1),
        }
    }

    /// A connect goes to a group that may have sessions, or beyond once a session has tried
    /// everybody there who is not full; one that has tried none waits. `tried` is `None` if it is
    /// not known.
    pub(super) fn check_group(
        &self,
        pool: &Pool,
        picked: &Backend,
        tried: Option<&[BackendId]>,
    ) -> Result<(), String> {
        if self.fuzzy {
            return Ok(());
        }
        if self.health_of(picked.id) == BackendHealth::Aside {
            return Err(format!("a connect to {}, which stands aside", picked.name));
        }
        let allowed = self.allowed(pool);
        if allowed.priorities.contains(&picked.priority) {
            return Ok(());
        }
        let Some(tried) = tried else { return Ok(()) };
        let is_free = |it: &&Backend| {
            allowed.sure.contains(&it.priority)
                && it.is_member()
                && !may_be_full(it)
                && self.is_healthy(it.id)
                && !tried.contains(&it.id)
                && !self.unopened.contains(&it.id)
        };
        match pool.backends.iter().find(is_free) {
            None if tried.len() > 1 || !self.unopened.is_empty() => Ok(()),
            free => Err(format!(
                "a connect to {} of priority {}; {:?} may have sessions, {:?} is free",
                picked.name,
                picked.priority,
                allowed.priorities,
                free.map(|it| it.name.to_string())
            )),
        }
    }
}

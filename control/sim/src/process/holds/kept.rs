//! A priority group that a pool keeps (`failover = "stay"`) is left only when it has failed, and a
//! start goes on with it.

use std::collections::BTreeMap;

use weir_control_core::control::Control;
use weir_proto::ids::{PoolId, Version};
use weir_proto::snapshot::Pool;
use weir_proto::spec::Failover;

use super::StepResult;

/// The groups in use at the last look.
#[derive(Debug, Default)]
pub(in crate::process) struct KeptGroups {
    version: Version,
    before: BTreeMap<PoolId, GroupInUse>,
}

#[derive(Clone, Copy, Debug)]
struct GroupInUse {
    priority: u8,
    /// How often its backends went up or down.
    transitions: u64,
}

impl KeptGroups {
    /// One group of each pool takes all sessions, and it is the one of before unless that failed.
    ///
    /// # Errors
    /// It is another one for no reason.
    pub(in crate::process) fn check(&mut self, control: &Control) -> StepResult {
        let version = control.snapshot.version;
        if control.changes_waiting() > 0 || self.version != version {
            self.before.clear();
            self.version = version;
        }
        if control.changes_waiting() > 0 {
            return Ok(());
        }
        for pool in staying(control) {
            let name = &pool.name;
            let Some(priority) = in_use(control, pool)? else { continue };
            let now = GroupInUse { priority, transitions: transitions(control, pool, priority) };
            let Some(before) = self.before.insert(pool.id, now) else { continue };
            let had_no_change = transitions(control, pool, before.priority) == before.transitions;
            if before.priority != priority && had_no_change && takes(control, pool, before.priority)
            {
                let before = before.priority;
                return Err(format!("{name} leaves priority {before} for {priority}"));
            }
        }
        Ok(())
    }
}

/// A start goes on with the groups that were in use, by the pool's name, as far as they are there.
///
/// # Errors
/// It does not.
pub(in crate::process) fn check_start(
    control: &Control,
    remembered: &BTreeMap<String, u8>,
) -> StepResult {
    for pool in staying(control) {
        let Some(wanted) = remembered.get(pool.name.as_str()) else { continue };
        let has_members = pool.backends.iter().any(|it| it.priority == *wanted && it.is_member());
        let now = in_use(control, pool)?;
        if has_members && now != Some(*wanted) {
            return Err(format!("{} starts with {now:?}; {wanted} was in use", pool.name));
        }
    }
    Ok(())
}

fn staying(control: &Control) -> impl Iterator<Item = &Pool> {
    let pools = control.snapshot.pools.iter().map(|pool| &**pool);
    pools.filter(|pool| pool.spec.failover == Failover::Stay && pool.priorities().len() > 1)
}

/// The group that takes the sessions; `None` if the pool has no member.
fn in_use(control: &Control, pool: &Pool) -> Result<Option<u8>, String> {
    let groups = control.health.groups_of(pool.id).into_iter();
    let taking: Vec<u8> = groups.filter(|it| it.2 > 0).map(|it| it.0).collect();
    let has_members = pool.backends.iter().any(|it| it.is_member());
    match taking.as_slice() {
        [] if !has_members => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(format!("groups {several:?} of {} take sessions", pool.name)),
    }
}

fn transitions(control: &Control, pool: &Pool, priority: u8) -> u64 {
    let own = pool.backends.iter().filter(|it| it.priority == priority);
    own.filter_map(|it| control.health.counters(it.id)).map(|it| it.transitions).sum()
}

/// Some member is up, and no fewer than the panic threshold says.
fn takes(control: &Control, pool: &Pool, priority: u8) -> bool {
    let groups = control.health.groups_of(pool.id).into_iter();
    let mut own = groups.filter(|it| it.0 == priority).map(|it| it.1.members());
    let threshold = u32::from(pool.health.panic.hundredths());
    own.any(|(up, members)| up > 0 && up * 100 >= threshold * members)
}
